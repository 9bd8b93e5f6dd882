//! The report as one page for a browser: no script, nothing loaded from anywhere.
//!
//! Names come from models and folders of anybody. They stand in the page as text and are escaped by
//! the two writers that there are, maud's for the page and [`crate::chart`]'s for pictures; anchors
//! are numbered.

mod compare;
mod layers;
mod provenance;
mod quality;
mod training;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chart::{Chart, STYLE};
use crate::error::ReportError;
use crate::record::Report;
use crate::summary::{Summary, summaries};

const PAGE: &str = include_str!("page.css");

/// A part of the page.
struct Section {
    anchor: &'static str,
    title: &'static str,
    body: Markup,
}

/// The report as one file that holds all it needs: light or dark as the reader likes it, legible on
/// a phone, with figures in tables beside the charts.
///
/// # Errors
/// [`ReportError::Chart`] where a chart cannot be drawn.
pub fn html(report: &Report) -> Result<String, ReportError> {
    let rows = summaries(report);
    let sections = [
        ("comparison", "Comparison", compare::comparison(report, &rows)),
        ("trade-offs", "What accuracy costs", compare::trade_offs(&rows)?),
        ("measures", "Measure by measure", compare::measures(&rows)?),
        ("training", "Training", training::curves_of(report)?),
        ("mistakes", "Mistakes", quality::mistakes(report)),
        ("layers", "Layers", layers::layers(report)?),
        ("timings", "Timings", compare::timings(report)),
        ("run", "What was run", provenance::steps(report)),
        ("environment", "Environment", provenance::environment(report)),
    ];
    let sections: Vec<Section> = sections
        .into_iter()
        .filter_map(|(anchor, title, body)| Some(Section { anchor, title, body: body? }))
        .collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content="Bunjae";
                title { (report.title) }
                style { (PreEscaped(STYLE)) (PreEscaped(PAGE)) }
            }
            body {
                div class="wrap" {
                    header class="top" {
                        h1 { (report.title) }
                        p class="lead" { (lead(report)) }
                        nav aria-label="Parts of the report" {
                            ul {
                                @for Section { anchor, title, .. } in &sections {
                                    li { a href={ "#" (anchor) } { (title) } }
                                }
                            }
                        }
                    }
                    main {
                        (compare::headlines(&rows))
                        @for Section { anchor, title, body } in &sections {
                            section id=(anchor) aria-labelledby={ (anchor) "-title" } {
                                h2 id={ (anchor) "-title" } { (title) }
                                (body)
                            }
                        }
                    }
                    footer {
                        @for (name, version) in &report.environment.versions {
                            (name) " " (version) ". "
                        }
                        "Form " (report.schema_version) " of the report."
                    }
                }
            }
        }
    };
    Ok(visible(&page.into_string()) + "\n")
}

/// The page with characters that nobody sees written out: those that control a device, which HTML
/// does not allow, and those that turn the direction of the text around them.
fn visible(page: &str) -> String {
    let is_hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut text = String::with_capacity(page.len());
    for c in page.chars() {
        match is_hidden(c) {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    text
}

/// What there is, in a sentence.
fn lead(report: &Report) -> String {
    let models = match report.models.len() {
        1 => "One model".to_string(),
        count => format!("{count} models"),
    };
    let scored =
        report.models.iter().flat_map(|model| &model.runs).find_map(|run| run.quality.as_ref());
    let scored = scored.map(|quality| {
        let pictures = crate::number::thousands(quality.pictures);
        format!(", scored on {pictures} pictures of {} ({})", quality.data, quality.split)
    });
    let base = report.models.first().filter(|_| report.models.len() > 1);
    let base = base.map(|base| format!(". All are held against {}.", base.name));
    format!("{models}{}{}", scored.unwrap_or_default(), base.unwrap_or_else(|| ".".to_string()))
}

/// A chart with its title.
fn figure(title: &str, note: &str, chart: &Chart) -> Markup {
    html! {
        figure class="card" {
            figcaption {
                (title)
                @if !note.is_empty() { span class="note" { (note) } }
            }
            (PreEscaped(chart.picture()))
        }
    }
}

/// A table that is moved sideways where it is too wide, also by keys.
fn scrolled(about: &str, class: &str, table: Markup) -> Markup {
    html! {
        div class={ "scroll " (class) } tabindex="0" role="region" aria-label=(about) { (table) }
    }
}

/// The mark of a model's colour.
fn swatch(at: usize) -> Markup {
    let color = crate::chart::series_name(at);
    html! { span class="swatch" style={ "background:var(--" (color) ")" } {} }
}

/// What a row is about, in a block of its own: as wide as the name, so that a narrow column does not
/// break it, up to what the page allows.
fn row_head(name: Markup) -> Markup {
    html! { th scope="row" { span class="head" { (name) } } }
}

/// Which colour is whose.
fn legend(names: &[(usize, &str)]) -> Markup {
    html! {
        ul class="legend" aria-label="Models by colour" {
            @for (at, name) in names { li { (swatch(*at)) (name) } }
        }
    }
}

/// All models with their colours.
fn all(rows: &[Summary]) -> Vec<(usize, &str)> {
    rows.iter().enumerate().map(|(at, row)| (at, &*row.model)).collect()
}

/// What stands where nothing was measured.
fn missing() -> Markup {
    html! { span class="missing" { "–" span class="sub" { "not measured" } } }
}
