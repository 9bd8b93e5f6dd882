//! Cuts in several steps, with training before, between and after them.
//!
//! What takes long is the training. It leaves checkpoints in a folder of its own for each step, and
//! whoever goes on makes the cuts before them once more, which come out the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunjae_data::pictures::Pictures;
use bunjae_ir::Graph;
use bunjae_passes::{EquivalenceError, untie};
use bunjae_train::log::EpochRecord;
use bunjae_train::recipe::Recipe;
use bunjae_train::{Event, LAST, Materials, Run, TrainError, validate};
use serde::Serialize;
use thiserror::Error;

use crate::check::Check;
use crate::course::Course;
use crate::evidence::{Evidence, EvidenceError, Looking};
use crate::plan::{GroupPlan, Settings, Start, Target};
use crate::prune::{PruneError, Sizes, prune};
use crate::sparsity::{Penalty, Sparsity};

/// How a network is cut.
#[derive(Clone, Debug)]
pub struct Gradual {
    /// What decides about the channels. The target is that of the last step; evidence is gathered
    /// anew before each step, where the criterion needs any.
    pub settings: Settings,
    /// How the cut is spread over the steps.
    pub course: Course,
    /// Their number, at least 1.
    pub steps: usize,
    /// Which pictures are looked at for a criterion that needs them.
    pub looking: Looking,
    /// The seed of the check's input; without one nothing is checked.
    pub check: Option<u64>,
}

/// What is trained before, between and after the cuts.
#[derive(Clone, Debug)]
pub struct Lessons {
    /// How; its number of epochs does not count.
    pub recipe: Recipe,
    /// Epochs after each step but the last.
    pub epochs_per_step: u64,
    /// Epochs after the last step.
    pub final_epochs: u64,
    /// Training before the first cut that draws channels towards zero.
    pub sparse: Option<Sparse>,
    /// Whether the statistics of batch normalisation are estimated anew after each cut.
    pub recalibrate: bool,
    /// Threads that compute, and as many that decode.
    pub threads: usize,
    /// Where the training is kept; nowhere without.
    pub keeping: Option<Keeping>,
}

/// How the training of a network that is cut in steps is kept, so that it can be gone on with.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// A folder in which every training has one of its own for checkpoints and logs, [`Part::folder`].
    pub folder: PathBuf,
    /// What the network, the pictures and the settings of the cuts are, so that checkpoints of others
    /// are refused.
    pub fingerprint: String,
    /// Whether to go on with what is in the folder: the result has the bits of a run that was never
    /// stopped.
    pub resume: bool,
}

impl Keeping {
    /// Whether a training has been kept in a folder.
    pub fn is_in(folder: &Path) -> bool {
        let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.any(|entry| entry.path().join(LAST).exists())
    }
}

/// A training: that before the first cut, or that after a step, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// With a penalty.
    Sparse,
    /// After a step.
    After(usize),
}

impl Part {
    /// The name of its folder.
    pub fn folder(self) -> String {
        match self {
            Part::Sparse => "sparse".to_owned(),
            Part::After(step) => format!("step-{step}"),
        }
    }
}

/// Training that draws channels towards zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sparse {
    /// What is penalised.
    pub penalty: Sparsity,
    /// The factor of the penalty.
    pub strength: f32,
    /// Epochs.
    pub epochs: u64,
}

/// The pictures of all of it.
#[derive(Clone)]
pub struct Album {
    /// Those that are learnt from.
    pub train: Arc<Pictures>,
    /// The same, as the network sees them in use: what gradients are taken on.
    pub fitted: Arc<Pictures>,
    /// Those that figures are measured on, and the best epoch is chosen by.
    pub val: Option<Arc<Pictures>>,
}

/// What a network reaches on the validation part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean of the classes' F1.
    pub macro_f1: f64,
}

/// Some epochs of training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lesson {
    /// All of them.
    pub epochs: Vec<EpochRecord>,
    /// What the best of them reached, where there is a validation part.
    pub figures: Option<Figures>,
}

