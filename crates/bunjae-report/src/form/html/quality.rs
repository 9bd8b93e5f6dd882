//! What models take for what: confusion matrices as tables, and the scores of the classes.

use maud::{Markup, html};

use super::{scrolled, swatch};
use crate::number::{percent, thousands};
use crate::record::{Model, Quality, Report};

/// A matrix with more classes is shown by its largest entries.
const LARGEST_MATRIX: usize = 16;

/// So many confusions of such a one.
const SHOWN: usize = 24;

/// A part for each model that was scored.
pub(super) fn mistakes(report: &Report) -> Option<Markup> {
    let scored: Vec<(usize, &Model, Vec<&Quality>)> = report
        .models
        .iter()
        .enumerate()
        .map(|(at, model)| {
            (at, model, model.runs.iter().filter_map(|run| run.quality.as_ref()).collect())
        })
        .filter(|(_, _, qualities): &(_, _, Vec<_>)| !qualities.is_empty())
        .collect();
    if scored.is_empty() {
        return None;
    }
    Some(html! {
        p class="note" {
            "Rows are the true classes, columns what the model says, in pictures. The darker, the "
            "larger the share of the row."
        }
        div class="grid wide" {
            @for (at, model, qualities) in &scored {
                @for matrix in matrices(qualities) { (card(*at, model, &matrix)) }
            }
        }
    })
}

/// Counts of one or several runs with the same classes.
struct Matrix<'a> {
    labels: &'a [String],
    counts: Vec<Vec<u64>>,
    runs: usize,
    /// The scores of the only run.
    single: Option<&'a Quality>,
}

/// The runs with the same classes together, in the order of the first of each.
fn matrices<'a>(qualities: &[&'a Quality]) -> Vec<Matrix<'a>> {
    let mut found: Vec<Matrix<'a>> = Vec::new();
    for &quality in qualities {
        let same = |matrix: &&mut Matrix<'_>| {
            let sizes = |counts: &[Vec<u64>]| counts.iter().map(Vec::len).collect::<Vec<_>>();
            matrix.labels == quality.labels && sizes(&matrix.counts) == sizes(&quality.confusion)
        };
        match found.iter_mut().find(same) {
            Some(matrix) => {
                let cells = matrix.counts.iter_mut().flatten();
                cells.zip(quality.confusion.iter().flatten()).for_each(|(sum, add)| *sum += add);
                matrix.runs += 1;
                matrix.single = None;
            }
            None => found.push(Matrix {
                labels: &quality.labels,
                counts: quality.confusion.clone(),
                runs: 1,
                single: Some(quality),
            }),
        }
    }
    found
}

fn card(at: usize, model: &Model, matrix: &Matrix<'_>) -> Markup {
    let about = format!("Confusion matrix of {}", model.name);
    html! {
        div class="card" {
            h3 {
                (swatch(at)) (model.name)
                @if matrix.runs > 1 { span class="sub" { (matrix.runs) " seeds together" } }
            }
            @if let Some(quality) = matrix.single {
                p class="note" {
                    "accuracy " (percent(quality.accuracy)) ", macro F1 " (percent(quality.macro_f1))
                    ", cross-entropy " (format!("{:.4}", quality.log_loss))
                    @if let Some(area) = quality.roc_auc { ", ROC AUC " (format!("{area:.4}")) }
                    ", calibration error " (format!("{:.4}", quality.calibration_error))
                    @if quality.corrupt > 0 { ", " (thousands(quality.corrupt)) " corrupt pictures left out" }
                }
            }
            @if matrix.labels.len() <= LARGEST_MATRIX {
                (scrolled(&about, "matrix", table(matrix, &about)))
            } @else {
                (scrolled(&about, "", largest(matrix, &about)))
            }
            @if let Some(quality) = matrix.single { (classes(quality)) }
        }
    }
}

fn name(labels: &[String], at: usize) -> &str {
    labels.get(at).map_or("?", |label| label)
}

fn table(matrix: &Matrix<'_>, about: &str) -> Markup {
    html! {
        table {
            caption { (about) }
            thead {
                tr {
                    th scope="col" class="name" { "true class" }
                    @for label in matrix.labels { th scope="col" title=(label) { (label) } }
                }
            }
            tbody {
                @for (at, row) in matrix.counts.iter().enumerate() {
                    @let sum = row.iter().sum::<u64>().max(1) as f64;
                    tr {
                        th scope="row" title=(name(matrix.labels, at)) { (name(matrix.labels, at)) }
                        @for &count in row {
                            td style={ "--a:" (format!("{:.3}", count as f64 / sum)) } { (thousands(count)) }
                        }
                    }
                }
            }
        }
    }
}

/// The commonest confusions of many classes.
fn largest(matrix: &Matrix<'_>, about: &str) -> Markup {
    let mut wrong: Vec<(usize, usize, u64)> = Vec::new();
    for (label, row) in matrix.counts.iter().enumerate() {
        for (predicted, &count) in row.iter().enumerate() {
            if label != predicted && count > 0 {
                wrong.push((label, predicted, count));
            }
        }
    }
    // Of equal counts the first classes first, as the sort is stable.
    wrong.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    let more = wrong.len().saturating_sub(SHOWN);
    wrong.truncate(SHOWN);
    html! {
        table {
            caption {
                (about) ": the commonest confusions of " (matrix.labels.len()) " classes"
                @if more > 0 { ", " (more) " rarer ones left out" }
            }
            thead {
                tr {
                    th scope="col" class="name" { "true class" }
                    th scope="col" class="name" { "taken for" }
                    th scope="col" { "pictures" }
                }
            }
            tbody {
                @for (label, predicted, count) in wrong {
                    tr {
                        th scope="row" { (name(matrix.labels, label)) }
                        td class="text" { (name(matrix.labels, predicted)) }
                        td { (thousands(count)) }
                    }
                }
            }
        }
    }
}

fn classes(quality: &Quality) -> Markup {
    let occurs = |class: &crate::record::ClassQuality| class.pictures + class.predicted > 0;
    html! {
        details {
            summary { "Precision and recall of each class" }
            (scrolled("Scores of each class", "", html! {
                table {
                    thead {
                        tr {
                            th scope="col" class="name" { "class" }
                            @for head in ["pictures", "predicted", "precision", "recall", "F1"] {
                                th scope="col" { (head) }
                            }
                        }
                    }
                    tbody {
                        @for (at, class) in quality.classes.iter().enumerate().filter(|(_, class)| occurs(class)) {
                            tr {
                                th scope="row" { (name(&quality.labels, at)) }
                                td { (thousands(class.pictures)) }
                                td { (thousands(class.predicted)) }
                                td { (percent(class.precision)) }
                                td { (percent(class.recall)) }
                                td { (percent(class.f1)) }
                            }
                        }
                    }
                }
            }))
        }
    }
}
