//! From a wish to a cut: which channels go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bunjae_ir::{
    Bindings, ClassId, Convention, CostError, Couplings, CutError, Graph, GraphError, Group,
    TensorAxis,
};
use bunjae_passes::remove;
use serde::Serialize;
use thiserror::Error;

use crate::evidence::Evidence;
use crate::importance::{Criterion, Importance, Scores};
use crate::pattern::Pattern;
use crate::width::{kept_width, round_width};

/// Over which channels the least important ones are sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Within each group: every group loses its share.
    Local,
    /// Over all groups together: groups that matter less lose more.
    Global,
}

/// How much is to go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// This share of the channels is removed.
    Ratio(f64),
    /// At most this share of the multiply-accumulates is kept, by our exact rule.
    Macs(f64),
    /// At most this share of the parameters is kept.
    Parameters(f64),
}

impl Target {
    /// The target after a share of the whole cut is done, 0 to 1.
    pub fn part(self, share: f64) -> Target {
        match self {
            Target::Ratio(ratio) => Target::Ratio(share * ratio),
            Target::Macs(kept) => Target::Macs(1.0 - share * (1.0 - kept)),
            Target::Parameters(kept) => Target::Parameters(1.0 - share * (1.0 - kept)),
        }
    }
}

/// What was there before the first of several cuts, which shares are shares of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// By the name of the weight of a group's first layer: its channels that may be cut.
    widths: BTreeMap<String, usize>,
    macs: u64,
    parameters: u64,
}

impl Start {
    /// Of a network that is about to be cut as the settings say.
    ///
    /// # Errors
    /// [`PlanError`]: a pattern without a match, sizes that are not known.
    pub fn of(graph: &Graph, settings: &Settings) -> Result<Start, PlanError> {
        // Whether pictures have something to say of a group is found out later.
        let by_weights = Settings {
            importance: Importance::new(Criterion::L2),
            evidence: None,
            start: None,
            ..settings.clone()
        };
        let free = candidates(graph, &graph.couplings(), &by_weights)?.into_iter();
        let free = free.filter(|candidate| candidate.left_alone.is_none());
        let cost = graph.cost(&settings.bindings, Convention::Exact)?;
        Ok(Start {
            widths: free.map(|candidate| (candidate.key, candidate.channels)).collect(),
            macs: cost.macs,
            parameters: cost.parameters.total,
        })
    }
}

/// Everything that decides which channels go.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How channels are judged.
    pub importance: Importance,
    /// Over which channels they are compared.
    pub scope: Scope,
    /// How much is to go.
    pub target: Target,
    /// Ratios of their own for the layers of some names; the last pattern that fits counts. Such
    /// groups are cut locally and do not take part in a search for a target.
    pub layer_ratios: Vec<(Pattern, f64)>,
    /// Layers to leave alone, and with them every layer coupled to one.
    pub ignore: Vec<Pattern>,
    /// No group loses more than this share of its channels, whatever the target.
    pub max_ratio: f64,
    /// The width of every layer that is cut is rounded to a multiple of this, as far as the maximum
    /// ratio and the layers coupled to it allow: where the channels of several layers cross (in a
    /// ShuffleNet's stages), a width may miss it by a few.
    pub round_to: usize,
    /// Sizes for the graph's symbols, for counting.
    pub bindings: Bindings,
    /// What pictures say about the graph, for criteria that judge by them.
    pub evidence: Option<Arc<Evidence>>,
    /// What was there before the first of several cuts: the target and the maximum ratio are shares
    /// of that. Without it they are shares of the graph itself.
    pub start: Option<Start>,
}

impl Settings {
    /// L2 magnitude, locally, without rounding: torch-pruning's `MagnitudePruner`.
    pub fn new(target: Target) -> Self {
        Settings {
            importance: Importance::new(Criterion::L2),
            scope: Scope::Local,
            target,
            layer_ratios: Vec::new(),
            ignore: Vec::new(),
            max_ratio: 1.0,
            round_to: 1,
            bindings: Bindings::new(),
            evidence: None,
            start: None,
        }
    }
}

