//! What comes out of recipes that are right: names, order, commands and keys.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use bunjae_recipe::{Key, Recipe, Source, Stage, Surroundings, Text, Wanted, read};

const ARCHITECTURES: [&str; 3] = ["mask-base", "mask-medium", "mask-small"];

/// A pipeline of every kind.
const WHOLE: &str = r#"
title = "everything"
data = "."
seed = 1
epochs = 8

[finetune]
epochs = 4

[new.base]
architecture = "mask-base"
[new.medium]
architecture = "mask-medium"
[new.small]
architecture = "mask-small"

[train.teacher]
model = "base"
mean = [0.5, 0.25, -1]

[distill.student]
model = ["medium", "small"]
teacher = "teacher"
epochs = 6

[prune.cut]
model = "teacher"
ratio = [0.3, "50%"]

[finetune.pruned]
model = "cut"
recalibrate-bn = true

[compile.ready]
model = "student-small"

[evaluate.scores]
model = ["teacher", "student", "pruned", "ready"]
split = "val"

[bench.speed]
models = ["teacher", "student", "pruned-0.5"]
threads = [1, 2]

[report]
base = "teacher"
"#;

fn recipe_with(text: &str, sets: &[&str]) -> Recipe {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let folder = Path::new("tests");
    read(Text { name: "r.toml", folder, text, sets: &sets, architectures: &ARCHITECTURES })
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn recipe(text: &str) -> Recipe {
    recipe_with(text, &[])
}

fn names(recipe: &Recipe) -> Vec<&str> {
    recipe.stages.iter().map(|stage| stage.name.as_str()).collect()
}

fn stage<'r>(recipe: &'r Recipe, name: &str) -> &'r Stage {
    recipe.stages.iter().find(|stage| stage.name == name).unwrap()
}

fn command(recipe: &Recipe, name: &str) -> String {
    let place = |source: &Source| match source {
        Source::Stage(at) => PathBuf::from(format!("<{}>", recipe.stages[*at].name)),
        Source::File(path) => path.clone(),
    };
    stage(recipe, name).arguments(&place, Path::new("out")).join(" ")
}

const HERE: Surroundings<'_> = Surroundings { version: "1.0", machine: "a" };

fn keys_with(recipe: &Recipe, surroundings: Surroundings<'_>, data: &str) -> Vec<Key> {
    let hash = &mut |wanted, path: &Path| {
        let what =
            if wanted == Wanted::Data { data.to_owned() } else { path.display().to_string() };
        Ok::<_, Infallible>(what)
    };
    recipe.keys(surroundings, hash).unwrap()
}

/// The stages whose keys are not those of the whole recipe.
fn changed(sets: &[&str]) -> Vec<String> {
    let (before, after) = (recipe(WHOLE), recipe_with(WHOLE, sets));
    assert_eq!(names(&before), names(&after));
    different(&before, &keys_with(&before, HERE, "data"), &keys_with(&after, HERE, "data"))
}

fn different(recipe: &Recipe, before: &[Key], after: &[Key]) -> Vec<String> {
    let stages = recipe.stages.iter().zip(before).zip(after);
    let changed = stages.filter(|((_, before), after)| before.digest != after.digest);
    changed.map(|((stage, _), _)| stage.name.clone()).collect()
}

#[test]
fn lists_fan_out_into_names_that_can_be_foretold() {
    let recipe = recipe(WHOLE);
    assert_eq!(
        names(&recipe),
        [
            "base",
            "medium",
            "small",
            "teacher",
            "student-medium",
            "student-small",
            "cut-0.3",
            "cut-0.5",
            "pruned-0.3",
            "pruned-0.5",
            "ready",
            "scores-teacher",
            "scores-student-medium",
            "scores-student-small",
            "scores-pruned-0.3",
            "scores-pruned-0.5",
            "scores-ready",
            "speed"
        ]
    );
    assert_eq!(recipe.report.base, Some(3));
    assert_eq!(recipe.named("student"), [4, 5]);
    assert_eq!(recipe.named("cut-0.5"), [7]);
}

