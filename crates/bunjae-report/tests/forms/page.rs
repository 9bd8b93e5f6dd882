//! The page for a browser: sound markup, nothing from outside, every figure, and no way for a name to
//! become anything but text.

use std::collections::BTreeSet;

use bunjae_report::{Epoch, Measure, Model, Report, Run, Training, html, picture, summaries};
use html5gum::{Token, Tokenizer};

use crate::sample::report;

/// Elements without an end.
const VOID: [&str; 3] = ["meta", "br", "link"];

/// A page as a browser's tokenizer reads it.
#[derive(Default)]
struct Read {
    /// Everything between tags outside of styles.
    text: String,
    elements: BTreeSet<String>,
    /// Name and value.
    attributes: Vec<(String, String)>,
}

/// Reads a page; panics where a tokenizer by the standard of HTML finds an error, or elements do not
/// close in the order in which they opened.
#[track_caller]
fn read(page: &str) -> Read {
    let mut read = Read::default();
    let mut open: Vec<String> = Vec::new();
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for token in Tokenizer::new(page).flatten() {
        match token {
            Token::StartTag(tag) => {
                let name = string(&tag.name);
                for (key, value) in &tag.attributes {
                    read.attributes.push((string(key), string(value)));
                }
                if !tag.self_closing && !VOID.contains(&&*name) {
                    open.push(name.clone());
                }
                read.elements.insert(name);
            }
            Token::EndTag(tag) => {
                assert_eq!(open.pop(), Some(string(&tag.name)), "closes what is not open");
            }
            Token::String(text) => {
                if open.last().is_none_or(|element| element != "style") {
                    read.text.push_str(&string(&text));
                    read.text.push('\n');
                }
            }
            Token::Doctype(doctype) => assert_eq!(string(&doctype.name), "html"),
            Token::Comment(comment) => panic!("a comment: {}", string(&comment)),
            Token::Error(error) => panic!("no sound HTML: {error:?}"),
        }
    }
    assert_eq!(open, [""; 0], "all is closed");
    read
}

#[test]
fn the_page_is_sound_and_holds_all_it_needs() {
    let page = html(&report()).unwrap();
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
    let found = read(&page);
    for element in ["script", "link", "img", "iframe", "object", "form", "base"] {
        assert!(!found.elements.contains(element), "<{element}>");
    }
    for outside in ["http:", "https:", "//", "url(", "@import", "javascript:", "data:"] {
        assert!(!page.to_lowercase().contains(outside), "{outside}");
    }
    let ids: Vec<&str> = values(&found, "id").collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "an id is given once: {ids:?}");
    for target in values(&found, "href").map(|href| href.strip_prefix('#').unwrap()) {
        assert!(unique.contains(target), "#{target}");
    }
    for label in values(&found, "aria-labelledby") {
        assert!(unique.contains(label), "{label}");
    }
}

fn values<'a>(read: &'a Read, name: &'a str) -> impl Iterator<Item = &'a str> {
    read.attributes.iter().filter(move |(key, _)| key == name).map(|(_, value)| &**value)
}

#[test]
fn every_figure_of_the_comparison_stands_in_the_page() {
    let report = report();
    let text = read(&html(&report).unwrap()).text;
    let rows = summaries(&report);
    let mut figures = 0;
    for row in &rows {
        for (measure, figure) in &row.figures {
            let shown = measure.show(figure.mean);
            assert!(text.contains(&shown), "{} {measure:?}: {shown}", row.model);
            if let Some(change) = figure.change {
                let change = measure.show_change(change).replace('-', "−");
                assert!(text.contains(&change), "{} {measure:?}: {change}", row.model);
            }
            figures += 1;
        }
    }
    assert_eq!(figures, 2 * Measure::ALL.len() + 1);
    // The third model lacks all but its size.
    assert_eq!(text.matches("–\nnot measured").count(), Measure::ALL.len() - 1);
}

#[test]
fn every_part_of_the_report_is_there() {
    let page = html(&report()).unwrap();
    let read = read(&page);
    for word in [
        "Face masks",
        "bunjae train base.onnx --data pictures",
        "from before",
        "61.5 s",
        "A Processor",
        "24 GiB",
        "abababababababab…",
        "new mask-base",
        "3 seeds",
        "3 seeds together",
        "On the Pareto front: ",
        "without_mask",
        "features.4",
        "8 of 32",
        "calibration error 0.0200",
    ] {
        assert!(read.text.contains(word), "{word}");
    }
    let charts: Vec<&str> = values(&read, "aria-label")
        .filter(|label| label.ends_with('.') || label.contains("table below"))
        .collect();
    for chart in [
        "Accuracy against latency.",
        "Accuracy against size.",
        "Accuracy against MACs.",
        "Bars of accuracy.",
        "Bars of peak memory.",
        "Accuracy on the validation pictures by epoch.",
        "Learning rate by epoch.",
        "MACs of each layer of base",
        "Channels of each layer of small",
    ] {
        assert!(charts.iter().any(|label| label.starts_with(chart)), "{chart} {charts:#?}");
    }
    let pictures = page.matches("<svg").count();
    assert_eq!(values(&read, "role").filter(|role| *role == "img").count(), pictures);
}

