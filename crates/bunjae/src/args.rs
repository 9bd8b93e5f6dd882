//! Arguments that several commands share, and the parser as a whole.
//!
//! Parsing only checks what a value looks like; whether it suits a model is for the commands.

use std::num::NonZeroUsize;

use bunjae_ir::{Bindings, Dim, DimExpr, Graph};
use clap::{Args, ColorChoice, CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::command::Command;
use crate::failure::{Failure, Fallible, closest};

/// Makes image networks small, and proves that they still compute what they should.
///
/// Models are ONNX files. Reports go to stdout, everything else to stderr. The exit code is 0 when
/// all is done, 1 when a check that was asked for failed, and 2 for an error.
#[derive(Debug, Parser)]
#[command(name = "bunjae", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Arguments of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The form of the report
    #[arg(long, global = true, value_enum, default_value = "text", help_heading = "Output")]
    pub(crate) format: Format,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// When to use colour; `auto` does so on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub(crate) color: Color,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs, with a `schema_version`
    Json,
    /// A table for a page, where models are compared
    Markdown,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// What `--color` says, for help and for the parser's own errors, which come before its result.
fn help_color(arguments: &[std::ffi::OsString]) -> ColorChoice {
    let words = || arguments.iter().map(|argument| argument.to_str().unwrap_or_default());
    let joined = words().filter_map(|word| word.strip_prefix("--color="));
    let apart = words().zip(words().skip(1)).filter(|(word, _)| *word == "--color");
    match joined.chain(apart.map(|(_, value)| value)).last() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// Reads the arguments of this process as one kind of program; ends it where they are wrong, or help
/// was asked for.
pub(crate) fn parse<P: CommandFactory + FromArgMatches>() -> P {
    let arguments: Vec<_> = std::env::args_os().collect();
    let matches = P::command().color(help_color(&arguments)).get_matches_from(arguments);
    P::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Values for the sizes that a model leaves open.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Sizes {
    /// How many pictures a run takes, where the model leaves it open [default: 1]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Sizes")]
    pub(crate) batch: Option<NonZeroUsize>,
    /// A value for another size that the model leaves open; may be repeated
    #[arg(
        long = "size",
        value_name = "NAME=VALUE",
        value_parser = size,
        help_heading = "Sizes"
    )]
    pub(crate) sizes: Vec<(String, NonZeroUsize)>,
}

fn size(text: &str) -> Result<(String, NonZeroUsize), String> {
    let (name, value) = text.rsplit_once('=').ok_or("expected NAME=VALUE, such as H=320")?;
    Ok((name.to_string(), positive(value)?))
}

/// A whole number over 0.
pub(crate) fn positive(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| format!("`{text}` is no whole number over 0"))
}

impl Sizes {
    /// A value for every symbol of the graphs: those given, and the batch.
    ///
    /// # Errors
    /// A symbol without a value, a value without a symbol, a batch that the model has fixed.
    pub(crate) fn bindings(&self, graphs: &[&Graph]) -> Fallible<Bindings> {
        let collect = |names: fn(&Graph) -> Vec<String>| -> Vec<String> {
            let mut all: Vec<String> = graphs.iter().flat_map(|graph| names(graph)).collect();
            let mut seen = std::collections::BTreeSet::new();
            all.retain(|name| seen.insert(name.clone()));
            all
        };
        let (symbols, batches) = (collect(Graph::symbols), collect(batch_symbols));
        let mut bindings = Bindings::new();
        for (name, value) in &self.sizes {
            if !symbols.contains(name) {
                return Err(no_such_size(name, &symbols));
            }
            bindings.insert(name.clone(), value.get());
        }
        if let Some(batch) = self.batch {
            for graph in graphs {
                check_batch(graph, batch.get())?;
            }
        }
        for name in &batches {
            bindings.entry(name.clone()).or_insert(self.batch.map_or(1, NonZeroUsize::get));
        }
        let open: Vec<&String> =
            symbols.iter().filter(|name| !bindings.contains_key(*name)).collect();
        if open.is_empty() {
            return Ok(bindings);
        }
        let list = |form: &dyn Fn(&str) -> String, between: &str| {
            open.iter().map(|name| form(name)).collect::<Vec<_>>().join(between)
        };
        let names = list(&|name| format!("`{name}`"), ", ");
        let what = match open.len() {
            1 => format!("the model leaves the size {names} of its input open"),
            _ => format!("the model leaves the sizes {names} of its input open"),
        };
        let flags = list(&|name| format!("--size {}=320", quoted_for_shell(name)), " ");
        Err(Failure::new(what).hint(format!("give a value, as in `{flags}`")))
    }
}

