//! The comparison: headlines, the table, trade-offs, a chart for each measure, all timings.

use maud::{Markup, html};

use super::{all, figure, legend, missing, row_head, scrolled, swatch};
use crate::chart::{Bar, bars};
use crate::error::ReportError;
use crate::form::trade_offs::{self, TradeOff, words};
use crate::form::{known, shown};
use crate::measure::{Better, Change, Measure};
use crate::number::{bytes, digits, thousands};
use crate::record::Report;
use crate::summary::Summary;

/// What each model saves and what it loses, in few words.
pub(super) fn headlines(rows: &[Summary]) -> Markup {
    let Some((base, others)) = rows.split_first().filter(|(_, others)| !others.is_empty()) else {
        return html! {};
    };
    html! {
        section aria-label="At a glance" {
            div class="grid small cards" {
                @for (at, row) in (1..).zip(others) {
                    div class="card" {
                        h3 { (swatch(at)) (row.model) }
                        ul { @for line in headline(base, row) { li { (line) } } }
                    }
                }
            }
        }
    }
}

fn headline(base: &Summary, row: &Summary) -> Vec<String> {
    let pair = |measure: Measure| Some((base.mean(measure)?, row.mean(measure)?));
    let times = |measure: Measure, less: &str, more: &str, same: &str| {
        let (before, after) =
            pair(measure).filter(|(before, after)| *before > 0.0 && *after > 0.0)?;
        let factor = if before >= after { before / after } else { after / before };
        let text = match digits(factor, 3) {
            one if one == "1" => same.to_string(),
            factor if before > after => format!("{factor}× {less}"),
            factor => format!("{factor}× {more}"),
        };
        Some(text)
    };
    let accuracy = pair(Measure::Accuracy).map(|(before, after)| {
        let points = 100.0 * (after - before);
        match format!("{:.2}", points.abs()) {
            none if none == "0.00" => "the same accuracy".to_string(),
            points_text if points > 0.0 => format!("{points_text} points more accuracy"),
            points_text => format!("{points_text} points less accuracy"),
        }
    });
    [
        accuracy,
        times(Measure::MedianMs, "faster", "slower", "as fast"),
        times(Measure::Parameters, "fewer parameters", "more parameters", "as many parameters"),
        times(Measure::Macs, "fewer MACs", "more MACs", "as many MACs"),
        times(Measure::FileBytes, "smaller on disk", "larger on disk", "as large on disk"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Every figure of every model.
pub(super) fn comparison(report: &Report, rows: &[Summary]) -> Option<Markup> {
    let measures = known(rows);
    if rows.is_empty() || measures.is_empty() {
        return None;
    }
    let seeds = rows.iter().any(|row| row.runs > 1);
    let table = html! {
        table {
            caption { "Measures of each model" }
            thead {
                tr {
                    th scope="col" class="name" { "model" }
                    @for measure in &measures { th scope="col" { (measure.label()) } }
                }
            }
            tbody {
                @for ((at, row), model) in rows.iter().enumerate().zip(&report.models) {
                    tr {
                        (row_head(html! {
                            (swatch(at)) (row.model)
                            @if let Some(description) = &model.description {
                                span class="sub" { (description) }
                            }
                            @if row.runs > 1 { span class="sub" { (row.runs) " seeds" } }
                        }))
                        @for &measure in &measures {
                            td { (cell(measure, row)) }
                        }
                    }
                }
            }
        }
    };
    Some(html! {
        p class="note" {
            "Below each figure its change against the first model: points for accuracy and F1, "
            "otherwise a share."
            @if seeds {
                " Where a model has several seeds, the figure is their mean, ± their sample standard "
                "deviation."
            }
        }
        (scrolled("Comparison of the models", "sticky", table))
        details {
            summary { "What the columns say" }
            dl class="facts" {
                @for measure in &measures {
                    dt { (measure.label()) }
                    dd { (measure.meaning()) }
                }
            }
        }
    })
}

fn cell(measure: Measure, row: &Summary) -> Markup {
    let Some(figure) = row.figures.get(&measure) else { return missing() };
    html! {
        (shown(measure, row, figure))
        @if let Some(change) = figure.change {
            span class={ "sub " (tone(measure, change)) } {
                (minus(&measure.show_change(change)))
                @if measure.change() == Change::Difference { " points" }
            }
        }
    }
}

/// Whether a change is for the better.
fn tone(measure: Measure, change: f64) -> &'static str {
    let up = match measure.better() {
        Better::Higher => change,
        Better::Lower => -change,
        Better::Neither => 0.0,
    };
    if up > 0.0 {
        "good"
    } else if up < 0.0 {
        "bad"
    } else {
        ""
    }
}

/// With a true minus sign.
fn minus(text: &str) -> String {
    text.replacen('-', "−", 1)
}

/// Accuracy against latency, size and MACs.
pub(super) fn trade_offs(rows: &[Summary]) -> Result<Option<Markup>, ReportError> {
    let charts = trade_offs::trade_offs(rows)?;
    Ok((!charts.is_empty()).then(|| {
        html! {
            p class="note" {
                "A filled dot is on the Pareto front: no other model is at least as good in both and "
                "better in one. The line joins them."
            }
            (legend(&all(rows)))
            div class="grid" {
                @for TradeOff { title, front, chart } in &charts {
                    (figure(title, &format!("On the Pareto front: {front}"), chart))
                }
            }
        }
    }))
}

/// A bar chart for each measure that is known of somebody.
pub(super) fn measures(rows: &[Summary]) -> Result<Option<Markup>, ReportError> {
    let mut charts = Vec::new();
    for measure in known(rows) {
        let means = || rows.iter().filter_map(|row| row.mean(measure));
        if measure == Measure::ZeroParameters && means().all(|zeros| zeros == 0.0) {
            continue;
        }
        let bar = |(series, row): (usize, &Summary)| {
            let figure = row.figures.get(&measure);
            let value = figure.map_or("not measured".into(), |figure| measure.brief(figure.mean));
            let title = figure.map_or("not measured".into(), |f| words(measure, row, f));
            Bar {
                name: row.model.clone(),
                title: format!("{}: {title}", row.model),
                value,
                length: figure.map(|figure| figure.mean),
                spread: figure.and_then(|figure| figure.spread),
                series,
            }
        };
        let all: Vec<Bar> = rows.iter().enumerate().map(bar).collect();
        let figures: Vec<&str> = all.iter().map(|bar| &*bar.title).collect();
        let chart = bars(&all, format!("Bars of {}. {}.", measure.label(), figures.join("; ")))?;
        let better = match measure.better() {
            Better::Higher => "more is better",
            Better::Lower => "less is better",
            Better::Neither => "",
        };
        charts.push(figure(measure.label(), better, &chart));
    }
    Ok((!charts.is_empty()).then(|| {
        html! { div class="grid" { @for chart in &charts { (chart) } } }
    }))
}

/// Every timing, with all that is known of it.
pub(super) fn timings(report: &Report) -> Option<Markup> {
    let rows: Vec<_> = report
        .models
        .iter()
        .enumerate()
        .flat_map(|(at, model)| model.runs.iter().map(move |run| (at, model, run)))
        .flat_map(|(at, model, run)| run.timings.iter().map(move |timing| (at, model, run, timing)))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let ms = |ms: f64| format!("{ms:.3}");
    let size = |count: Option<u64>| count.map_or("–".to_string(), |count| bytes(count as f64));
    let table = html! {
        table {
            thead {
                tr {
                    th scope="col" class="name" { "model" }
                    @for head in ["seed", "engine", "threads", "batch", "runs", "median ms", "mean", "p90", "p99",
                        "minimum", "frames/s", "arena", "peak memory"] {
                        th scope="col" { (head) }
                    }
                }
            }
            tbody {
                @for (at, model, run, timing) in rows {
                    tr {
                        (row_head(html! { (swatch(at)) (model.name) }))
                        td { (run.seed.map_or("–".to_string(), |seed| seed.to_string())) }
                        td { (timing.engine) }
                        td { (timing.threads) }
                        td { (timing.batch) }
                        td { (thousands(timing.runs)) }
                        td { (ms(timing.median_ms)) }
                        td { (ms(timing.mean_ms)) }
                        td { (ms(timing.p90_ms)) }
                        td { (ms(timing.p99_ms)) }
                        td { (ms(timing.minimum_ms)) }
                        td { (timing.frames_per_second.map_or("–".to_string(), |rate| format!("{rate:.1}"))) }
                        td { (size(timing.arena_bytes)) }
                        td { (size(timing.peak_resident_bytes)) }
                    }
                }
            }
        }
    };
    Some(html! {
        @if let Some(protocol) = &report.protocol {
            p class="note" {
                "After " (protocol.warmup) " runs that do not count, each model ran at least "
                (thousands(protocol.runs)) " times and " (protocol.seconds) " s on the same input (seed "
                (protocol.seed) "), the models taking turns. Compare only figures of one report."
            }
        }
        (scrolled("All timings", "sticky", table))
    })
}