#[test]
fn the_trade_offs_are_a_picture_that_stands_alone() {
    let mut report = report();
    report.models[1].name = "<b>&".into();
    let svg = picture(&report).unwrap().unwrap();
    let found = read(&svg);
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    assert_eq!(svg.matches("http").count(), 1, "the name of the format, and no address");
    assert!(svg.contains("prefers-color-scheme:dark"), "it follows its viewer");
    for title in ["Accuracy against latency", "Accuracy against size", "Accuracy against MACs"] {
        assert!(found.text.contains(title), "{title}");
    }
    assert!(!found.elements.contains("b") && svg.contains("&lt;b&gt;&amp;"), "{svg}");
    report.models.iter_mut().flat_map(|model| &mut model.runs).for_each(|run| run.quality = None);
    assert_eq!(picture(&report).unwrap(), None, "nothing was scored");
}

#[test]
fn names_are_text_whatever_they_hold() {
    const HARM: [&str; 6] = [
        "<script>alert(1)</script>",
        "\"><svg onload=alert(1)>",
        "' onmouseover='alert(1)",
        "</style></title></svg><img src=x onerror=alert(1)>",
        "a\u{0}b\u{1b}[31m\u{202e}",
        "]]>--><!--",
    ];
    let plain = read(&html(&report()).unwrap());
    for harm in HARM {
        let mut report = report();
        report.title = harm.into();
        report.environment.processor = Some(harm.into());
        report.environment.versions.insert(harm.into(), harm.into());
        report.data[0].path = harm.into();
        report.data[0].classes[0] = harm.into();
        report.steps[0].name = harm.into();
        report.steps[0].command = harm.into();
        for model in &mut report.models {
            model.name = harm.into();
            model.description = Some(harm.into());
            for run in &mut model.runs {
                run.history.push(harm.into());
                run.training.iter_mut().for_each(|training| training.name = harm.into());
                if let Some(file) = &mut run.file {
                    file.path = harm.into();
                    file.sha256 = Some(harm.into());
                }
                if let Some(quality) = &mut run.quality {
                    quality.data = harm.into();
                    quality.labels[0] = harm.into();
                }
                if let Some(cost) = &mut run.cost {
                    cost.layers[0].name = harm.into();
                    cost.layers[0].operator = harm.into();
                }
                run.timings.iter_mut().for_each(|timing| timing.engine = harm.into());
            }
        }
        let found = read(&html(&report).unwrap());
        assert!(found.elements.is_subset(&plain.elements), "{harm}: {:?}", found.elements);
        let known: BTreeSet<&String> = plain.attributes.iter().map(|(key, _)| key).collect();
        let strange = found.attributes.iter().find(|(key, _)| !known.contains(key));
        assert_eq!(strange, None, "{harm}");
    }
}

#[test]
fn reports_of_little_and_of_much_have_a_page() {
    read(&html(&Report::new("")).unwrap());
    let mut report = Report::new("one");
    report.models.push(Model::new("nothing known", vec![Run::default()]));
    let found = read(&html(&report).unwrap());
    assert!(!found.elements.contains("svg"), "nothing to draw");
    // More models than colours, layers than bars, and classes than a matrix shows.
    let mut report = crate::sample::report();
    let model = report.models[1].clone();
    for at in 0..20 {
        let mut model = model.clone();
        model.name = format!("model {at}");
        for run in &mut model.runs {
            let cost = run.cost.as_mut().unwrap();
            let layer = cost.layers[0].clone();
            cost.layers = (0..100)
                .map(|at| bunjae_report::Layer { name: format!("layer {at}"), ..layer.clone() })
                .collect();
            let quality = run.quality.as_mut().unwrap();
            quality.labels = (0..40).map(|at| format!("class {at}")).collect();
            quality.confusion = (0..40).map(|at| vec![at; 40]).collect();
            let epoch = |epoch| Epoch { epoch, ..Epoch::default() };
            run.training.push(Training { name: "again".into(), epochs: vec![epoch(1)] });
        }
        report.models.push(model);
    }
    let found = read(&html(&report).unwrap());
    assert!(found.text.contains("the 40 largest; 60 more in the table"));
    assert!(
        found.text.contains("the commonest confusions of 40 classes, 1497 rarer ones left out")
    );
}

#[test]
fn figures_that_are_no_numbers_are_missing_and_break_nothing() {
    let mut report = report();
    let run = &mut report.models[1].runs[0];
    run.quality.as_mut().unwrap().accuracy = f64::NAN;
    run.timings[0].median_ms = f64::INFINITY;
    run.training[0].epochs[1].train_loss = f64::NAN;
    run.training[0].epochs[2].rate = f64::NEG_INFINITY;
    let page = html(&report).unwrap();
    read(&page);
    for word in ["NaN", "inf"] {
        // A timing is shown as it was recorded; what is drawn and compared is not.
        assert!(!page.replace("<td>inf</td>", "").contains(&format!("{word}<")), "{word}");
        assert!(!page.contains(&format!("\"{word}\"")), "{word}");
    }
    assert!(page.contains("(2 of 3)"), "two seeds have a figure");
}
