//! A recipe that was checked: its stages, what each is on a command line, and its key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::schema::{Effect, Input, Kind, Makes, Setting, Wants};
use crate::setting::Argument;
use crate::value::Place;

/// A recipe without problems.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What it is about, for people.
    pub title: Option<String>,
    /// The stages, each after those it depends on.
    pub stages: Vec<Stage>,
    /// What the report shows.
    pub report: ReportWish,
}

/// What the report is to show.
#[derive(Clone, Debug, Default)]
pub struct ReportWish {
    /// The stage whose model the others are compared with.
    pub base: Option<usize>,
    /// The stages whose models are shown; all that are measured, where none are named.
    pub models: Vec<usize>,
}

/// One run of a command.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name, which no other stage has.
    pub name: String,
    /// The name that all stages share which differ in their seed alone.
    pub group: String,
    /// The name in the recipe, which all stages share that a list fans out into.
    pub declared: String,
    /// What it does.
    pub kind: &'static Kind,
    /// What it works on.
    pub inputs: Vec<(&'static Input, Vec<Source>)>,
    /// How it does so.
    pub settings: Vec<(&'static Setting, Argument)>,
    /// Where it is declared.
    pub place: Place,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The stage with this index.
    Stage(usize),
    /// A file or a folder.
    File(PathBuf),
}

/// What the result of a stage depends on, and the hash of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// Each thing that it depends on by name, as text or a hash of its own.
    pub parts: BTreeMap<String, String>,
}

/// What keys depend on beside the recipe.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The version of the program.
    pub version: &'a str,
    /// What distinguishes this machine for those stages whose result depends on it.
    pub machine: &'a str,
}

/// Raised whenever a key is made otherwise.
const KEY_FORMAT: &str = "1";

/// Characters of a key in the name of a folder.
const SHORT: usize = 12;

impl Key {
    fn of(parts: BTreeMap<String, String>) -> Key {
        let mut hash = Sha256::new();
        for (name, value) in &parts {
            // Lengths keep one pair from looking like another.
            for text in [name, value] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Key { digest, parts }
    }

    /// Enough of the hash to tell keys of one stage apart.
    pub fn short(&self) -> &str {
        self.digest.get(..SHORT).unwrap_or(&self.digest)
    }
}

impl Recipe {
    /// The key of each stage. `hash` gives the hash of what a file or a data set holds.
    ///
    /// # Errors
    /// What `hash` returns.
    pub fn keys<E>(
        &self,
        surroundings: Surroundings<'_>,
        hash: &mut dyn FnMut(Wanted, &Path) -> Result<String, E>,
    ) -> Result<Vec<Key>, E> {
        let mut keys: Vec<Key> = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let mut parts = BTreeMap::new();
            let mut part = |name: &str, value: String| parts.insert(name.to_owned(), value);
            part("format", KEY_FORMAT.to_owned());
            part("stage", stage.kind.name.to_owned());
            part("program version", surroundings.version.to_owned());
            if stage.depends_on_machine() {
                part("machine", surroundings.machine.to_owned());
            }
            for (input, sources) in &stage.inputs {
                for (number, source) in sources.iter().enumerate() {
                    let name = match input.together {
                        true => format!("{} {}", input.name, number + 1),
                        false => input.name.to_owned(),
                    };
                    let value = match source {
                        // Stages stand after those they depend on.
                        Source::Stage(at) => {
                            keys.get(*at).map(|key| key.digest.clone()).unwrap_or_default()
                        }
                        Source::File(path) => hash(Wanted::of(input.wants), path)?,
                    };
                    part(&name, value);
                }
            }
            for (setting, argument) in &stage.settings {
                if setting.effect == Effect::Pace {
                    continue;
                }
                let value = match argument {
                    Argument::Flag(flag) => flag.to_string(),
                    // No text holds a control character that this could be taken for.
                    Argument::Texts(texts) => texts.join("\u{1f}"),
                    Argument::Paths(paths) => {
                        let hashes: Result<Vec<String>, E> =
                            paths.iter().map(|path| hash(Wanted::File, path)).collect();
                        hashes?.join(" ")
                    }
                };
                part(setting.name, value);
            }
            keys.push(Key::of(parts));
        }
        Ok(keys)
    }

    /// The stages that a name stands for: all of a declaration, or the one of that name.
    pub fn named(&self, name: &str) -> Vec<usize> {
        crate::expand::Expander::find(&self.stages, name)
    }

    /// The name that was probably meant.
    pub fn closest(&self, name: &str) -> Option<&str> {
        let names = self.stages.iter().flat_map(|stage| [&*stage.declared, &*stage.name]);
        crate::problem::closest(name, names)
    }
}

