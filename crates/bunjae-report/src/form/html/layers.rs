//! What each layer costs and how wide it is, before and after.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{figure, row_head, scrolled, swatch};
use crate::chart::{Pair, pairs};
use crate::error::ReportError;
use crate::number::{bytes, percent, scaled, thousands};
use crate::record::{Cost, Layer, Model, Report};

/// So many layers have a bar; the table has all.
const SHOWN: usize = 40;

/// A part for each model whose layers are known; those of the base stand behind the others'.
pub(super) fn layers(report: &Report) -> Result<Option<Markup>, ReportError> {
    let known = |model: &'_ Model| model.runs.iter().find_map(|run| run.cost.clone());
    let costs: Vec<(usize, &Model, Cost)> = report
        .models
        .iter()
        .enumerate()
        .filter_map(|(at, model)| Some((at, model, known(model)?)))
        .filter(|(_, _, cost)| !cost.layers.is_empty())
        .collect();
    let base: BTreeMap<&str, &Layer> = match costs.first() {
        Some((0, _, cost)) => cost.layers.iter().map(|layer| (&*layer.name, layer)).collect(),
        _ => BTreeMap::new(),
    };
    let mut parts = Vec::new();
    for (at, model, cost) in &costs {
        let before = if *at == 0 { BTreeMap::new() } else { base.clone() };
        parts.push(part(*at, model, cost, &before)?);
    }
    Ok((!parts.is_empty()).then(|| {
        html! {
            p class="note" {
                "Bars are the model's layers; the pale bar behind is the layer of that name in the "
                "first model, where it has one."
            }
            @for part in &parts { (part) }
        }
    }))
}

/// A measure that layers are drawn by.
struct Kind<'a> {
    title: &'a str,
    unit: &'a str,
    write: fn(f64) -> String,
    of: &'a dyn Fn(&Layer) -> Option<f64>,
}

fn part(
    at: usize,
    model: &Model,
    cost: &Cost,
    before: &BTreeMap<&str, &Layer>,
) -> Result<Markup, ReportError> {
    let mut charts = Vec::new();
    let macs = |layer: &Layer| (layer.macs > 0).then_some(layer.macs as f64);
    let widths = |layer: &Layer| layer.channels.map(|channels| channels as f64);
    let kinds = [
        Kind { title: "MACs of each layer", unit: "MACs", write: scaled, of: &macs },
        Kind {
            title: "Channels of each layer",
            unit: "channels",
            write: |value| format!("{value:.0}"),
            of: &widths,
        },
    ];
    for Kind { title, unit, write, of } in kinds {
        let chosen = chosen(&cost.layers, of);
        if chosen.is_empty() {
            continue;
        }
        let left_out =
            cost.layers.iter().filter(|layer| of(layer).is_some()).count() - chosen.len();
        let pair = |&(layer, after): &(&Layer, f64)| {
            let before = before.get(&*layer.name).and_then(|layer| of(layer));
            let value = match before {
                Some(before) if before != after => format!("{} of {}", write(after), write(before)),
                _ => write(after),
            };
            let title = format!("{}: {value} {unit}", layer.name);
            Pair { name: layer.name.clone(), title, value, before, after }
        };
        let all: Vec<Pair> = chosen.iter().map(pair).collect();
        let about = format!("{title} of {}; the figures are in the table below.", model.name);
        let note = match left_out {
            0 => String::new(),
            count => format!("the {SHOWN} largest; {count} more in the table"),
        };
        charts.push(figure(title, &note, &pairs(&all, at, about)?));
    }
    Ok(html! {
        details class="card" open[at < 2] {
            summary { (swatch(at)) (model.name) }
            div class="grid" { @for chart in &charts { (chart) } }
            (table(model, cost, before))
        }
    })
}

/// The layers that have the figure, in their order; of too many those with the largest.
fn chosen<'a>(layers: &'a [Layer], of: &dyn Fn(&Layer) -> Option<f64>) -> Vec<(&'a Layer, f64)> {
    let known = layers.iter().filter_map(|layer| Some((layer, of(layer)?)));
    let mut known: Vec<(usize, (&Layer, f64))> = known.enumerate().collect();
    known.sort_by(|(a, (_, of_a)), (b, (_, of_b))| of_b.total_cmp(of_a).then(a.cmp(b)));
    known.truncate(SHOWN);
    known.sort_by_key(|(at, _)| *at);
    known.into_iter().map(|(_, layer)| layer).collect()
}

fn table(model: &Model, cost: &Cost, before: &BTreeMap<&str, &Layer>) -> Markup {
    let all = cost.macs.max(1) as f64;
    let shape =
        |layer: &Layer| layer.shape.iter().map(u64::to_string).collect::<Vec<_>>().join("×");
    let was = |layer: &Layer| before.get(&*layer.name).and_then(|layer| layer.channels);
    html! {
        details {
            summary { "All " (cost.layers.len()) " layers" }
            (scrolled(&format!("Layers of {}", model.name), "sticky", html! {
                table {
                    thead {
                        tr {
                            th scope="col" class="name" { "layer" }
                            th scope="col" class="name" { "operator" }
                            @for head in ["result", "channels", "before", "parameters", "MACs", "of all", "bytes of results"] {
                                th scope="col" { (head) }
                            }
                        }
                    }
                    tbody {
                        @for layer in &cost.layers {
                            tr {
                                (row_head(html! { (layer.name) }))
                                td class="text" { (layer.operator) }
                                td { (shape(layer)) }
                                td { (layer.channels.map_or(String::new(), thousands)) }
                                td { (was(layer).map_or(String::new(), thousands)) }
                                td { (thousands(layer.parameters)) }
                                td { (thousands(layer.macs)) }
                                td { (percent(layer.macs as f64 / all)) }
                                td { (bytes(layer.activation_bytes as f64)) }
                            }
                        }
                    }
                }
            }))
        }
    }
}