#[test]
fn a_stage_stands_after_all_that_it_needs_wherever_it_is_written() {
    let mut tables: Vec<&str> = WHOLE.split("\n[").collect();
    let head = tables.remove(0);
    tables.reverse();
    let reversed = format!("{head}\n[{}", tables.join("\n["));
    let recipe = recipe(&reversed);
    assert_eq!(recipe.stages.len(), 18);
    for (at, stage) in recipe.stages.iter().enumerate() {
        assert!(stage.needs().iter().all(|&need| need < at), "{}", stage.name);
    }
}

#[test]
fn a_stage_is_a_command_that_could_have_been_typed() {
    let recipe = recipe(WHOLE);
    let expected = [
        ("base", "new mask-base --output out/base.onnx --seed=1"),
        (
            "teacher",
            "train <base> --data tests/. --output out/teacher.onnx --work out/training --seed=1 \
             --epochs=8 --mean=0.5,0.25,-1",
        ),
        (
            "student-small",
            "distill <small> --teacher <teacher> --data tests/. --output out/student-small.onnx \
             --work out/training --seed=1 --epochs=6",
        ),
        ("cut-0.5", "prune <teacher> --output out/cut-0.5.onnx --ratio=0.5 --seed=1"),
        (
            "pruned-0.3",
            "finetune <cut-0.3> --data tests/. --output out/pruned-0.3.onnx --work out/training \
             --seed=1 --epochs=4 --recalibrate-bn",
        ),
        ("ready", "compile <student-small> --output out/ready.bunjae"),
        (
            "scores-ready",
            "evaluate <ready> --data tests/. --predictions out/predictions.csv --split=val",
        ),
        ("speed", "bench <teacher> <student-medium> <student-small> <pruned-0.5> --threads=1,2"),
    ];
    for (name, line) in expected {
        assert_eq!(command(&recipe, name), line);
    }
}

#[test]
fn seeds_go_through_a_pipeline_pair_by_pair() {
    let text = r#"
        data = "."
        seed = [1, 2, 3]
        [new.base]
        architecture = "mask-base"
        [train.teacher]
        model = "base"
        [distill.student]
        model = "base"
        teacher = "teacher"
        method = ["kd", "kd,at"]
        [evaluate.scores]
        model = ["teacher", "student"]
        [report]
        base = "teacher"
    "#;
    let recipe = recipe(text);
    assert_eq!(recipe.stages.len(), 3 + 3 + 6 + 9);
    assert_eq!(recipe.report.base, recipe.named("teacher-seed1").first().copied());
    let student = stage(&recipe, "student-seed2-kd_at");
    assert_eq!(student.group, "student-kd_at");
    let teacher = recipe.named("teacher-seed2")[0];
    assert_eq!(student.input("teacher"), [Source::Stage(teacher)]);
    assert_eq!(
        command(&recipe, "student-seed2-kd_at"),
        "distill <base-seed2> --teacher <teacher-seed2> --data tests/. --output \
         out/student-seed2-kd_at.onnx --work out/training --seed=2 --method=kd,at"
    );
    assert_eq!(
        command(&recipe, "scores-student-seed3-kd"),
        "evaluate <student-seed3-kd> --data tests/. --predictions out/predictions.csv"
    );
}

#[test]
fn teachers_are_asked_together_and_a_list_of_teacher_one_by_one() {
    let text = |input: &str| {
        format!(
            "data = '.'\n[new.base]\narchitecture = 'mask-base'\n[train.a]\nmodel = 'base'\n\
             [train.b]\nmodel = 'base'\n[distill.student]\nmodel = 'base'\n{input}\n"
        )
    };
    let together = recipe(&text("teachers = ['a', 'b']"));
    assert!(command(&together, "student").contains("--teacher <a> --teacher <b>"));
    let apart = recipe(&text("teacher = ['a', 'b']"));
    assert_eq!(names(&apart)[3..], ["student-a", "student-b"]);
}

