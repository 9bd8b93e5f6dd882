//! The curves of a model's training, where its run lies beside it.

use std::collections::BTreeMap;
use std::path::Path;

use bunjae_report::Training;
use bunjae_train::log::EpochRecord;

use crate::provenance;
use crate::records;

/// The epochs in the folder that `bunjae train` keeps beside a model. The model knows the figures of
/// its epoch; where they are not among those of the folder, that is another model's.
pub(super) fn beside(path: &Path, metadata: &BTreeMap<String, String>) -> Vec<Training> {
    let found = || {
        let own: EpochRecord = serde_json::from_str(provenance::metrics(metadata)?).ok()?;
        let lines = path.with_extension("run").join("metrics.jsonl");
        let text = std::fs::read_to_string(lines).ok()?;
        // A line that a killed run left unfinished is none.
        let epochs: Vec<EpochRecord> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let commands = provenance::commands(metadata);
        let name = commands.last()?.split_whitespace().next()?.to_string();
        epochs.contains(&own).then(|| records::training(&name, &epochs))
    };
    found().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_where_the_model_knows_its_figures() {
        let folder = tempfile::tempdir().unwrap();
        let record = |epoch: u64, loss: f64| EpochRecord {
            epoch,
            step: 10 * epoch,
            rate: 0.1,
            train_loss: loss,
            loss: Some(loss),
            accuracy: Some(0.5),
            macro_f1: None,
        };
        let lines = [record(0, 0.75), record(1, 1.0 / 3.0)];
        let text: Vec<String> =
            lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        let path = folder.path().join("a.onnx");
        let run = folder.path().join("a.run");
        std::fs::create_dir(&run).unwrap();
        std::fs::write(run.join("metrics.jsonl"), text.join("\n") + "\n{\"epoch\":2,").unwrap();
        let metadata = |record: &EpochRecord| {
            let figures = serde_json::to_string(record).unwrap();
            let pairs = [("bunjae.command", "train --epochs 2"), ("bunjae.metrics", &figures)];
            pairs.map(|(key, value)| (key.to_string(), value.to_string())).into()
        };
        let found = beside(&path, &metadata(&lines[1]));
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].name, found[0].epochs.len()), ("train", 2));
        assert_eq!(found[0].epochs[1].epoch, 2, "people count from 1");
        assert_eq!(beside(&path, &metadata(&record(1, 0.3))), [], "another model's");
        assert_eq!(beside(&path, &BTreeMap::new()), [], "a model that tells nothing");
        assert_eq!(beside(&folder.path().join("b.onnx"), &metadata(&lines[1])), []);
    }
}
