//! The tables of recipes against the options of the commands, so that neither says what the other
//! does not.

use bunjae_recipe::schema::{Form, KINDS, Kind};
use clap::{Arg, Command, CommandFactory};

use crate::args::Cli;

fn command(kind: &Kind) -> Command {
    let mut command = Cli::command();
    command.build();
    for word in kind.command {
        command = command.find_subcommand(word).unwrap_or_else(|| panic!("no {word}")).clone();
    }
    command
}

fn option<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|argument| argument.get_long() == Some(name))
}

/// The words that an option takes; none where it takes anything.
fn words(argument: &Arg) -> Vec<String> {
    let values = argument.get_possible_values();
    values.iter().map(|value| value.get_name().to_owned()).collect()
}

/// Options that are no settings: what the executor gives, and what makes no result.
const NO_SETTINGS: &[&str] = &[
    "output",
    "work",
    "resume",
    "predictions",
    "help",
    "version",
    "format",
    "quiet",
    "color",
    "list",
    "explain",
    "oracle",
    "profile",
    "library",
];

#[test]
fn every_setting_is_an_option_with_the_same_words() {
    for kind in KINDS {
        let command = command(kind);
        let at = |name: &str| format!("`{name}` of `{}`", kind.name);
        let settings = kind.settings.iter().copied().flatten();
        for setting in settings {
            let option = option(&command, setting.name);
            let option = option.unwrap_or_else(|| panic!("no option for {}", at(setting.name)));
            let takes = option.get_action().takes_values();
            assert_eq!(takes, !matches!(setting.form, Form::Flag), "{}", at(setting.name));
            if let Form::Word(known) | Form::Words(known) = setting.form {
                assert_eq!(words(option), known, "{}", at(setting.name));
            }
        }
        for input in kind.inputs {
            if let Some(name) = input.option {
                assert!(option(&command, name).is_some(), "{}", at(name));
            }
        }
        if let Some(first) = kind.first
            && let Form::Word(known) = first.form
        {
            let positional = command.get_positionals().next().map(words).unwrap_or_default();
            assert_eq!(positional, known, "{}", at(first.name));
        }
    }
}

#[test]
fn every_option_is_a_setting_or_the_executors() {
    for kind in KINDS {
        for argument in command(kind).get_arguments() {
            let Some(name) = argument.get_long() else { continue };
            let is_input = kind.inputs.iter().any(|input| input.option == Some(name));
            let known = kind.setting(name).is_some() || is_input || NO_SETTINGS.contains(&name);
            assert!(known, "`--{name}` of `{}` is no setting of a recipe", kind.name);
        }
    }
}

#[test]
fn settings_of_one_kind_have_names_of_their_own() {
    for kind in KINDS {
        let mut keys: Vec<&str> = kind.keys().collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count, "{}", kind.name);
    }
}