/// One cut, and the training after it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The share of the whole cut that is done after it.
    pub share: f64,
    /// The ratio of the channels that were there before the first step.
    pub ratio: f64,
    /// The mean loss of the pictures that were looked at, and their number.
    pub looked_at: Option<LookedAt>,
    /// The sizes after it.
    pub sizes: Sizes,
    /// Whether removed equals masked; none where nothing was cut, or not checked.
    pub check: Option<Check>,
    /// What the network reaches right after the cut.
    pub cut: Option<Figures>,
    /// The training after it, where there is any.
    pub lesson: Option<Lesson>,
}

/// Pictures that were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LookedAt {
    /// How many.
    pub pictures: usize,
    /// Their mean loss.
    pub loss: f64,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The network.
    pub graph: Graph,
    /// Vectors that layers shared by coincidence.
    pub untied: Vec<String>,
    /// Every group, from before the first step to after the last.
    pub groups: Vec<GroupPlan>,
    /// The sizes before.
    pub before: Sizes,
    /// The sizes after.
    pub after: Sizes,
    /// What the network reached before anything was done.
    pub start: Option<Figures>,
    /// The training before the first cut.
    pub sparse: Option<Lesson>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// What is told while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// The network is run on the validation part.
    Validating,
    /// The training before the first cut goes on.
    Sparse(&'a Event<'a>),
    /// Pictures are looked at before a step, counted from 1.
    Looking(usize),
    /// A step is cut, and about to be checked.
    Checking(usize),
    /// A step is cut, checked and measured.
    Cut(usize, &'a Step),
    /// The training after a step goes on.
    Training(usize, &'a Event<'a>),
    /// A training is gone on with, after so many epochs.
    Resumed(Part, u64),
}

/// Why it does not come to an end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GradualError {
    /// A cut cannot be made.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Pictures say nothing.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// A training cannot go on.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A cut cannot be checked.
    #[error(transparent)]
    Equivalence(#[from] EquivalenceError),
    /// A cut did something else than it should.
    #[error("in step {step} {}", check.fault())]
    Check {
        /// The step, from 1.
        step: usize,
        /// What was found.
        check: Check,
    },
    /// The folder of a training cannot be made.
    #[error("cannot make the folder {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There is nothing that the penalty could act on.
    #[error("{}", match penalty {
        Sparsity::BnScale => "the network has no scales of batch normalisation that are trained",
        Sparsity::GroupLasso | Sparsity::GroupNorm => "none of its channels can be cut",
    })]
    NoPenalty {
        /// The penalty.
        penalty: Sparsity,
    },
}

