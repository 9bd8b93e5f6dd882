//! The recipe that a command is given, and its work folder.

use std::path::{Path, PathBuf};

use bunjae_recipe::{Recipe, Text, read};
use bunjae_zoo::ARCHITECTURES;
use clap::Args;

use crate::failure::{Failure, Fallible};

/// Arguments of every command that takes a recipe.
#[derive(Debug, Args)]
pub(crate) struct RecipeFile {
    /// The recipe: a TOML file
    pub(crate) recipe: PathBuf,
    /// Put a value in the place of one in the recipe, such as `epochs=1`, `train.teacher.rate=0.01` or
    /// `data=folder`; may be repeated. Paths are relative to this folder, those in a recipe to its own
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The folder for everything that is made [default: the name of the recipe, its ending replaced by
    /// `.work`, in this folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
}

impl RecipeFile {
    /// Reads and checks the recipe.
    pub(crate) fn read(&self) -> Fallible<Recipe> {
        let path = &self.recipe;
        let shown = path.display().to_string();
        if path.is_dir() {
            return Err(Failure::new(format!("{shown} is a folder"))
                .hint("give the path of a recipe, a TOML file"));
        }
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::new(format!("there is no file {shown}")).maybe_hint(similar_file(path))
            }
            _ => Failure::new(format!("cannot read {shown}: {error}")),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Failure::new(format!("{shown} is no text in UTF-8"))
                .hint("a recipe is a TOML file; docs/recipes.md shows one")
        })?;
        let architectures = ARCHITECTURES.iter().map(|architecture| architecture.name);
        let architectures: Vec<&str> = architectures.collect();
        let folder = path.parent().unwrap_or(Path::new(""));
        read(Text {
            name: &shown,
            folder,
            text: &text,
            sets: &self.set,
            architectures: &architectures,
        })
        .map_err(|problems| Failure::new(problems.to_string().trim_end()))
    }

    /// The work folder.
    pub(crate) fn work(&self) -> PathBuf {
        self.work.clone().unwrap_or_else(|| {
            let name = self.recipe.file_stem().unwrap_or_default();
            let mut name = name.to_os_string();
            name.push(".work");
            PathBuf::from(name)
        })
    }

    /// The command line that asks for another command with the same recipe.
    pub(crate) fn again(&self, command: &str) -> String {
        let mut words = vec!["bunjae".to_owned(), command.to_owned()];
        words.push(quoted(&self.recipe.display().to_string()));
        for set in &self.set {
            words.push("--set".to_owned());
            words.push(quoted(set));
        }
        if let Some(work) = &self.work {
            words.push("--work".to_owned());
            words.push(quoted(&work.display().to_string()));
        }
        words.join(" ")
    }
}

fn similar_file(path: &Path) -> Option<String> {
    let with_ending = path.with_extension("toml");
    let is_there = path.extension().is_none() && with_ending.is_file();
    is_there.then(|| format!("did you mean {}?", with_ending.display()))
}

/// A word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-/\\:=,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A command as a line that a shell takes.
pub(crate) fn command_line(arguments: &[String]) -> String {
    let words = arguments.iter().map(|argument| quoted(argument));
    std::iter::once("bunjae".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