#[test]
fn pictures_without_labels_are_made_by_a_stage_or_lie_in_a_folder() {
    let recipe = recipe(
        "data = '.'\n[generate.more]\nkind = 'prps'\n[new.base]\narchitecture = 'mask-base'\n\
         [train.a]\nmodel = 'base'\n[distill.student]\nmodel = 'base'\nteacher = 'a'\n\
         unlabelled = ['more', '.']\n",
    );
    let expected = "--unlabelled <more> --unlabelled tests/.";
    assert!(command(&recipe, "student").contains(expected));
    let needs = stage(&recipe, "student").needs();
    let needed: Vec<&str> = needs.iter().map(|&at| &*recipe.stages[at].name).collect();
    assert_eq!(needed, ["more", "base", "a"]);
}

#[test]
fn a_setting_changes_the_keys_of_its_stage_and_of_what_follows() {
    let found = changed(&["distill.student.epochs=7"]);
    assert_eq!(
        found,
        [
            "student-medium",
            "student-small",
            "ready",
            "scores-student-medium",
            "scores-student-small",
            "scores-ready",
            "speed"
        ]
    );
    assert_eq!(
        changed(&["finetune.epochs=5"]),
        ["pruned-0.3", "pruned-0.5", "scores-pruned-0.3", "scores-pruned-0.5", "speed"]
    );
    assert_eq!(changed(&["bench.speed.runs=5"]), ["speed"]);
    assert_eq!(changed(&["compile.ready.threads=2"]), ["ready", "scores-ready"]);
    assert_eq!(
        changed(&["new.small.width=0.5"]),
        ["small", "student-small", "ready", "scores-student-small", "scores-ready", "speed"]
    );
    // The teacher, and all that it teaches or that is cut out of it.
    assert_eq!(changed(&["train.rate=0.01"]).len(), 15);
}

#[test]
fn what_says_the_same_has_the_same_keys() {
    for sets in [
        vec!["prune.cut.ratio=[\"30%\", 0.5]"],
        vec!["seed=1"],
        vec!["train.teacher.threads=1"],
        vec!["train.teacher.balance=false"],
        vec!["title=something else"],
        vec!["data=tests"],
    ] {
        assert_eq!(changed(&sets), [""; 0], "{sets:?}");
    }
}

#[test]
fn pictures_version_and_machine_change_keys() {
    let recipe = recipe(WHOLE);
    let before = keys_with(&recipe, HERE, "data");
    let data = different(&recipe, &before, &keys_with(&recipe, HERE, "other"));
    assert_eq!(data.len(), 15, "all but the three new models: {data:?}");
    let version = keys_with(&recipe, Surroundings { version: "1.1", ..HERE }, "data");
    assert_eq!(different(&recipe, &before, &version).len(), 18);
    let machine = keys_with(&recipe, Surroundings { machine: "b", ..HERE }, "data");
    assert_eq!(different(&recipe, &before, &machine), ["ready", "scores-ready", "speed"]);
}

#[test]
fn keys_stay_what_they_are() {
    // A key that changes without a change of format throws the results of all users away.
    let recipe = recipe("[new.a]\narchitecture = 'mask-base'\nseed = 3\n");
    let key = &keys_with(&recipe, HERE, "")[0];
    let parts: Vec<String> =
        key.parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        parts,
        ["architecture=mask-base", "format=1", "program version=1.0", "seed=3", "stage=new"]
    );
    assert_eq!(key.digest.len(), 64);
    assert_eq!(key.short(), &key.digest[..12]);
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let read = |text: &str| {
        let sets = ["train.x.epochs=[1,".to_owned()];
        let folder = Path::new("tests");
        let found = Text { name: "r", folder, text, sets: &sets, architectures: &ARCHITECTURES };
        match read(found) {
            Ok(_) => 0,
            Err(problems) => problems.to_string().len(),
        }
    };
    let mut told = 0;
    for end in 0..WHOLE.len() {
        told += read(&WHOLE[..end]);
        let mut text = WHOLE.to_owned();
        let odd = ["[", "=", "\"", "é", "0", "\n", "{", "'", "]]"][end % 9];
        text.replace_range(end..(end + 1 + end % 5).min(WHOLE.len()), odd);
        told += read(&text);
    }
    assert!(told > 100_000, "{told}");
}
