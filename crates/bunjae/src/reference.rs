//! `docs/reference/cli.md`, made from the parser, so that the page cannot lie.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::args::Cli;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");

/// The environment variable that has tests rewrite what they compare with.
const BLESS: &str = "BUNJAE_BLESS";

fn page() -> String {
    let mut program = Cli::command();
    program.build();
    let mut page = String::from("# Command line\n\n");
    paragraphs(&mut page, &program);
    let _ = writeln!(
        page,
        "This page is generated from the parser: `{BLESS}=1 cargo test -p bunjae` rewrites it.\n"
    );
    let everywhere = |arg: &&Arg| arg.is_global_set();
    let own = |arg: &&Arg| !arg.is_global_set();
    page.push_str("Options of every command:\n\n");
    program.get_arguments().filter(everywhere).for_each(|arg| option(&mut page, arg));
    let is_own = |command: &&Command| command.get_name() != "help";
    let commands = program.get_subcommands().filter(is_own).flat_map(|command| {
        let inner = command.get_subcommands().filter(is_own);
        let inner = inner.map(|inner| (format!("{} ", command.get_name()), inner));
        std::iter::once((String::new(), command)).chain(inner)
    });
    for (outer, command) in commands {
        let _ = writeln!(page, "\n## bunjae {outer}{}\n", command.get_name());
        let mut command = command.clone();
        let usage = command.render_usage().to_string();
        let _ = writeln!(page, "```text\n{}\n```\n", usage.trim_start_matches("Usage: "));
        paragraphs(&mut page, &command);
        let mut heading = None;
        for arg in command.get_arguments().filter(own).filter(|arg| arg.get_id() != "help") {
            if arg.get_help_heading() != heading {
                heading = arg.get_help_heading();
                let _ = writeln!(page, "\n{}:\n", heading.unwrap_or("Others"));
            }
            option(&mut page, arg);
        }
        if let Some(help) = command.get_after_help() {
            let help = help.to_string();
            let (title, examples) = help.split_once(':').unwrap_or(("Example", &help));
            let examples: Vec<&str> = examples.trim().lines().map(str::trim).collect();
            let _ = writeln!(page, "\n{title}:\n\n```sh\n{}\n```", examples.join("\n"));
        }
    }
    page
}

fn paragraphs(page: &mut String, command: &Command) {
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        // Help leaves out the stop after its first line, as lists of commands do.
        for paragraph in about.to_string().split("\n\n") {
            let _ = writeln!(page, "{}.\n", paragraph.trim_end_matches('.'));
        }
    }
}

/// One item of a list: how an option is written, what it does, its values and default.
fn option(page: &mut String, arg: &Arg) {
    let values = arg.get_value_names().unwrap_or_default();
    let values = values.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ");
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let mut name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        _ => String::new(),
    };
    if takes {
        let gap = if name.is_empty() { "" } else { " " };
        let _ = write!(name, "{gap}{values}");
    }
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "- `{name}` – {help}");
    let defaults: Vec<_> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes && !defaults.is_empty() {
        let _ = write!(page, " [default: {}]", defaults.join(", "));
    }
    page.push('\n');
    for value in arg.get_possible_values().iter().filter(|value| takes && !value.is_hide_set()) {
        let _ = match value.get_help() {
            Some(help) => writeln!(page, "  - `{}` – {help}", value.get_name()),
            None => writeln!(page, "  - `{}`", value.get_name()),
        };
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let page = page();
    if std::env::var_os(BLESS).is_some() {
        std::fs::create_dir_all(std::path::Path::new(PAGE).parent().unwrap()).unwrap();
        std::fs::write(PAGE, &page).unwrap();
    }
    let found = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        found == page,
        "docs/reference/cli.md does not say what `--help` says; \
         hint: {BLESS}=1 cargo test -p bunjae rewrites it"
    );
}
