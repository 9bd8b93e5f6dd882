//! How far each stage is, and why it has to run.

use std::fs;
use std::path::{Path, PathBuf};

use bunjae_recipe::{Argument, Key, RUN, Recipe, Source, Stage, Surroundings};

use super::hashes::{Hashes, machine};
use super::work::{Record, Work};
use crate::failure::Fallible;

/// How far a stage is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Its result is there.
    Done(Box<Record>),
    /// It was stopped; a training after so many epochs.
    Begun { epoch: Option<u64> },
    /// It failed, with this message.
    Failed { message: String, epoch: Option<u64> },
    /// There is nothing, or only results of other settings.
    Open { earlier: Option<Box<Record>> },
}

/// A recipe and what the work folder has of it.
pub(crate) struct Plan {
    pub(crate) recipe: Recipe,
    pub(crate) keys: Vec<Key>,
    pub(crate) states: Vec<State>,
}

impl Plan {
    /// Looks up every stage.
    pub(crate) fn of(recipe: Recipe, work: &Work, hashes: &mut Hashes<'_>) -> Fallible<Plan> {
        let machine = machine()?;
        let version = env!("CARGO_PKG_VERSION");
        let surroundings = Surroundings { version, machine: &machine };
        let keys = recipe.keys(surroundings, &mut |wanted, path| hashes.of(wanted, path))?;
        let states = recipe.stages.iter().zip(&keys).map(|(stage, key)| state(work, stage, key));
        Ok(Plan { states: states.collect(), recipe, keys })
    }

    /// The epochs of a training stage; the default of the command where the recipe has none.
    pub(crate) fn epochs(stage: &Stage) -> Option<u64> {
        const USUAL: u64 = 24;
        let mut settings = stage.kind.settings.iter().copied().flatten();
        if !settings.any(|setting| setting.name == "epochs") {
            return None;
        }
        match stage.setting("epochs") {
            Some(Argument::Texts(texts)) => texts.first()?.parse().ok(),
            _ => Some(USUAL),
        }
    }

    /// Why a stage that is not done runs.
    pub(crate) fn reason(&self, at: usize) -> String {
        let (Some(stage), Some(state)) = (self.recipe.stages.get(at), self.states.get(at)) else {
            return String::new();
        };
        let progress = |epoch: &Option<u64>| match (epoch, Plan::epochs(stage)) {
            (Some(epoch), Some(epochs)) if *epoch > 0 => {
                Some(format!("goes on after epoch {epoch} of {epochs}"))
            }
            // Stopped between the checkpoint and the line in its log.
            (Some(_), _) => Some("goes on from its checkpoint".to_owned()),
            _ => None,
        };
        match state {
            State::Done(_) => "done".to_owned(),
            State::Begun { epoch } => {
                progress(epoch).unwrap_or_else(|| "was stopped; begins anew".to_owned())
            }
            State::Failed { epoch, .. } => match progress(epoch) {
                Some(progress) => format!("failed; {progress}"),
                None => "failed the last time".to_owned(),
            },
            State::Open { earlier: None } => "new".to_owned(),
            State::Open { earlier: Some(earlier) } => self.differences(stage, at, &earlier.key),
        }
    }

    /// What is otherwise than in an earlier key.
    fn differences(&self, stage: &Stage, at: usize, earlier: &Key) -> String {
        let Some(key) = self.keys.get(at) else { return String::new() };
        let mut changes = Vec::new();
        let mut names: Vec<&String> = key.parts.keys().chain(earlier.parts.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (new, old) = (key.parts.get(name), earlier.parts.get(name));
            if new == old {
                continue;
            }
            let input = name.split(' ').next().unwrap_or_default();
            let is_input = stage.kind.input(input).is_some();
            changes.push(match (new, old) {
                (Some(_), Some(_)) if is_input => self.changed_input(stage, name),
                (Some(new), Some(old)) if new.len().max(old.len()) <= 40 => {
                    format!("{name}: {} -> {}", shown(old), shown(new))
                }
                (Some(new), None) if new.len() <= 40 && !is_input => {
                    format!("{name}: {} (new)", shown(new))
                }
                (None, Some(_)) => format!("{name}: left out"),
                _ => format!("{name} has changed"),
            });
        }
        changes.join(", ")
    }

    fn changed_input(&self, stage: &Stage, name: &str) -> String {
        let mut words = name.split(' ');
        let input = words.next().unwrap_or_default();
        let number: usize = words.next().and_then(|number| number.parse().ok()).unwrap_or(1);
        match stage.input(input).get(number.saturating_sub(1)) {
            Some(Source::Stage(at)) => {
                let name = self.recipe.stages.get(*at).map_or("", |stage| &stage.name);
                format!("follows `{name}`")
            }
            Some(Source::File(path)) => format!("{} has changed", path.display()),
            None => format!("{input} has changed"),
        }
    }
}

fn shown(value: &str) -> String {
    value.replace('\u{1f}', ",")
}

fn state(work: &Work, stage: &Stage, key: &Key) -> State {
    if let Some(record) = work.record(stage, key) {
        return State::Done(Box::new(record));
    }
    let partial = work.partial(stage, key);
    let epoch = epochs_done(&partial.join(RUN));
    if let Some(failed) = work.failed(stage, key) {
        return State::Failed { message: failed.message, epoch };
    }
    if partial.is_dir() {
        return State::Begun { epoch };
    }
    State::Open { earlier: work.earlier(stage, key).map(Box::new) }
}

/// The epochs that the logs of a stage's training have, where there is a checkpoint to go on from.
fn epochs_done(folder: &Path) -> Option<u64> {
    let mut epochs = None;
    for folder in trainings(folder).filter(|folder| folder.join(bunjae_train::LAST).is_file()) {
        let log = fs::read_to_string(folder.join("metrics.jsonl")).ok()?;
        *epochs.get_or_insert(0) += log.lines().count() as u64;
    }
    epochs
}

/// The folders in which a stage's training may be: one, or one for each step of a cut.
pub(super) fn trainings(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let steps = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    std::iter::once(folder.to_path_buf()).chain(steps)
}
