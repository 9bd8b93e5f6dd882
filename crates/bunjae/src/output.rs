//! The one place that prints: reports to stdout, everything else to stderr.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "every other module hands its text to this one"
)]

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::args::{Color, Format, Global};
use crate::failure::{Failure, Fallible};
use crate::page::Page;

/// Raised whenever a field of a report changes its name or meaning.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// What a command found out, in both forms.
pub(crate) trait Report: Serialize {
    /// The command's name, for readers of the JSON.
    const COMMAND: &'static str;

    /// Lays the report out for people.
    fn write(&self, page: &mut Page);
}

#[derive(Serialize)]
struct Document<'a, R> {
    schema_version: u32,
    command: &'static str,
    #[serde(flatten)]
    report: &'a R,
}

/// Where reports, notes and errors go.
#[derive(Clone)]
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    /// Where a command is part of another one, which takes its reports.
    capture: Option<Arc<Capture>>,
}

/// What a command that is part of another one says.
struct Capture {
    /// What notes for people begin with.
    name: String,
    log: Mutex<File>,
    reports: Mutex<Vec<Value>>,
    /// Whether nothing else draws on the terminal.
    draws: bool,
}

impl Capture {
    /// Adds lines to the log. A log that cannot be written is no reason to stop what it tells of.
    fn log(&self, text: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let text = anstream::adapter::strip_str(text.trim_end()).to_string();
        let _ = writeln!(log, "{text}");
    }
}

impl Default for Output {
    fn default() -> Self {
        Output { format: Format::Text, quiet: false, capture: None }
    }
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        match global.color {
            Color::Auto => {}
            Color::Always => anstream::ColorChoice::Always.write_global(),
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
        Output { format: global.format, quiet: global.quiet, capture: None }
    }

    /// For a command that is part of another one: reports are kept, notes go to the log and, after
    /// `name`, to people, and bars are drawn where the command `draws` alone.
    pub(crate) fn captured(&self, name: &str, log: File, draws: bool) -> Output {
        let (log, reports) = (Mutex::new(log), Mutex::default());
        let capture = Capture { name: name.to_owned(), log, reports, draws };
        Output { format: Format::Text, quiet: self.quiet, capture: Some(Arc::new(capture)) }
    }

    /// The reports that were kept, as JSON.
    pub(crate) fn into_reports(self) -> Vec<Value> {
        self.capture.map_or_else(Vec::new, |capture| {
            std::mem::take(&mut *capture.reports.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Whether the command is part of another one, with which it shares the process.
    pub(crate) fn is_captured(&self) -> bool {
        self.capture.is_some()
    }

    /// Writes something to the log of a command that is part of another one.
    pub(crate) fn log(&self, text: &str) {
        if let Some(capture) = &self.capture {
            capture.log(text);
        }
    }

    /// Prints a report to stdout.
    pub(crate) fn report<R: Report>(&self, report: &R) -> Fallible<()> {
        if let Some(capture) = &self.capture {
            let mut page = Page::new(None);
            report.write(&mut page);
            capture.log(&page.into_text());
            let value = serde_json::to_value(report).map_err(Failure::new)?;
            capture.reports.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            return Ok(());
        }
        let text = match self.format {
            // Commands without such a form were refused before they ran.
            Format::Text | Format::Markdown => {
                let mut page = Page::new(terminal_width());
                report.write(&mut page);
                page.into_text()
            }
            Format::Json => {
                let (schema_version, command) = (SCHEMA_VERSION, R::COMMAND);
                let document = Document { schema_version, command, report };
                let text = serde_json::to_string_pretty(&document);
                text.map_err(Failure::new)? + "\n"
            }
        };
        self.stream(&text).map(|_| ())
    }

    /// Prints a comparison of models to stdout.
    pub(crate) fn comparison(&self, report: &bunjae_report::Report) -> Fallible<()> {
        let text = match self.format {
            Format::Text => bunjae_report::text(report),
            Format::Markdown => bunjae_report::markdown(report),
            Format::Json => bunjae_report::json(report).map_err(Failure::new)?,
        };
        self.stream(&text).map(|_| ())
    }

    /// Prints a part of what a command finds out bit by bit; false where nobody reads any more.
    pub(crate) fn stream(&self, text: &str) -> Fallible<bool> {
        if let Some(capture) = &self.capture {
            capture.log(text);
            return Ok(true);
        }
        let mut stdout = anstream::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            // Whoever reads has seen enough, as in `bunjae inspect model.onnx | head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::new(format!("cannot write to stdout: {error}"))),
            Ok(()) => Ok(true),
        }
    }

    /// Whether reports are for pages.
    pub(crate) fn is_markdown(&self) -> bool {
        matches!(self.format, Format::Markdown)
    }

    /// Whether reports are for programs.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// Tells people something beside the report.
    pub(crate) fn note(&self, text: &str) {
        let text = lines(text);
        if let Some(capture) = &self.capture {
            capture.log(&text);
        }
        match &self.capture {
            _ if self.quiet => {}
            Some(capture) => say(&format!("{}: {text}", capture.name)),
            None => say(&text),
        }
    }

    /// Says what takes a while, where somebody is watching.
    pub(crate) fn progress(&self, text: &str) {
        if io::stderr().is_terminal() && self.capture.is_none() {
            self.note(text);
        }
    }

    /// A bar on stderr for what takes a while; nothing where nobody is watching.
    pub(crate) fn bar(&self, length: usize, what: &str) -> ProgressBar {
        let shares = self.capture.as_ref().is_some_and(|capture| !capture.draws);
        let target = match self.quiet || shares || !io::stderr().is_terminal() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let template = format!("{{bar:30}} {{pos}}/{{len}} {what}, {{eta}} left {{msg}}");
        let style = ProgressStyle::with_template(&template);
        let bar = ProgressBar::with_draw_target(Some(length as u64), target);
        style.map_or(bar.clone(), |style| bar.with_style(style))
    }

    /// Tells what went wrong, and the ways out.
    pub(crate) fn failure(&self, failure: &Failure) {
        let colored = |color: AnsiColor| Style::new().bold().fg_color(Some(color.into()));
        let (red, blue) = (colored(AnsiColor::Red), colored(AnsiColor::Cyan));
        say(&format!("{red}error{red:#}: {}", lines(&failure.what)));
        for hint in &failure.hints {
            say(&format!("{blue}hint{blue:#}: {}", lines(hint)));
        }
    }
}

/// Tells people something at the end of the program. Nobody is left to tell where stderr is gone.
pub(crate) fn say(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Messages may quote names from a file; line breaks are ours, other control characters are not.
fn lines(text: &str) -> String {
    text.lines().map(crate::page::printable).collect::<Vec<_>>().join("\n")
}

fn terminal_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(width.0))
}