/// Cuts `graph` step by step.
///
/// # Errors
/// [`GradualError`].
pub fn shrink(
    graph: &Graph,
    gradual: &Gradual,
    lessons: &Lessons,
    album: &Album,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<Shrunk, GradualError> {
    let before = Sizes::of(graph, &gradual.settings.bindings).map_err(PruneError::from)?;
    let (apart, untied) = untie(graph).map_err(PruneError::from)?.unzip();
    let mut graph = apart.unwrap_or_else(|| graph.clone());
    let school = School { lessons, album };
    let start = school.figures(&graph, tell)?;
    let mut sparse = None;
    if let Some(Sparse { penalty, strength, epochs }) = lessons.sparse {
        let how = How { part: Part::Sparse, penalty: Some((penalty, strength)), epochs };
        let (trained, lesson) = school.lesson(&graph, how, tell)?;
        (graph, sparse) = (trained, Some(lesson));
    }
    let first = Start::of(&graph, &gradual.settings).map_err(PruneError::from)?;
    let steps = gradual.steps.max(1);
    let mut shrunk = Shrunk {
        untied: untied.unwrap_or_default(),
        groups: Vec::new(),
        before,
        after: before,
        start,
        sparse,
        steps: Vec::new(),
        graph,
    };
    for at in 1..=steps {
        let is_last = at == steps;
        let share = gradual.course.done(at, steps);
        let step = cut(&mut shrunk, gradual, &first, (at, share, is_last), &school, tell)?;
        tell(News::Cut(at, &step));
        shrunk.steps.push(step);
        let epochs = if is_last { lessons.final_epochs } else { lessons.epochs_per_step };
        if epochs > 0 || lessons.recalibrate {
            let how = How { part: Part::After(at), penalty: None, epochs };
            let (trained, lesson) = school.lesson(&shrunk.graph, how, tell)?;
            shrunk.graph = trained;
            if let Some(step) = shrunk.steps.last_mut() {
                step.lesson = Some(lesson);
            }
        }
    }
    shrunk.after =
        Sizes::of(&shrunk.graph, &gradual.settings.bindings).map_err(PruneError::from)?;
    Ok(shrunk)
}

/// Makes the cut of one step.
fn cut(
    shrunk: &mut Shrunk,
    gradual: &Gradual,
    first: &Start,
    (at, share, is_last): (usize, f64, bool),
    school: &School<'_>,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<Step, GradualError> {
    let mut settings = gradual.settings.clone();
    settings.target = settings.target.part(share);
    for (_, ratio) in &mut settings.layer_ratios {
        *ratio *= share;
    }
    settings.start = Some(first.clone());
    let mut looked_at = None;
    let criterion = settings.importance.criterion;
    if criterion.needs_data() {
        tell(News::Looking(at));
        let (graph, fitted) = (&shrunk.graph, &school.album.fitted);
        let evidence =
            Evidence::gather(graph, &graph.couplings(), fitted, &[criterion], &gradual.looking)?;
        looked_at = Some(LookedAt { pictures: evidence.pictures(), loss: evidence.loss() });
        settings.evidence = Some(Arc::new(evidence));
    }
    let (mut ratio, mut check) = (0.0, None);
    match prune(&shrunk.graph, &settings) {
        Ok(pruned) => {
            if let Some(seed) = gradual.check {
                tell(News::Checking(at));
                let found = Check::of(&pruned.graph, &pruned.masked, &settings.bindings, seed)?;
                if !found.passed {
                    return Err(GradualError::Check { step: at, check: found });
                }
                check = Some(found);
            }
            ratio = pruned.plan.ratio;
            follow(&mut shrunk.groups, pruned.plan.groups);
            (shrunk.graph, shrunk.after) = (pruned.graph, pruned.after);
        }
        // A small step may be too small for a channel; all of them together may not.
        Err(PruneError::NothingToCut { .. }) if !is_last || shrunk.after != shrunk.before => {}
        Err(error) => return Err(error.into()),
    }
    let cut = school.figures(&shrunk.graph, tell)?;
    Ok(Step { share, ratio, looked_at, sizes: shrunk.after, check, cut, lesson: None })
}

/// Brings what is known of the groups up to a later plan, whose groups are the same.
fn follow(groups: &mut Vec<GroupPlan>, later: Vec<GroupPlan>) {
    if groups.is_empty() {
        *groups = later;
        return;
    }
    for (group, later) in groups.iter_mut().zip(later) {
        (group.kept, group.requested) = (later.kept, later.requested);
        group.reason = if group.kept == group.channels { later.reason } else { None };
    }
}

/// Where networks are trained and measured.
struct School<'a> {
    lessons: &'a Lessons,
    album: &'a Album,
}

/// What a training is.
struct How {
    part: Part,
    epochs: u64,
    penalty: Option<(Sparsity, f32)>,
}

