//! `bunjae data inspect`: what is in a data set, and what is wrong with it.

use std::path::PathBuf;

use bunjae_data::inspect::{Group, Inspection, Looking, Spread, inspect};
use bunjae_data::layout;
use clap::Args;
use serde::Serialize;

use crate::command::Outcome;
use crate::failure::Fallible;
use crate::number::{bytes, plural, thousands};
use crate::output::{Output, Report};
use crate::page::{Align, Page, Table, Tone};

/// Show what is in a data set, and what is wrong with it
///
/// Every picture is decoded. Shown are the pictures of each class and split, sizes and formats, and
/// what should be mended: files that are corrupt, pictures that are there twice, pictures that lie
/// in two splits and so make a score too good, equal pictures with different labels.
#[derive(Debug, Args)]
#[command(after_help = "Example: bunjae data inspect pictures --strict")]
pub(crate) struct Inspect {
    /// The data set: a folder or a CSV manifest
    data: PathBuf,
    /// List every case, not just the first few of each kind
    #[arg(long)]
    all: bool,
    /// Fail with exit code 1 if files are corrupt, pictures lie in two splits, or equal pictures
    /// have different labels
    #[arg(long)]
    strict: bool,
    /// How many bits of 128 two pictures' fingerprints may differ in to count as nearly the same
    #[arg(long, value_name = "BITS", default_value_t = Looking::default().near, value_parser = clap::value_parser!(u32).range(0..=128))]
    near: u32,
}

#[derive(Serialize)]
struct Contents {
    data: String,
    #[serde(flatten)]
    inspection: Inspection,
    /// How many groups and pairs lie in more than one split.
    leaks: usize,
    /// How many groups and pairs have different labels.
    contradictions: usize,
    #[serde(skip)]
    all: bool,
}

impl Inspect {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let dataset = layout::open(&self.data)?;
        let looking = Looking { near: self.near, ..Looking::default() };
        let bar = output.bar(dataset.items.len(), "pictures");
        let inspection = inspect(&dataset, &looking, &|done| bar.set_position(done as u64));
        bar.finish_and_clear();
        let near = inspection.near_duplicates.iter().flatten();
        let contradicts = |group: &&Group| group.contradicts;
        let contents = Contents {
            data: self.data.display().to_string(),
            leaks: inspection.leaks().count(),
            contradictions: inspection.duplicates.iter().chain(near).filter(contradicts).count(),
            all: self.all,
            inspection,
        };
        output.report(&contents)?;
        let corrupt = contents.inspection.corrupt.len();
        let wrong = corrupt + contents.leaks + contents.contradictions > 0;
        Ok(if self.strict && wrong { Outcome::CheckFailed } else { Outcome::Done })
    }
}

impl Report for Contents {
    const COMMAND: &'static str = "data inspect";

    fn write(&self, page: &mut Page) {
        let inspection = &self.inspection;
        let formats = inspection.formats.iter();
        let formats: Vec<String> =
            formats.map(|(name, &count)| format!("{name} {}", thousands(count as u64))).collect();
        let mut fields = vec![
            ("data", self.data.clone()),
            ("pictures", thousands(inspection.pictures as u64)),
            ("bytes", bytes(inspection.bytes)),
            ("formats", formats.join(", ")),
            ("without colour", thousands(inspection.grey as u64)),
        ];
        if inspection.unlabelled > 0 {
            fields.push(("without a label", thousands(inspection.unlabelled as u64)));
        }
        for (name, spread) in [("width", inspection.width), ("height", inspection.height)] {
            fields.extend(spread.map(|spread| (name, spread_text(spread))));
        }
        page.fields(fields);
        page.gap();
        self.classes(page);
        self.list(
            page,
            &plural(inspection.corrupt.len(), "corrupt file"),
            inspection.corrupt.iter().map(|corrupt| format!("{}: {}", corrupt.item, corrupt.why)),
        );
        self.groups(page, "there more than once", &inspection.duplicates);
        match &inspection.near_duplicates {
            Some(pairs) => self.groups(page, "nearly the same", pairs),
            None => page.line("too many pictures to look for those that are nearly the same"),
        }
        self.list(
            page,
            &format!("{} left aside", plural(inspection.skipped.len(), "file")),
            inspection.skipped.iter().map(|file| format!("{}: {}", file.path.display(), file.why)),
        );
        page.gap();
        let wrong = [
            (inspection.corrupt.len(), "corrupt"),
            (self.leaks, "in two splits"),
            (self.contradictions, "equal with different labels"),
        ];
        let wrong: Vec<String> = wrong
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match wrong.as_slice() {
            [] => page.toned(
                Tone::Good,
                "nothing corrupt, no picture in two splits, no contradicting labels",
            ),
            wrong => page.toned(Tone::Bad, &format!("to mend: {}", wrong.join(", "))),
        }
    }
}

impl Contents {
    /// How many cases of a kind are shown unless all are asked for.
    const SHOWN: usize = 5;

    fn classes(&self, page: &mut Page) {
        let mut table = Table::new([
            ("class", Align::Left),
            ("pictures", Align::Right),
            ("train", Align::Right),
            ("val", Align::Right),
            ("test", Align::Right),
            ("no split", Align::Right),
        ]);
        for class in &self.inspection.classes {
            let [total, train, val, test, none] =
                [class.total(), class.train, class.val, class.test, class.unassigned]
                    .map(|count| thousands(count as u64));
            table.row([class.class.clone(), total, train, val, test, none]);
        }
        page.table(&table);
    }

    fn groups(&self, page: &mut Page, what: &str, groups: &[Group]) {
        let line = |group: &Group| {
            let leaks = if group.leaks { " (in two splits)" } else { "" };
            let contradicts = if group.contradicts { " (different labels)" } else { "" };
            format!("{}{leaks}{contradicts}", group.items.join(" = "))
        };
        let heading = format!("{} of pictures {what}", plural(groups.len(), "group"));
        // What does harm comes first.
        let mut sorted: Vec<&Group> = groups.iter().collect();
        sorted.sort_by_key(|group| !(group.leaks || group.contradicts));
        self.list(page, &heading, sorted.into_iter().map(line));
    }

    fn list(&self, page: &mut Page, heading: &str, lines: impl ExactSizeIterator<Item = String>) {
        if lines.len() == 0 {
            return;
        }
        page.heading(heading);
        let shown = if self.all { lines.len() } else { Self::SHOWN };
        let more = lines.len().saturating_sub(shown);
        lines.take(shown).for_each(|line| page.line(&crate::page::printable(&line)));
        if more > 0 {
            page.line(&format!("and {} more; --all lists them", thousands(more as u64)));
        }
    }
}

fn spread_text(spread: Spread) -> String {
    let Spread { least, median, mean, most } = spread;
    format!("{least} to {most}, median {median}, mean {mean:.1}")
}
