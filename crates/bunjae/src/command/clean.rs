//! `bunjae clean`: removes what a recipe no longer leads to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::command::Outcome;
use crate::command::run::hashes::Hashes;
use crate::command::run::recipe_file::RecipeFile;
use crate::command::run::state::{Plan, State};
use crate::command::run::work::{FILES, Work};
use crate::failure::{Failure, Fallible};
use crate::number::{bytes, plural};
use crate::output::{Output, Report};
use crate::page::Page;

/// Remove what a recipe no longer leads to
///
/// Results of other settings, of stages that the recipe has no more, and what was begun for them.
/// With `--all` everything that runs made, the reports too. Give the same `--set` as to `bunjae run`.
/// Nothing outside of the work folder is touched, and nothing in it that no run made.
#[derive(Debug, Args)]
#[command(after_help = "Example: bunjae clean recipes/demo.toml --dry-run")]
pub(crate) struct Clean {
    #[command(flatten)]
    file: RecipeFile,
    /// Remove everything that runs made
    #[arg(long)]
    all: bool,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Cleaned {
    work: String,
    dry_run: bool,
    removed: Vec<Removed>,
    bytes: u64,
    kept: usize,
}

#[derive(Serialize)]
struct Removed {
    path: String,
    bytes: u64,
}

impl Clean {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let work = Work::new(self.file.work());
        let shown = work.root.display().to_string();
        // `--all` has to work with a recipe that is wrong, too.
        let recipe = if self.all { None } else { Some(self.file.read()?) };
        if work.marker()?.is_none() {
            return Err(Failure::new(format!("{shown} is no work folder"))
                .hint("`--work` names the one that the run had"));
        }
        let _lock = work.lock(&self.file.again("clean"), false, output)?;
        let mut reachable = BTreeSet::new();
        if let Some(recipe) = recipe {
            let plan = Plan::of(recipe, &work, &mut Hashes::open(&work, output))?;
            for ((stage, key), state) in plan.recipe.stages.iter().zip(&plan.keys).zip(&plan.states)
            {
                reachable.insert(work.finished(stage, key));
                // What was begun once more is of no use where it is done.
                if !matches!(state, State::Done(_)) {
                    reachable.insert(work.partial(stage, key));
                }
            }
        }
        let folders = work.entries();
        let all = folders.len();
        let folders: Vec<_> =
            folders.into_iter().filter(|folder| !reachable.contains(&folder.path)).collect();
        let mut removed = Vec::new();
        for folder in &folders {
            removed.push(Removed { path: shown_path(&folder.path), bytes: folder.bytes() });
            if !self.dry_run {
                remove(&folder.path, true)?;
            }
        }
        if self.all {
            self.remove_files(&work, &mut removed)?;
        }
        output.report(&Cleaned {
            work: shown,
            dry_run: self.dry_run,
            bytes: removed.iter().map(|removed| removed.bytes).sum(),
            kept: all - folders.len(),
            removed,
        })?;
        Ok(Outcome::Done)
    }

    /// Removes the files of the work folder, and itself where nothing else is in it.
    fn remove_files(&self, work: &Work, removed: &mut Vec<Removed>) -> Fallible<()> {
        for name in FILES {
            let path = work.path(name);
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            removed.push(Removed { path: shown_path(&path), bytes: metadata.len() });
            if !self.dry_run {
                remove(&path, false)?;
            }
        }
        if !self.dry_run {
            // What is not empty stays: it holds what no run made.
            for folder in [work.stages(), work.root.clone()] {
                let _not_empty = fs::remove_dir(folder);
            }
        }
        Ok(())
    }
}

fn shown_path(path: &Path) -> String {
    path.display().to_string()
}

fn remove(path: &PathBuf, is_folder: bool) -> Fallible<()> {
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|error| Failure::new(format!("cannot remove {}: {error}", path.display())))
}

impl Report for Cleaned {
    const COMMAND: &'static str = "clean";

    fn write(&self, page: &mut Page) {
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for removed in &self.removed {
            page.line(&format!("{verb} {}, {}", removed.path, bytes(removed.bytes)));
        }
        if self.removed.is_empty() {
            page.line(&format!("{}: nothing to remove", self.work));
            return;
        }
        let (count, kept) = (plural(self.removed.len(), "entry"), plural(self.kept, "stage"));
        let count = count.replace("entrys", "entries");
        page.line(&format!("{verb} {count}, {}; {kept} kept", bytes(self.bytes)));
    }
}
