//! Recipes that are wrong, each with what is said of it.
//!
//! Every file of `faulty/` is read as a recipe; a line `# set: KEY=VALUE` at its beginning stands for a
//! `--set`. `INSTA_UPDATE=always cargo test -p bunjae-recipe` rewrites the snapshots; review the diff
//! like code.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use bunjae_recipe::{Place, Problems, Text, read};

const ARCHITECTURES: [&str; 4] = ["mask-base", "mask-small", "pd", "pd-light"];

/// What is wrong with a file of `faulty/`.
fn problems(name: &str) -> Problems {
    let folder = Path::new("tests/faulty");
    let text = fs::read_to_string(folder.join(name)).unwrap();
    let sets = text.lines().map_while(|line| line.strip_prefix("# set: "));
    let sets: Vec<String> = sets.map(str::to_owned).collect();
    let found = Text { name, folder, text: &text, sets: &sets, architectures: &ARCHITECTURES };
    read(found).err().unwrap_or_else(|| panic!("{name} has no problem"))
}

fn names() -> Vec<String> {
    let entries = fs::read_dir("tests/faulty").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn every_faulty_recipe_is_refused_with_these_words() {
    let names = names();
    assert!(names.len() > 40, "{} recipes", names.len());
    for name in names {
        let text = problems(&name).to_string();
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            snapshot_path => "faulty_snapshots",
        }, {
            insta::assert_snapshot!(name.trim_end_matches(".toml"), text);
        });
    }
}

#[test]
fn every_problem_has_a_place_in_the_recipe() {
    for name in names() {
        let Problems { problems, text, sets, .. } = problems(&name);
        for problem in problems {
            match problem.place {
                Place::File(span) => assert!(span.end <= text.len() && span.start <= span.end),
                Place::Set(number) => assert!(number < sets.len()),
            }
            assert!(problem.what.starts_with(|c: char| !c.is_uppercase()), "{}", problem.what);
            assert!(!problem.what.ends_with('.'), "{}", problem.what);
        }
    }
}