/// What a plan does to the channels that exist in the same tensors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupPlan {
    /// The layers that make the channels.
    pub layers: Vec<String>,
    /// Their number.
    pub channels: usize,
    /// How many indices of the first layer's axis one channel takes: the groups of a grouped
    /// convolution.
    pub unit: usize,
    /// The share that was to go; `None` under a global ranking, which has no share per group.
    pub requested: Option<f64>,
    /// How many stay.
    pub kept: usize,
    /// Why none were removed, where none were.
    pub reason: Option<String>,
}

impl GroupPlan {
    /// The share of the channels that goes.
    pub fn achieved(&self) -> f64 {
        1.0 - self.kept as f64 / self.channels.max(1) as f64
    }
}

/// Which channels go, and how that came about.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The channels to remove.
    pub classes: Vec<ClassId>,
    /// Every group, in the order of the graph, those left alone included.
    pub groups: Vec<GroupPlan>,
    /// The ratio that was used: the one asked for, or the one found for a target.
    pub ratio: f64,
}

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A share outside its range.
    #[error("{what} is {value}, but should lie {range}")]
    Share {
        /// Which one.
        what: String,
        /// Its value.
        value: f64,
        /// The range, in words.
        range: &'static str,
    },
    /// A pattern that fits no layer.
    #[error("no layer with channels is called `{pattern}`; there are {known}")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// Names of layers, the first few.
        known: String,
    },
    /// A criterion that judges by pictures has none, or those of another network.
    #[error("the criterion judges by pictures, but they were not looked at for this network")]
    NoEvidence,
    /// The target cannot be met by removing channels.
    #[error(
        "cannot bring the {what} down to {wanted} ({share:.1} %): with every group cut as far as \
         it may be, {least} are left"
    )]
    OutOfReach {
        /// "multiply-accumulates" or "parameters".
        what: &'static str,
        /// The number asked for.
        wanted: u64,
        /// The same in per cent of all.
        share: f64,
        /// The least that can be had.
        least: u64,
    },
    /// The network cannot be counted.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// The cut is not possible; a fault of the plan.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The cut network does not fit together; a fault of the couplings.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The channels of a group that may all be cut, or may all not.
struct Candidate {
    /// The name of the first layer's weight.
    key: String,
    /// The number of channels.
    channels: usize,
    /// The number before the first of several cuts.
    original: usize,
    /// Those that exist in the same tensors, together. None where the whole axis is pinned.
    strata: Vec<Ranked>,
    unit: usize,
    layers: Vec<String>,
    own_ratio: Option<f64>,
    /// Why nothing may be removed, where nothing may.
    left_alone: Option<String>,
}

/// The channels of a stratum with their scores, least important first.
struct Ranked(Vec<(ClassId, f64)>);