impl Sizes {
    /// Those values that were given, for a model that may leave the others open.
    ///
    /// # Errors
    /// A value without a symbol, a batch that the model has fixed.
    pub(crate) fn given(&self, graph: &Graph) -> Fallible<Bindings> {
        let symbols = graph.symbols();
        let mut bindings = Bindings::new();
        for (name, value) in &self.sizes {
            if !symbols.contains(name) {
                return Err(no_such_size(name, &symbols));
            }
            bindings.insert(name.clone(), value.get());
        }
        if let Some(batch) = self.batch {
            check_batch(graph, batch.get())?;
            for name in batch_symbols(graph) {
                bindings.entry(name).or_insert(batch.get());
            }
        }
        Ok(bindings)
    }
}

/// The symbols that stand first in an input's type and so count pictures.
fn batch_symbols(graph: &Graph) -> Vec<String> {
    let first = graph.inputs().iter().filter_map(|&id| graph.ty(id).dims.first());
    let symbol = |dim: &Dim| match dim {
        Dim::Dynamic(expression) => match expression.as_ref() {
            DimExpr::Symbol(name) => Some(name.to_string()),
            _ => None,
        },
        Dim::Fixed(_) => None,
    };
    first.filter_map(symbol).collect()
}

fn check_batch(graph: &Graph, batch: usize) -> Fallible<()> {
    for &id in graph.inputs() {
        if let Some(fixed) = graph.ty(id).dims.first().and_then(Dim::fixed)
            && fixed != batch
        {
            let name = graph.label(id);
            let what = format!("the model fixes the batch of its input `{name}` to {fixed}");
            return Err(Failure::new(what).hint("leave out `--batch`"));
        }
    }
    Ok(())
}

fn no_such_size(name: &str, symbols: &[String]) -> Failure {
    let failure = Failure::new(format!("no size of the input is called `{name}`"));
    let names = symbols.iter().map(|symbol| format!("`{symbol}`")).collect::<Vec<_>>().join(", ");
    match (symbols, closest(name, symbols.iter().map(String::as_str))) {
        ([], _) => failure.hint("the model leaves no size open"),
        (_, Some(similar)) => failure.hint(format!("did you mean `{similar}`?")),
        (_, None) => failure.hint(format!("open are {names}")),
    }
}

/// Exporters make symbols of all sorts; a shell takes only some of them as they are.
fn quoted_for_shell(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    if name.chars().all(plain) { name.to_string() } else { format!("'{name}'") }
}

/// A share such as `0.3` or `30%`, between 0 and 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), 100.0),
        None => (text, 1.0),
    };
    let value: f64 = number.parse().map_err(|_| "expected a number such as 0.3 or 30%")?;
    let share = value / scale;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else if scale == 1.0 && (1.0..=100.0).contains(&value) {
        Err(format!("a share lies between 0 and 1; did you mean {value}%?"))
    } else {
        Err("a share lies between 0 and 1".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shares_are_numbers_or_percentages() {
        assert_eq!(share("0.3"), Ok(0.3));
        assert_eq!(share("30%"), Ok(0.3));
        assert_eq!(share("0"), Ok(0.0));
        assert!(share("30").unwrap_err().contains("did you mean 30%?"));
        for wrong in ["", "%", "nan", "-0.1", "101%", "inf", "a third"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_may_have_any_name() {
        assert_eq!(size("a=b=3"), Ok(("a=b".to_string(), NonZeroUsize::new(3).unwrap())));
        for wrong in ["H", "H=", "H=0", "H=-1", "H=1.5"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_choice_of_colour_counts() {
        let choice = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(std::ffi::OsString::from).collect();
            help_color(&words)
        };
        assert_eq!(choice(&["bunjae", "--color", "never", "--help"]), ColorChoice::Never);
        assert_eq!(choice(&["bunjae", "--color=always"]), ColorChoice::Always);
        assert_eq!(choice(&["bunjae", "--color"]), ColorChoice::Auto);
    }
}