/// What is to be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// A file.
    File,
    /// A data set with labels.
    Data,
    /// Pictures without labels.
    Pictures,
}

impl Wanted {
    fn of(wants: Wants) -> Wanted {
        match wants {
            Wants::Data => Wanted::Data,
            Wants::Pictures => Wanted::Pictures,
            Wants::Model | Wants::Runnable => Wanted::File,
        }
    }
}

impl Stage {
    /// The stages that this one waits for, each once.
    pub fn needs(&self) -> Vec<usize> {
        let sources = self.inputs.iter().flat_map(|(_, sources)| sources);
        let mut needs: Vec<usize> = sources
            .filter_map(|source| match source {
                Source::Stage(at) => Some(*at),
                Source::File(_) => None,
            })
            .collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// The sources of an input; none where it has none.
    pub fn input(&self, name: &str) -> &[Source] {
        let input = self.inputs.iter().find(|(input, _)| input.name == name);
        input.map_or(&[], |(_, sources)| sources)
    }

    /// The value of a setting, where the recipe has one.
    pub fn setting(&self, name: &str) -> Option<&Argument> {
        let setting = self.settings.iter().find(|(setting, _)| setting.name == name);
        setting.map(|(_, argument)| argument)
    }

    /// Whether nothing may run beside it.
    pub fn is_alone(&self) -> bool {
        self.depends_on_machine()
    }

    fn depends_on_machine(&self) -> bool {
        let by_time = ["keep-latency", "latency-ms"].iter().any(|key| self.setting(key).is_some());
        self.kind.measures || by_time
    }

    /// Whether it goes on where it was stopped: what is trained does, a cut without pictures has
    /// no training.
    pub fn resumes(&self) -> bool {
        let mut inputs = self.inputs.iter();
        let learns = inputs.any(|(input, of)| input.wants == Wants::Data && !of.is_empty());
        self.kind.resumes && learns
    }

    /// The name of what it makes, in its folder; none where it makes figures alone.
    pub fn output(&self) -> Option<String> {
        let emit = match self.setting("emit") {
            Some(Argument::Texts(texts)) => texts.first().map(String::as_str),
            _ => None,
        };
        match (self.kind.makes, emit) {
            (Makes::Model, _) => Some(format!("{}.onnx", self.name)),
            (Makes::Data, _) => Some("pictures".to_owned()),
            (Makes::Compiled, Some("c")) => Some("library".to_owned()),
            (Makes::Compiled, Some("exe")) => {
                Some(format!("{}{}", self.name, std::env::consts::EXE_SUFFIX))
            }
            (Makes::Compiled, _) => Some(format!("{}.bunjae", self.name)),
            (Makes::Figures, _) => None,
        }
    }

    /// The command of the program that this stage is, without the program's name. `place` says where
    /// a source is, `folder` is where its results go.
    pub fn arguments(&self, place: &dyn Fn(&Source) -> PathBuf, folder: &Path) -> Vec<String> {
        let shown = |path: &Path| path.display().to_string();
        let mut words: Vec<String> =
            self.kind.command.iter().map(|word| (*word).to_owned()).collect();
        let first = self.kind.first.and_then(|first| self.setting(first.name));
        if let Some(Argument::Texts(texts)) = first {
            words.extend(texts.iter().cloned());
        }
        for (input, sources) in &self.inputs {
            for source in sources {
                words.extend(input.option.map(|option| format!("--{option}")));
                words.push(shown(&place(source)));
            }
        }
        if let Some(output) = self.output() {
            words.push("--output".to_owned());
            words.push(shown(&folder.join(output)));
        }
        if self.resumes() {
            words.push("--work".to_owned());
            words.push(shown(&folder.join(RUN)));
        }
        if self.kind.name == "evaluate" {
            words.push("--predictions".to_owned());
            words.push(shown(&folder.join(PREDICTIONS)));
        }
        for (setting, argument) in &self.settings {
            if self.kind.first.is_some_and(|first| first.name == setting.name) {
                continue;
            }
            let option = format!("--{}", setting.name);
            match argument {
                Argument::Flag(true) => words.push(option),
                Argument::Flag(false) => {}
                // Joined by a sign, so that a value may begin with a dash.
                Argument::Texts(texts) => {
                    words.extend(texts.iter().map(|text| format!("{option}={text}")));
                }
                Argument::Paths(paths) => {
                    words.extend(paths.iter().map(|path| format!("{option}={}", shown(path))));
                }
            }
        }
        words
    }
}

/// The folder of a training, in the folder of its stage.
pub const RUN: &str = "training";

/// What an evaluation says of each picture, in the folder of its stage.
pub const PREDICTIONS: &str = "predictions.csv";
