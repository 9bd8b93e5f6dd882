//! The oracle: what removing each channel really does to the loss, and how well the criteria foresee
//! it (after Molchanov et al. 2017, arXiv:1611.06440).

use std::collections::BTreeMap;
use std::sync::Arc;

use bunjae_data::pictures::Pictures;
use bunjae_engine::{CompileOptions, Model, Session};
use bunjae_ir::{ClassId, Graph};
use bunjae_passes::untie;
use bunjae_train::{with_batch, with_cross_entropy};
use serde::Serialize;

use crate::correlation::Correlation;
use crate::evidence::{Evidence, EvidenceError, Feed, Looking, Runner, check_classes, finite};
use crate::gates::{Gated, gated};
use crate::importance::{Criterion, Importance};

/// What removing one channel does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Removal {
    /// The layers that make the channel.
    pub layers: Vec<String>,
    /// Its index on the axis of the first of them.
    pub channel: usize,
    /// The mean loss without it, less that of the whole network.
    pub change: f64,
}

/// How well a criterion foresees the oracle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Foresight {
    /// The criterion, with its usual normalisation.
    pub criterion: Criterion,
    /// Over all channels that it judges: what a ranking of all groups together goes by.
    pub all: Correlation,
    /// The mean over the groups of the correlation within each: what a ranking of each group by itself
    /// goes by.
    pub within: Correlation,
    /// How many channels it judges.
    pub channels: usize,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Oracle {
    /// The pictures that were looked at.
    pub pictures: usize,
    /// The mean loss of the whole network on them.
    pub loss: f64,
    /// Every channel that may be removed, in the order of the graph.
    pub removals: Vec<Removal>,
    /// By criterion, the rank correlation of its scores with the absolute change of the loss.
    pub criteria: Vec<Foresight>,
}

/// Removes each channel of a network by itself, measures the loss, and holds the criteria against it.
///
/// The network runs once for each channel and batch: it is for small networks, or few pictures.
/// `progress` hears how many channels are done with a batch, over all batches, and of how many.
///
/// # Errors
/// [`EvidenceError`].
pub fn consult_oracle(
    graph: &Graph,
    pictures: &Arc<Pictures>,
    criteria: &[Criterion],
    looking: &Looking,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Oracle, EvidenceError> {
    check_classes(graph, pictures)?;
    let apart = untie(graph)?;
    let graph = apart.as_ref().map_or(graph, |(apart, _)| apart);
    let couplings = graph.couplings();
    let bound = with_batch(graph, looking.batch)?;
    let Gated { graph: gated, gates } = gated(graph, &couplings, &bound)?;
    let is_read = |class: ClassId| gates.iter().any(|gate| gate.classes.contains(&Some(class)));
    // By group, the channels that may go.
    let groups: Vec<Vec<ClassId>> = couplings
        .groups()
        .iter()
        .map(|group| {
            let free = group.strata.iter().filter(|stratum| stratum.pin.is_none());
            free.flat_map(|stratum| &stratum.classes).copied().filter(|&own| is_read(own)).collect()
        })
        .collect();
    let (step, _) = with_cross_entropy(&gated)?;
    let options = CompileOptions { threads: looking.threads, ..CompileOptions::default() };
    let mut runner = Runner::new(Session::new(Arc::new(Model::compile(&step, &options)?))?);
    let ports: Vec<usize> = gates
        .iter()
        .filter_map(|gate| {
            runner.session.model().inputs().iter().position(|port| port.name == gate.input)
        })
        .collect();
    let mut losses: BTreeMap<ClassId, f64> = BTreeMap::new();
    let (mut whole, mut seen, mut done) = (0.0, 0, 0);
    let channels = groups.iter().map(Vec::len).sum::<usize>();
    let feed = Feed::new(pictures, looking)?;
    let of = channels * feed.batches();
    for filled in feed {
        let filled = filled?;
        seen += filled.labelled();
        runner.run(&filled)?;
        whole += runner.loss() * looking.batch as f64;
        finite("loss", whole, seen)?;
        for &class in groups.iter().flatten() {
            for factor in [0.0, 1.0] {
                for (gate, &port) in gates.iter().zip(&ports) {
                    let width = gate.classes.len();
                    for at in (0..width).filter(|&at| gate.classes[at] == Some(class)) {
                        let factors = runner.factors[port].iter_mut().skip(at).step_by(width);
                        factors.for_each(|own| *own = factor);
                    }
                }
                if factor == 0.0 {
                    runner.run(&filled)?;
                    *losses.entry(class).or_default() += runner.loss() * looking.batch as f64;
                }
            }
            done += 1;
            progress(done.min(of), of);
        }
    }
    if seen == 0 {
        return Err(EvidenceError::NoLabels);
    }
    let change =
        |class: &ClassId| losses.get(class).map_or(0.0, |loss| (loss - whole) / seen as f64);
    let evidence = Evidence::gather(graph, &couplings, pictures, criteria, looking)?;
    let foresee = |&criterion: &Criterion| {
        let importance = Importance::new(criterion);
        let (mut scores, mut changes, mut within) = (Vec::new(), Vec::new(), Vec::new());
        for (group, free) in couplings.groups().iter().zip(&groups) {
            let found = importance.scores(graph, &couplings, group, Some(&evidence));
            if !found.judged || free.is_empty() {
                continue;
            }
            let of: BTreeMap<ClassId, f64> = group
                .strata
                .iter()
                .flat_map(|stratum| stratum.classes.iter().copied())
                .zip(found.strata.concat())
                .collect();
            let own: Vec<f64> =
                free.iter().map(|class| of.get(class).copied().unwrap_or(0.0)).collect();
            let truth: Vec<f64> = free.iter().map(|class| change(class).abs()).collect();
            within.push(Correlation::of(&own, &truth));
            scores.extend(own);
            changes.extend(truth);
        }
        let all = Correlation::of(&scores, &changes);
        let (within, channels) = (Correlation::mean(&within), scores.len());
        Foresight { criterion, all, within, channels }
    };
    let criteria = criteria.iter().map(foresee).collect();
    let removals = couplings.groups().iter().zip(&groups).flat_map(|(group, free)| {
        let layers: Vec<String> =
            group.producers.iter().map(|producer| graph.node_label(producer.node)).collect();
        let root = group.producers.first().map(|producer| producer.at);
        let (couplings, change) = (&couplings, &change);
        free.iter().map(move |class| {
            let on_root = couplings.members(*class).iter().find(|own| Some(own.at) == root);
            Removal {
                layers: layers.clone(),
                channel: on_root.map_or(0, |member| member.index),
                change: change(class),
            }
        })
    });
    let removals = removals.collect();
    Ok(Oracle { pictures: seen, loss: whole / seen as f64, removals, criteria })
}
