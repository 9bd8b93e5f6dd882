//! Where a model comes from, as text that travels with it.
//!
//! The latest step stands under keys that any viewer of ONNX files shows; steps before it are kept
//! as JSON under `bunjae.history`, the first one first. Nothing here depends on the time or the
//! machine, so that one command gives one file.

use std::collections::BTreeMap;

use bunjae_ir::Graph;
use serde_json::Value;

const COMMAND: &str = "bunjae.command";
const HISTORY: &str = "bunjae.history";

/// The keys of one step. Other keys under `bunjae.` (labels, preprocessing) describe the model.
const STEP: &[&str] = &[
    COMMAND,
    "bunjae.version",
    "bunjae.seed",
    "bunjae.parent_sha256",
    "bunjae.before",
    "bunjae.after",
    "bunjae.check",
    "bunjae.data_sha256",
    "bunjae.metrics",
];

/// One step that made a model.
pub(crate) struct Step {
    /// The command with every setting that counts, defaults included, without paths.
    pub(crate) command: String,
    pub(crate) seed: u64,
    /// SHA-256 of the file that was read, in hexadecimal; none for a new model.
    pub(crate) parent: Option<String>,
    /// The model's sizes before and after, as JSON.
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
    /// What was checked, and the result.
    pub(crate) check: Option<String>,
    /// The data it learnt from, and the figures it reached on the validation part, as JSON.
    pub(crate) data: Option<String>,
    pub(crate) metrics: Option<Value>,
}

/// Records a step in a model's metadata.
pub(crate) fn record(graph: &mut Graph, step: Step) {
    let metadata = &mut graph.metadata;
    if metadata.contains_key(COMMAND) {
        let earlier = metadata.remove(HISTORY);
        // A history that is not ours is no reason to fail; it is kept as one more entry.
        let mut history = match earlier.as_deref().map(serde_json::from_str) {
            Some(Ok(Value::Array(steps))) => steps,
            Some(_) => vec![Value::from(earlier)],
            None => Vec::new(),
        };
        let fields = STEP.iter().filter_map(|&key| {
            let name = key.trim_start_matches("bunjae.").to_string();
            // The sizes are JSON themselves.
            let parsed = |value: String| match serde_json::from_str(&value) {
                Ok(object @ Value::Object(_)) => object,
                _ => Value::from(value),
            };
            metadata.remove(key).map(|value| (name, parsed(value)))
        });
        history.push(Value::Object(fields.collect()));
        metadata.insert(HISTORY.into(), Value::Array(history).to_string());
    }
    let values = [
        Some(step.command),
        Some(env!("CARGO_PKG_VERSION").to_string()),
        Some(step.seed.to_string()),
        step.parent,
        step.before.map(|sizes| sizes.to_string()),
        step.after.map(|sizes| sizes.to_string()),
        step.check,
        step.data,
        step.metrics.map(|figures| figures.to_string()),
    ];
    for (key, value) in STEP.iter().zip(values) {
        if let Some(value) = value {
            metadata.insert((*key).to_string(), value);
        }
    }
}

/// The commands that made a model, the first one first; empty where the model does not tell.
pub(crate) fn commands(metadata: &BTreeMap<String, String>) -> Vec<String> {
    let history = metadata.get(HISTORY).map(|history| serde_json::from_str(history));
    let mut commands = match history {
        Some(Ok(Value::Array(steps))) => steps
            .iter()
            .filter_map(|step| step.get("command").and_then(Value::as_str))
            .map(str::to_string)
            .collect(),
        _ => Vec::new(),
    };
    commands.extend(metadata.get(COMMAND).cloned());
    commands
}

/// The seed of the last command, where the model tells.
pub(crate) fn seed(metadata: &BTreeMap<String, String>) -> Option<u64> {
    metadata.get("bunjae.seed")?.parse().ok()
}

/// The figures that the last command reached, as JSON.
pub(crate) fn metrics(metadata: &BTreeMap<String, String>) -> Option<&str> {
    metadata.get("bunjae.metrics").map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(command: &str) -> Step {
        Step {
            command: command.to_string(),
            seed: 7,
            parent: None,
            before: None,
            after: None,
            check: None,
            data: None,
            metrics: None,
        }
    }

    #[test]
    fn earlier_steps_become_history_in_their_order() {
        let mut graph = Graph::new("g");
        graph.metadata.insert("bunjae.labels".into(), "cat,dog".into());
        record(&mut graph, Step { parent: Some("ab".into()), ..step("first") });
        assert!(!graph.metadata.contains_key(HISTORY));
        record(&mut graph, step("second"));
        record(&mut graph, step("third"));
        assert_eq!(graph.metadata[COMMAND], "third");
        assert!(!graph.metadata.contains_key("bunjae.parent_sha256"), "that was the first step's");
        assert_eq!(graph.metadata["bunjae.labels"], "cat,dog");
        let history: Value = serde_json::from_str(&graph.metadata[HISTORY]).unwrap();
        assert_eq!(commands(&graph.metadata), ["first", "second", "third"]);
        assert_eq!(seed(&graph.metadata), Some(7));
        assert_eq!(history[0]["command"], "first");
        assert_eq!(history[0]["parent_sha256"], "ab");
        assert_eq!(history[1]["command"], "second");
        assert_eq!(history.as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_foreign_history_is_kept() {
        let mut graph = Graph::new("g");
        graph.metadata.insert(HISTORY.into(), "once upon a time".into());
        record(&mut graph, step("first"));
        record(&mut graph, step("second"));
        let history: Value = serde_json::from_str(&graph.metadata[HISTORY]).unwrap();
        assert_eq!(history[0], "once upon a time");
        assert_eq!(commands(&graph.metadata), ["first", "second"]);
        assert_eq!(history[1]["command"], "first");
    }
}