impl School<'_> {
    fn figures(
        &self,
        graph: &Graph,
        tell: &mut dyn FnMut(News<'_>),
    ) -> Result<Option<Figures>, TrainError> {
        let Some(val) = &self.album.val else { return Ok(None) };
        tell(News::Validating);
        let scores = validate(graph, val, self.lessons.recipe.batch, self.lessons.threads)?;
        Ok(Some(Figures {
            loss: scores.log_loss,
            accuracy: scores.accuracy,
            macro_f1: scores.mean.f1,
        }))
    }

    /// Trains a network, and returns the best that it came to.
    fn lesson(
        &self,
        graph: &Graph,
        how: How,
        tell: &mut dyn FnMut(News<'_>),
    ) -> Result<(Graph, Lesson), GradualError> {
        let How { part, epochs, penalty } = how;
        let recipe = Recipe { epochs: epochs.max(1), ..self.lessons.recipe.clone() };
        // Statistics alone are estimated faster than they are read.
        let keeping = self.lessons.keeping.as_ref().filter(|_| epochs > 0);
        let folder = keeping.map(|keeping| keeping.folder.join(part.folder()));
        if let Some(path) = &folder {
            std::fs::create_dir_all(path)
                .map_err(|error| GradualError::Folder { path: path.clone(), error })?;
        }
        let materials = Materials {
            graph: graph.clone(),
            teachers: Vec::new(),
            train: Arc::clone(&self.album.train),
            val: self.album.val.clone(),
            folder,
            fingerprint: keeping.map_or(String::new(), |keeping| keeping.fingerprint.clone()),
            threads: self.lessons.threads,
        };
        let resume = keeping.is_some_and(|keeping| keeping.resume);
        let mut run = Run::new(recipe, materials, resume)?;
        if run.epoch() > 0 {
            tell(News::Resumed(part, run.epoch()));
        }
        if let Some((kind, strength)) = penalty {
            let penalty = Penalty::new(graph, run.segments(), kind, strength);
            if penalty.is_empty() {
                return Err(GradualError::NoPenalty { penalty: kind });
            }
            run.penalise(Box::new(move |parameters, gradients| {
                penalty.add(parameters, gradients);
            }));
        }
        let recalibrates = self.lessons.recalibrate && part != Part::Sparse;
        if recalibrates && run.epoch() == 0 {
            run.recalibrate()?;
        }
        if epochs == 0 {
            let graph = run.graph()?;
            let figures = self.figures(&graph, &mut |_| {})?;
            return Ok((graph, Lesson { epochs: Vec::new(), figures }));
        }
        let trained = run.train(&mut |event| {
            tell(match part {
                Part::Sparse => News::Sparse(event),
                Part::After(step) => News::Training(step, event),
            });
        })?;
        let best = trained.epochs.iter().find(|record| record.epoch == trained.best_epoch);
        let figures = best.and_then(|best| {
            let (loss, accuracy, macro_f1) = (best.loss?, best.accuracy?, best.macro_f1?);
            Some(Figures { loss, accuracy, macro_f1 })
        });
        Ok((trained.graph, Lesson { epochs: trained.epochs, figures }))
    }
}

/// The smallest ratio whose cut suits, to within 1/128, by bisection; `None` where even the largest
/// does not. `suits` is asked for smaller and smaller networks, `None` for a ratio that removes nothing,
/// and should be true of all that are smaller than one that suits.
///
/// # Errors
/// [`PruneError`], and whatever `suits` returns.
pub fn smallest_ratio<E: From<PruneError>>(
    graph: &Graph,
    settings: &Settings,
    mut suits: impl FnMut(Option<&Graph>) -> Result<bool, E>,
) -> Result<Option<f64>, E> {
    let mut suits = |ratio| -> Result<bool, E> {
        match prune(graph, &Settings { target: Target::Ratio(ratio), ..settings.clone() }) {
            Ok(pruned) if pruned.plan.classes.is_empty() => suits(None),
            Ok(pruned) => suits(Some(&pruned.graph)),
            Err(PruneError::NothingToCut { .. }) => suits(None),
            Err(error) => Err(error.into()),
        }
    };
    let (mut low, mut high) = (0.0, 1.0 - 1e-9);
    if suits(low)? {
        return Ok(Some(low));
    }
    if !suits(high)? {
        return Ok(None);
    }
    for _ in 0..7 {
        let middle = f64::midpoint(low, high);
        if suits(middle)? { high = middle } else { low = middle }
    }
    Ok(Some(high))
}
