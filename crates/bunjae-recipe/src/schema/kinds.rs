//! The kinds of stages.

use super::settings as s;
use super::{Input, Makes, Setting, Wants};

/// A kind of stage: a command of the program.
#[derive(Debug)]
pub struct Kind {
    /// The name of the table in a recipe.
    pub name: &'static str,
    /// The words of the command.
    pub command: &'static [&'static str],
    /// A setting that is given by its place, before everything else, and that a stage cannot do without.
    pub first: Option<Setting>,
    /// The inputs, in the order in which they are given.
    pub inputs: &'static [Input],
    /// The settings, in groups.
    pub settings: &'static [&'static [Setting]],
    /// Which of them, and of the inputs, are taken from the top of the recipe.
    pub inherits: Inherits,
    /// What comes out.
    pub makes: Makes,
    /// Whether a stage that was stopped can go on, with `--resume`.
    pub resumes: bool,
    /// Whether it measures time, so that nothing may run beside it, or its result depends on the
    /// machine.
    pub measures: bool,
}

/// What is taken from the top of a recipe.
#[derive(Clone, Copy, Debug)]
pub enum Inherits {
    /// All that the kind knows.
    All,
    /// These.
    Only(&'static [&'static str]),
}

const MODEL: Input =
    Input { name: "model", wants: Wants::Model, option: None, together: false, required: true };

const DATA: Input = Input {
    name: "data",
    wants: Wants::Data,
    option: Some("data"),
    together: false,
    required: true,
};

/// What every kind that looks at pictures may take from the top.
const SHOWN: &[&str] = &[
    "data",
    "labels",
    "preprocess",
    "picture",
    "fit",
    "filter",
    "colour",
    "layout",
    "range",
    "mean",
    "std",
    "max-corrupt",
];

/// Every kind, in the order in which a pipeline has them.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "generate",
        command: &["data", "generate"],
        first: Some(s::PATTERN),
        inputs: &[],
        settings: &[s::GENERATE],
        // Sets that are to differ would otherwise be the same.
        inherits: Inherits::Only(&[]),
        makes: Makes::Data,
        resumes: false,
        measures: false,
    },
    Kind {
        name: "new",
        command: &["new"],
        first: Some(s::ARCHITECTURE),
        inputs: &[],
        settings: &[s::NEW],
        inherits: Inherits::Only(&["seed", "input"]),
        makes: Makes::Model,
        resumes: false,
        measures: false,
    },
    Kind {
        name: "train",
        command: &["train"],
        first: None,
        inputs: &[MODEL, DATA],
        settings: &[s::TRAINING, s::TEACHING, s::PICTURES],
        inherits: Inherits::All,
        makes: Makes::Model,
        resumes: true,
        measures: false,
    },
    Kind {
        name: "distill",
        command: &["distill"],
        first: None,
        inputs: &[
            MODEL,
            Input { name: "teacher", option: Some("teacher"), required: false, ..MODEL },
            Input {
                name: "teachers",
                option: Some("teacher"),
                together: true,
                required: false,
                ..MODEL
            },
            DATA,
            Input {
                name: "unlabelled",
                wants: Wants::Pictures,
                option: Some("unlabelled"),
                together: true,
                required: false,
            },
        ],
        settings: &[s::TRAINING, s::TEACHING, s::PICTURES, s::DISTILLING],
        inherits: Inherits::All,
        makes: Makes::Model,
        resumes: true,
        measures: false,
    },
    Kind {
        name: "prune",
        command: &["prune"],
        first: None,
        // With data the cut is something else: it is trained meanwhile. So it has to be asked for.
        inputs: &[MODEL, Input { required: false, ..DATA }],
        settings: &[s::CUTTING, s::SIZES, s::CUTTING_WITH_DATA, s::TEACHING, s::PICTURES],
        inherits: Inherits::Only(&["seed"]),
        makes: Makes::Model,
        resumes: true,
        measures: false,
    },
    Kind {
        name: "finetune",
        command: &["finetune"],
        first: None,
        inputs: &[MODEL, DATA],
        settings: &[s::TRAINING, s::TEACHING, s::PICTURES],
        inherits: Inherits::All,
        makes: Makes::Model,
        resumes: true,
        measures: false,
    },
    Kind {
        name: "compile",
        command: &["compile"],
        first: None,
        inputs: &[MODEL],
        settings: &[s::COMPILE, s::ENGINE, s::SIZES, s::PICTURES, s::SCORES],
        inherits: Inherits::Only(&[]),
        makes: Makes::Compiled,
        resumes: false,
        measures: true,
    },
    Kind {
        name: "evaluate",
        command: &["evaluate"],
        first: None,
        inputs: &[Input { wants: Wants::Runnable, ..MODEL }, DATA],
        settings: &[s::EVALUATE, s::ENGINE, s::PICTURES, s::SCORES],
        inherits: Inherits::Only(SHOWN),
        makes: Makes::Figures,
        resumes: false,
        measures: false,
    },
    Kind {
        name: "bench",
        command: &["bench"],
        first: None,
        inputs: &[Input { name: "models", wants: Wants::Runnable, together: true, ..MODEL }],
        settings: &[s::BENCH, s::ENGINE, s::SIZES],
        inherits: Inherits::Only(&[]),
        makes: Makes::Figures,
        resumes: false,
        measures: true,
    },
];

impl Kind {
    /// The kind of this name.
    pub fn find(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Every setting, the one given by its place first.
    pub fn all_settings(&self) -> impl Iterator<Item = &Setting> {
        self.first.iter().chain(self.settings.iter().copied().flatten())
    }

    /// The setting of this name.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.all_settings().find(|setting| setting.name == name)
    }

    /// The input of this name.
    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// Every key that a stage of this kind may have.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        let inputs = self.inputs.iter().map(|input| input.name);
        inputs
            .chain(self.first.iter().map(|first| first.name))
            .chain(self.settings.iter().copied().flatten().map(|setting| setting.name))
    }

    /// Whether this key, of an input or a setting, is taken from the top of a recipe.
    pub fn takes_from_top(&self, key: &str) -> bool {
        // What is given by its place, and models, are said stage by stage.
        let is_shared = self.first.is_none_or(|first| first.name != key)
            && (self.setting(key).is_some() || self.input(key).is_some_and(Input::is_pictures));
        is_shared
            && match self.inherits {
                Inherits::All => key != "classes",
                Inherits::Only(names) => names.contains(&key),
            }
    }
}
