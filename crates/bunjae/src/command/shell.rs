//! `bunjae completions` and `bunjae man`: what shells and manuals want to know of the parser.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::interrupt::uninterrupted;
use crate::output::Output;

/// Write the completions of a shell
///
/// What is printed goes where the shell looks for completions, such as
/// ~/.local/share/bash-completion/completions/bunjae for Bash, a folder of `fpath` as _bunjae for
/// Zsh, and ~/.config/fish/completions/bunjae.fish for Fish.
#[derive(Debug, Args)]
#[command(after_help = "Example: bunjae completions bash > bunjae.bash")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "bunjae", &mut script);
        output.stream(&String::from_utf8(script).map_err(Failure::new)?)?;
        Ok(Outcome::Done)
    }
}

/// Write the manual: a page for the program and one for each command
///
/// The pages go where `man` looks for its first section, such as ~/.local/share/man/man1.
#[derive(Debug, Args)]
#[command(after_help = "Example: bunjae man man1 && man man1/bunjae-prune.1")]
pub(crate) struct Manual {
    /// The folder for the pages; it is made where there is none
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// One page.
struct Page {
    /// Such as `bunjae-prune.1`.
    file: String,
    text: Vec<u8>,
}

impl Manual {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let shown = self.folder.display();
        std::fs::create_dir_all(&self.folder)
            .map_err(|error| Failure::new(format!("cannot make the folder {shown}: {error}")))?;
        let pages = pages()?;
        for Page { file, text } in &pages {
            let target = self.folder.join(file);
            uninterrupted(|| bunjae_files::write(&target, text)).map_err(Failure::new)?;
        }
        output.note(&format!("{} pages in {shown}", pages.len()));
        Ok(Outcome::Done)
    }
}

/// The program's page, and those of its commands and theirs.
fn pages() -> Fallible<Vec<Page>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    collect(program, String::new(), &mut pages)?;
    Ok(pages)
}

fn collect(command: Command, outer: String, pages: &mut Vec<Page>) -> Fallible<()> {
    let name = format!("{outer}{}", command.get_name());
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        collect(inner.clone(), format!("{name}-"), pages)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.version(version))
        .title(name.clone())
        .source(format!("bunjae {version}"))
        .manual("Bunjae");
    let mut text = Vec::new();
    man.render(&mut text).map_err(Failure::new)?;
    pages.push(Page { file: format!("{name}.1"), text });
    Ok(())
}