impl Ranked {
    fn new(classes: &[ClassId], scores: Vec<f64>) -> Self {
        let mut channels: Vec<(ClassId, f64)> = classes.iter().copied().zip(scores).collect();
        // A stable sort: equal scores stay in the order of the graph.
        channels.sort_by(|a, b| a.1.total_cmp(&b.1));
        Ranked(channels)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Decides which channels of `graph` go.
///
/// # Errors
/// [`PlanError`]: a share out of range, a pattern without a match, a target out of reach.
pub(crate) fn plan(
    graph: &Graph,
    couplings: &Couplings,
    settings: &Settings,
) -> Result<Plan, PlanError> {
    check_shares(settings)?;
    let evidence = settings.evidence.as_deref();
    if settings.importance.criterion.needs_data()
        && !evidence.is_some_and(|evidence| evidence.suits(graph, couplings))
    {
        return Err(PlanError::NoEvidence);
    }
    let candidates = candidates(graph, couplings, settings)?;
    let count = |ratio: f64, by: Counted| -> Result<u64, PlanError> {
        let cut = couplings.cut(graph, choose(&candidates, couplings, graph, settings, ratio))?;
        let cost = remove(graph, &cut)?.cost(&settings.bindings, Convention::Exact)?;
        Ok(by.of(&cost))
    };
    let ratio = match settings.target {
        Target::Ratio(ratio) => ratio,
        Target::Macs(share) => search(graph, settings, share, Counted::Macs, count)?,
        Target::Parameters(share) => search(graph, settings, share, Counted::Parameters, count)?,
    };
    let classes = choose(&candidates, couplings, graph, settings, ratio);
    let groups = candidates.into_iter().map(|candidate| {
        let goes = |channel: &&(ClassId, f64)| classes.contains(&channel.0);
        let gone = candidate.strata.iter().flat_map(|s| &s.0).filter(goes).count();
        let requested = match (&candidate.left_alone, candidate.own_ratio, settings.scope) {
            (Some(_), ..) => Some(0.0),
            (None, Some(own), _) => Some(own),
            (None, None, Scope::Local) => Some(ratio),
            (None, None, Scope::Global) => None,
        };
        let reason = (gone == 0).then(|| match candidate.left_alone {
            Some(reason) => reason,
            None if requested.is_some_and(|ratio| ratio == 0.0) => "the ratio is 0".to_string(),
            None if requested.is_none() => {
                "all its channels matter more than those removed elsewhere".to_string()
            }
            None => "the ratio and its limits leave all its channels".to_string(),
        });
        let (layers, channels, unit) = (candidate.layers, candidate.channels, candidate.unit);
        GroupPlan { layers, channels, unit, requested, kept: channels - gone, reason }
    });
    Ok(Plan { groups: groups.collect(), classes: classes.iter().copied().collect(), ratio })
}

fn check_shares(settings: &Settings) -> Result<(), PlanError> {
    let removed = |what: String, value: f64| {
        if (0.0..1.0).contains(&value) {
            Ok(())
        } else {
            Err(PlanError::Share { what, value, range: "between 0 and 1, 1 excluded" })
        }
    };
    let kept = |what: &str, value: f64| {
        if value > 0.0 && value <= 1.0 {
            Ok(())
        } else {
            let (what, range) = (what.to_string(), "between 0 and 1, 0 excluded");
            Err(PlanError::Share { what, value, range })
        }
    };
    match settings.target {
        Target::Ratio(ratio) => removed("the ratio".into(), ratio)?,
        Target::Macs(share) => kept("the share of multiply-accumulates to keep", share)?,
        Target::Parameters(share) => kept("the share of parameters to keep", share)?,
    }
    for (pattern, ratio) in &settings.layer_ratios {
        removed(format!("the ratio of `{pattern}`"), *ratio)?;
    }
    kept("the maximum ratio", settings.max_ratio)
}

fn candidates(
    graph: &Graph,
    couplings: &Couplings,
    settings: &Settings,
) -> Result<Vec<Candidate>, PlanError> {
    let groups = couplings.groups();
    let names = |group: &Group| -> Vec<String> {
        group.producers.iter().map(|producer| graph.node_label(producer.node)).collect()
    };
    // Exporters that number their nodes keep the path of the layer in the name of its weight.
    let paths = |group: &Group| -> Vec<String> {
        let weights = group.producers.iter().map(|producer| graph.label(producer.at.tensor));
        let paths = weights.map(|name| name.trim_end_matches(".weight").to_string());
        names(group).into_iter().chain(paths).collect()
    };
    let all: Vec<Vec<String>> = groups.iter().map(paths).collect();
    let patterns = settings.ignore.iter().chain(settings.layer_ratios.iter().map(|(p, _)| p));
    for pattern in patterns {
        if !all.iter().flatten().any(|name| pattern.matches(name)) {
            let layers: Vec<String> = groups.iter().flat_map(names).collect();
            let known: Vec<&str> = layers.iter().take(8).map(String::as_str).collect();
            let more = layers.len() - known.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let known = format!("{}{more}", known.join(", "));
            return Err(PlanError::NoMatch { pattern: pattern.to_string(), known });
        }
    }
    let mut result = Vec::new();
    for (group, paths) in groups.iter().zip(all) {
        let layers = names(group);
        let fits = |pattern: &Pattern| paths.iter().any(|name| pattern.matches(name));
        let ignored = settings.ignore.iter().find(|pattern| fits(pattern));
        let own = settings.layer_ratios.iter().rev().find(|(pattern, _)| fits(pattern));
        let evidence = settings.evidence.as_deref();
        let Scores { mut strata, judged } =
            settings.importance.scores(graph, couplings, group, evidence);
        if settings.importance.macs_penalty != 0.0 {
            penalise(graph, couplings, settings, group, &mut strata)?;
        }
        // What may be cut and what may not make rows of their own, the latter by reason.
        let mut rows: Vec<Candidate> = Vec::new();
        for (stratum, scores) in group.strata.iter().zip(strata) {
            let left_alone = if let Some(pin) = &stratum.pin {
                Some(format!("{}: {}", pin.place, pin.why))
            } else if let Some(pattern) = ignored {
                Some(format!("ignored by `{pattern}`"))
            } else if !judged {
                Some(match settings.importance.criterion {
                    Criterion::BnScale => {
                        "nothing to judge its channels by: no batch normalisation".to_string()
                    }
                    _ => "nothing to judge its channels by: the loss does not depend on them"
                        .to_string(),
                })
            } else {
                None
            };
            let channels = match stratum.classes.len() {
                // An axis that is pinned as a whole has no classes, but the report counts it.
                0 => {
                    let axes = group.producers.iter().map(|producer| producer.at);
                    let sizes = axes.filter_map(|at| graph.ty(at.tensor).dims[at.axis].fixed());
                    sizes.max().unwrap_or(0)
                }
                count => count,
            };
            let ranked = Ranked::new(&stratum.classes, scores);
            match rows.iter_mut().find(|row| row.left_alone == left_alone) {
                Some(row) => {
                    row.channels += channels;
                    row.strata.push(ranked);
                }
                None => rows.push(Candidate {
                    key: group
                        .producers
                        .first()
                        .map_or(String::new(), |producer| graph.label(producer.at.tensor)),
                    channels,
                    original: channels,
                    strata: vec![ranked],
                    unit: unit(couplings, group, &stratum.classes),
                    layers: layers.clone(),
                    own_ratio: own.map(|(_, ratio)| *ratio),
                    left_alone,
                }),
            }
        }
        for row in &mut rows {
            let before = settings.start.as_ref().and_then(|start| start.widths.get(&row.key));
            row.original = before.copied().unwrap_or(0).max(row.channels);
            if row.channels < 2 && row.left_alone.is_none() {
                row.left_alone = Some("it has one channel".to_string());
            }
        }
        result.append(&mut rows);
    }
    Ok(result)
}

/// Takes off each score what the channel costs, by the rule of [`Importance::macs_penalty`].
fn penalise(
    graph: &Graph,
    couplings: &Couplings,
    settings: &Settings,
    group: &Group,
    scores: &mut [Vec<f64>],
) -> Result<(), PlanError> {
    let whole = graph.cost(&settings.bindings, Convention::Exact)?.macs;
    for (stratum, scores) in group.strata.iter().zip(scores) {
        // Any channel of a stratum costs the same; an axis of one channel cannot lose it.
        let first = stratum.classes.first().filter(|_| stratum.pin.is_none());
        let Some(cut) = first.and_then(|&class| couplings.cut(graph, [class]).ok()) else {
            continue;
        };
        let less = remove(graph, &cut)?.cost(&settings.bindings, Convention::Exact)?.macs;
        let penalty = settings.importance.macs_penalty * whole.saturating_sub(less) as f64 / 1e6;
        scores.iter_mut().for_each(|score| *score -= penalty);
    }
    Ok(())
}

/// How many indices of the first layer's axis one of the channels takes.
fn unit(couplings: &Couplings, group: &Group, classes: &[ClassId]) -> usize {
    let root = group.producers.first().map(|producer| producer.at);
    classes.first().map_or(1, |&class| {
        couplings.members(class).iter().filter(|member| Some(member.at) == root).count().max(1)
    })
}

/// The channels that go at a ratio.
fn choose(
    candidates: &[Candidate],
    couplings: &Couplings,
    graph: &Graph,
    settings: &Settings,
    ratio: f64,
) -> BTreeSet<ClassId> {
    let free: Vec<&Candidate> = candidates.iter().filter(|c| c.left_alone.is_none()).collect();
    let mut gone: Vec<Vec<usize>> = free
        .iter()
        .map(|candidate| match (candidate.own_ratio, settings.scope) {
            (None, Scope::Global) => vec![0; candidate.strata.len()],
            (own, _) => {
                let kept = kept_width(candidate.original, own.unwrap_or(ratio));
                share_out(candidate, candidate.channels.saturating_sub(kept))
            }
        })
        .collect();
    if settings.scope == Scope::Global {
        rank(&free, settings, ratio, &mut gone);
    }
    let mut chosen: Vec<(ClassId, f64)> = Vec::new();
    for (candidate, gone) in free.iter().zip(gone) {
        let gone = limit(candidate, settings, gone);
        for (stratum, gone) in candidate.strata.iter().zip(gone) {
            chosen.extend(&stratum.0[..gone]);
        }
    }
    keep_axes_alive(graph, couplings, chosen)
}

/// Shares out a number of channels to remove over the strata of a candidate, in proportion to their
/// lengths: whole parts first, then the largest remainders.
fn share_out(candidate: &Candidate, total: usize) -> Vec<usize> {
    let channels = candidate.channels.max(1);
    let quota = |stratum: &Ranked| stratum.len() * total;
    let mut gone: Vec<usize> = candidate.strata.iter().map(|s| quota(s) / channels).collect();
    let mut order: Vec<usize> = (0..gone.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(quota(&candidate.strata[at]) % channels));
    let missing = total - gone.iter().sum::<usize>();
    for &at in order.iter().take(missing) {
        gone[at] += 1;
    }
    gone
}

/// How many of so many of a candidate's channels may go at most, by the maximum ratio.
fn cap(candidate: &Candidate, channels: usize, settings: &Settings) -> usize {
    let before = candidate.original as f64 / candidate.channels.max(1) as f64;
    // A hair less than the product, so that an exact product is not rounded up.
    let least = (channels as f64 * before * (1.0 - settings.max_ratio) - 1e-9).ceil() as usize;
    channels.saturating_sub(least)
}

/// Rounds the widths that are left, and holds the maximum ratio against them.
///
/// Each stratum is rounded by itself where it is long enough, which makes every axis a multiple;
/// the short ones are rounded together.
fn limit(candidate: &Candidate, settings: &Settings, mut gone: Vec<usize>) -> Vec<usize> {
    let cap = |channels: usize| cap(candidate, channels, settings);
    for (stratum, gone) in candidate.strata.iter().zip(&mut gone) {
        *gone = (*gone).min(cap(stratum.len()));
    }
    if settings.round_to <= 1 {
        return gone;
    }
    let round = |channels: usize, gone: usize| {
        let kept = round_width(channels, channels - gone, candidate.unit, settings.round_to);
        // A width within the cap is worth more than a round one.
        (channels - kept <= cap(channels)).then_some(channels - kept)
    };
    let (mut short, mut pool, mut pool_gone) = (Vec::new(), 0, 0);
    for (at, stratum) in candidate.strata.iter().enumerate() {
        if stratum.len() * candidate.unit > settings.round_to {
            gone[at] = round(stratum.len(), gone[at]).unwrap_or(gone[at]);
        } else {
            pool += stratum.len();
            pool_gone += gone[at];
            short.push(at);
        }
    }
    // Take from or give back to the short strata in turn until their sum is round.
    let wanted = round(pool, pool_gone).unwrap_or(pool_gone);
    for &at in short.iter().cycle().take(short.len() * settings.round_to) {
        if pool_gone < wanted && gone[at] < cap(candidate.strata[at].len()) {
            gone[at] += 1;
            pool_gone += 1;
        } else if pool_gone > wanted && gone[at] > 0 {
            gone[at] -= 1;
            pool_gone -= 1;
        }
    }
    gone
}

/// Takes the least important channels of all candidates together until the ratio is reached.
fn rank(free: &[&Candidate], settings: &Settings, ratio: f64, gone: &mut [Vec<usize>]) {
    let mut all: Vec<(f64, usize, usize)> = Vec::new();
    for (at, candidate) in free.iter().enumerate().filter(|(_, c)| c.own_ratio.is_none()) {
        for (place, stratum) in candidate.strata.iter().enumerate() {
            all.extend(stratum.0.iter().map(|&(_, score)| (score, at, place)));
        }
    }
    // A stable sort: equal scores stay in the order of the graph.
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let before = free.iter().filter(|candidate| candidate.own_ratio.is_none());
    let before: usize = before.map(|candidate| candidate.original).sum();
    let mut to_go = all.len().saturating_sub(kept_width(before, ratio));
    for (_, at, place) in all {
        let channels = free[at].strata[place].len();
        let last = gone[at].iter().sum::<usize>() + 1 == free[at].channels;
        if to_go > 0 && !last && gone[at][place] < cap(free[at], channels, settings) {
            gone[at][place] += 1;
            to_go -= 1;
        }
    }
}

/// Gives back the most important channel of every axis that would lose all.
fn keep_axes_alive(
    graph: &Graph,
    couplings: &Couplings,
    mut chosen: Vec<(ClassId, f64)>,
) -> BTreeSet<ClassId> {
    let mut left: BTreeMap<TensorAxis, usize> = BTreeMap::new();
    for (class, _) in &chosen {
        for member in couplings.members(*class) {
            let size = || graph.ty(member.at.tensor).dims[member.at.axis].fixed().unwrap_or(0);
            *left.entry(member.at).or_insert_with(size) -= 1;
        }
    }
    chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut gone = BTreeSet::new();
    for (class, _) in chosen {
        let members = couplings.members(class);
        if members.iter().any(|member| left.get(&member.at) == Some(&0)) {
            for member in members {
                left.entry(member.at).and_modify(|left| *left += 1);
            }
        } else {
            gone.insert(class);
        }
    }
    gone
}

/// What a target counts.
#[derive(Clone, Copy)]
enum Counted {
    Macs,
    Parameters,
}

impl Counted {
    fn of(self, cost: &bunjae_ir::Cost) -> u64 {
        match self {
            Counted::Macs => cost.macs,
            Counted::Parameters => cost.parameters.total,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Counted::Macs => "multiply-accumulates",
            Counted::Parameters => "parameters",
        }
    }
}

/// The smallest ratio that brings the count down to the share asked for, to within 2^-12.
fn search(
    graph: &Graph,
    settings: &Settings,
    share: f64,
    by: Counted,
    count: impl Fn(f64, Counted) -> Result<u64, PlanError>,
) -> Result<f64, PlanError> {
    let whole = match (&settings.start, by) {
        (Some(start), Counted::Macs) => start.macs,
        (Some(start), Counted::Parameters) => start.parameters,
        (None, _) => by.of(&graph.cost(&settings.bindings, Convention::Exact)?),
    };
    let wanted = (whole as f64 * share) as u64;
    let (mut low, mut high) = (0.0, 1.0 - 1e-9);
    if count(low, by)? <= wanted {
        return Ok(low);
    }
    let least = count(high, by)?;
    if least > wanted {
        return Err(PlanError::OutOfReach { what: by.name(), wanted, share: share * 100.0, least });
    }
    for _ in 0..12 {
        let middle = f64::midpoint(low, high);
        if count(middle, by)? <= wanted { high = middle } else { low = middle }
    }
    Ok(high)
}
