//! What was run, with which data, on which machine.

use maud::{Markup, html};

use super::{scrolled, swatch};
use crate::number::{bytes, digits, thousands};
use crate::record::{DataSet, Report};

/// The commands, the data, and the files.
pub(super) fn steps(report: &Report) -> Option<Markup> {
    let files = files(report);
    if report.steps.is_empty() && report.data.is_empty() && files.is_none() {
        return None;
    }
    let commands = html! {
        table {
            caption { "Commands" }
            thead {
                tr {
                    th scope="col" class="name" { "step" }
                    th scope="col" class="name" { "command" }
                    th scope="col" { "seed" }
                    th scope="col" { "time" }
                }
            }
            tbody {
                @for step in &report.steps {
                    tr {
                        th scope="row" { (step.name) }
                        td class="command" { code { (step.command) } }
                        td { (step.seed.map_or("–".to_string(), |seed| seed.to_string())) }
                        td {
                            (step.seconds.map_or("–".to_string(), seconds))
                            @if step.cached { span class="sub" { "from before" } }
                        }
                    }
                }
            }
        }
    };
    Some(html! {
        @if !report.steps.is_empty() { (scrolled("Commands", "", commands)) }
        @if !report.data.is_empty() { (scrolled("Data", "", data(&report.data))) }
        @if let Some(files) = files { (files) }
    })
}

fn seconds(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{} s", digits(seconds, 3)),
        _ => format!("{:.0} min {:02.0} s", (seconds / 60.0).floor(), seconds % 60.0),
    }
}

fn data(sets: &[DataSet]) -> Markup {
    html! {
        table {
            caption { "Data" }
            thead {
                tr {
                    th scope="col" class="name" { "for" }
                    th scope="col" class="name" { "pictures in" }
                    @for head in ["part", "pictures", "classes"] { th scope="col" { (head) } }
                    th scope="col" class="name" { "SHA-256" }
                }
            }
            tbody {
                @for set in sets {
                    tr {
                        th scope="row" { (set.role) }
                        td class="text" { (set.path) }
                        td { (set.split.as_deref().unwrap_or("–")) }
                        td { (set.pictures.map_or("–".to_string(), thousands)) }
                        td { (set.classes.join(", ")) }
                        td class="text" { (hash(set.sha256.as_deref())) }
                    }
                }
            }
        }
    }
}

/// A hash by its beginning, and as a whole for whoever points at it.
fn hash(hash: Option<&str>) -> Markup {
    html! {
        @match hash {
            Some(hash) => code title=(hash) { (hash.chars().take(16).collect::<String>()) "…" },
            None => "–",
        }
    }
}

/// The model files and how they came about.
fn files(report: &Report) -> Option<Markup> {
    let runs = || {
        let models = report.models.iter().enumerate();
        models.flat_map(|(at, model)| model.runs.iter().map(move |run| (at, model, run)))
    };
    if !runs().any(|(_, _, run)| run.file.is_some() || !run.history.is_empty()) {
        return None;
    }
    let table = html! {
        table {
            caption { "Models" }
            thead {
                tr {
                    th scope="col" class="name" { "model" }
                    th scope="col" { "seed" }
                    th scope="col" class="name" { "file" }
                    th scope="col" { "bytes" }
                    th scope="col" class="name" { "SHA-256" }
                    th scope="col" class="name" { "made by" }
                }
            }
            tbody {
                @for (at, model, run) in runs() {
                    tr {
                        th scope="row" { (swatch(at)) (model.name) }
                        td { (run.seed.map_or("–".to_string(), |seed| seed.to_string())) }
                        @match &run.file {
                            Some(file) => {
                                td class="text" { (file.path) }
                                td { (thousands(file.bytes)) }
                                td class="text" { (hash(file.sha256.as_deref())) }
                            },
                            None => { td class="text" { "–" } td { "–" } td class="text" { "–" } },
                        }
                        td class="text" { (made_by(&run.history)) }
                    }
                }
            }
        }
    };
    Some(scrolled("Models", "", table))
}

/// The commands that led to a file, folded away where there are several: written out they make a row
/// so high that a phone shows nothing but its empty half.
fn made_by(history: &[String]) -> Markup {
    let commands = html! {
        @for command in history { div class="command" { code { (command) } } }
    };
    match history.len() {
        0 | 1 => commands,
        count => html! { details { summary { (count) " commands" } (commands) } },
    }
}

/// The machine and the programs.
pub(super) fn environment(report: &Report) -> Option<Markup> {
    let found = &report.environment;
    let join = |words: Vec<String>| (!words.is_empty()).then(|| words.join(", "));
    let versions = found.versions.iter().map(|(name, version)| format!("{name} {version}"));
    let facts = [
        ("processor", found.processor.clone()),
        ("threads at a time", found.cores.map(thousands)),
        ("memory", found.memory_bytes.map(|count| bytes(count as f64))),
        ("system", found.system.clone()),
        ("instruction sets", join(found.features.clone())),
        ("used", found.isa.clone()),
        ("timed with threads", join(found.threads.iter().map(u64::to_string).collect())),
        ("versions", join(versions.collect())),
    ];
    if facts.iter().all(|(_, fact)| fact.is_none()) {
        return None;
    }
    Some(html! {
        div class="card" {
            dl class="facts" {
                @for (name, fact) in &facts {
                    dt { (name) }
                    dd { @match fact { Some(fact) => (fact), None => span class="missing" { "not known" } } }
                }
            }
        }
    })
}
