//! Which crate may use which, and which outside crate may be used where.

use crate::metadata::{Dependency, DependencyKind, Package};

use super::Problem;

/// A crate of the workspace and the crates of the workspace that its own code may use.
struct Room {
    name: &'static str,
    may_use: &'static [&'static str],
}

const fn room(name: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { name, may_use }
}

/// The program: it may use every room, and nobody may use it.
const PROGRAM: &str = "bunjae";

/// The crate for tests alone: only dev-dependencies may name it.
const TESTKIT: &str = "bunjae-testkit";

/// Every arrow there may be between crates, tests aside; `docs/ARCHITECTURE.md` gives the reasons.
/// Everybody may use `bunjae-tensor`. Rooms that are planned but not built yet are listed too.
const ROOMS: &[Room] = &[
    room("bunjae-tensor", &[]),
    room("bunjae-files", &[]),
    room("bunjae-ir", &[]),
    room("bunjae-interp", &["bunjae-ir"]),
    room("bunjae-passes", &["bunjae-ir", "bunjae-interp"]),
    room("bunjae-onnx", &["bunjae-files", "bunjae-ir", "bunjae-interp"]),
    room("bunjae-zoo", &["bunjae-ir"]),
    room("bunjae-data", &[]),
    room(
        "bunjae-train",
        &[
            "bunjae-files",
            "bunjae-ir",
            "bunjae-passes",
            "bunjae-engine",
            "bunjae-data",
            "bunjae-measure",
        ],
    ),
    room(
        "bunjae-compress",
        &["bunjae-ir", "bunjae-passes", "bunjae-engine", "bunjae-train", "bunjae-data"],
    ),
    room("bunjae-kernels", &[]),
    room("bunjae-engine", &["bunjae-files", "bunjae-ir", "bunjae-passes", "bunjae-kernels"]),
    room("bunjae-classify", &["bunjae-engine", "bunjae-data"]),
    room("bunjae-capi", &["bunjae-classify", "bunjae-engine", "bunjae-data"]),
    room("bunjae-measure", &["bunjae-engine", "bunjae-data"]),
    room("bunjae-report", &[]),
    room("bunjae-detect", &["bunjae-engine", "bunjae-ir", "bunjae-data"]),
    room("bunjae-recipe", &[]),
    room("bunjae-camera", &["bunjae-classify", "bunjae-data"]),
    room(TESTKIT, &["bunjae-ir", "bunjae-interp", "bunjae-passes"]),
    room("xtask", &[]),
];

/// Outside crates that stay in one room, so that it alone is touched when they change.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("clap", &[PROGRAM]),
    ("indicatif", &[PROGRAM]),
    ("prost", &["bunjae-onnx"]),
    ("image", &["bunjae-data"]),
    ("plotters", &["bunjae-report"]),
    ("maud", &["bunjae-report"]),
    ("toml", &["bunjae-recipe"]),
    ("jpeg-encoder", &["bunjae-data"]),
    ("gstreamer", &["bunjae-camera"]),
    ("rscam", &["bunjae-camera"]),
    ("axum", &["bunjae-camera"]),
    ("roxmltree", &["bunjae-detect"]),
    ("tokio", &["bunjae-camera"]),
    ("proptest", &[TESTKIT]),
    ("insta", &[TESTKIT]),
    ("cbindgen", &[TESTKIT]),
    ("jsonschema", &[TESTKIT]),
    ("schemars", &[TESTKIT]),
];

/// Where the tables above live, for messages.
const TABLES: &str = "xtask/src/tidy/arrows.rs";

/// Checks every arrow that starts in the workspace.
///
/// Dev-dependencies are free, as tests may compare any two rooms, except that nobody depends on the
/// program.
pub fn check(packages: &[Package]) -> Vec<Problem> {
    let ours: Vec<&str> =
        packages.iter().filter(|package| package.is_ours()).map(|package| &*package.name).collect();
    let mut problems = Vec::new();
    for package in packages.iter().filter(|package| package.is_ours()) {
        let path = manifest_of(&package.name);
        let room = ROOMS.iter().find(|room| room.name == package.name);
        if room.is_none() && package.name != PROGRAM {
            problems.push(Problem::file(
                &path,
                format!(
                    "the crate `{}` has no room; hint: say what it may use in ROOMS in {TABLES} \
                     and why it is a crate of its own in {}",
                    package.name,
                    super::docs::ARCHITECTURE
                ),
            ));
            continue;
        }
        let refusals = package.dependencies.iter().filter_map(|dependency| {
            if ours.contains(&&*dependency.name) {
                refuse_inside(room, dependency)
            } else {
                refuse_outside(&package.name, dependency)
            }
        });
        problems.extend(refusals.map(|why| Problem::file(&path, why)));
    }
    problems
}

/// Why the crate in `room`, or the program, may not use another crate of the workspace.
fn refuse_inside(room: Option<&Room>, dependency: &Dependency) -> Option<String> {
    let target = &*dependency.name;
    if target == PROGRAM {
        return Some(format!("nobody may depend on the program `{PROGRAM}`"));
    }
    if dependency.kind == DependencyKind::Dev {
        return None;
    }
    if target == TESTKIT || target == "xtask" {
        return Some(format!("`{target}` is no part of the product; hint: [dev-dependencies]"));
    }
    // The program has no room: it may use them all.
    let room = room?;
    if target == "bunjae-tensor" || room.may_use.contains(&target) {
        return None;
    }
    let allowed = match room.may_use {
        [] => "bunjae-tensor alone".to_owned(),
        names => format!("bunjae-tensor, {}", names.join(", ")),
    };
    Some(format!(
        "`{}` may not use `{target}`, only {allowed}; hint: move the code to where it may, or make \
         the case for a new arrow in {} and add it to ROOMS in {TABLES}",
        room.name,
        super::docs::ARCHITECTURE
    ))
}

/// Why `package` may not use an outside crate.
fn refuse_outside(package: &str, dependency: &Dependency) -> Option<String> {
    let (_, homes) = OUTSIDE.iter().find(|(name, _)| *name == dependency.name)?;
    if dependency.kind == DependencyKind::Dev || homes.contains(&package) {
        return None;
    }
    Some(format!(
        "`{}` may be used by {} alone (OUTSIDE in {TABLES})",
        dependency.name,
        homes.join(" and ")
    ))
}

fn manifest_of(package: &str) -> String {
    match package {
        "xtask" => "xtask/Cargo.toml".to_owned(),
        name => format!("crates/{name}/Cargo.toml"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn package(name: &str, dependencies: &[(&str, DependencyKind)]) -> Package {
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            source: None,
            dependencies: dependencies
                .iter()
                .map(|&(name, kind)| Dependency { name: name.to_owned(), kind })
                .collect(),
            targets: Vec::new(),
            manifest_path: PathBuf::new(),
        }
    }

    /// The problems of a workspace in which `from` depends on `to` and everything else is alone.
    fn arrow(from: &str, to: &str, kind: DependencyKind) -> Vec<String> {
        let mut packages: Vec<Package> = ROOMS.iter().map(|room| package(room.name, &[])).collect();
        packages.push(package(PROGRAM, &[]));
        packages.retain(|package| package.name != from);
        packages.push(package(from, &[(to, kind)]));
        check(&packages).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn arrows_of_the_table_are_allowed() {
        use DependencyKind::{Build, Normal};
        for room in ROOMS {
            for target in room.may_use {
                assert_eq!(arrow(room.name, target, Normal), [""; 0]);
            }
            if room.name != "bunjae-tensor" {
                assert_eq!(arrow(room.name, "bunjae-tensor", Build), [""; 0]);
            }
        }
        assert_eq!(arrow(PROGRAM, "bunjae-onnx", Normal), [""; 0]);
    }

    #[test]
    fn the_table_names_only_rooms_and_has_no_cycle() {
        // A room is reached when all it may use is reached; a cycle is never reached.
        let mut reached = vec!["bunjae-tensor"];
        for _ in ROOMS {
            for room in ROOMS {
                if !reached.contains(&room.name)
                    && room.may_use.iter().all(|target| reached.contains(target))
                {
                    reached.push(room.name);
                }
            }
        }
        let missing: Vec<&str> =
            ROOMS.iter().map(|room| room.name).filter(|name| !reached.contains(name)).collect();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn other_arrows_are_refused_with_both_ends_named() {
        for kind in [DependencyKind::Normal, DependencyKind::Build] {
            let problems = arrow("bunjae-ir", "bunjae-onnx", kind);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(
                problems[0].starts_with(
                    "crates/bunjae-ir/Cargo.toml: `bunjae-ir` may not use `bunjae-onnx`"
                ),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn tests_may_use_any_room_but_not_the_program() {
        assert_eq!(arrow("bunjae-ir", "bunjae-onnx", DependencyKind::Dev), [""; 0]);
        assert_eq!(arrow("bunjae-ir", TESTKIT, DependencyKind::Dev), [""; 0]);
        let problems = arrow("bunjae-ir", PROGRAM, DependencyKind::Dev);
        assert!(problems[0].contains("nobody may depend on the program"), "{problems:?}");
    }

    #[test]
    fn the_product_does_not_contain_the_testkit() {
        for from in ["bunjae-passes", PROGRAM] {
            let problems = arrow(from, TESTKIT, DependencyKind::Normal);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains("no part of the product"), "{problems:?}");
        }
    }

    #[test]
    fn a_crate_without_a_room_is_told_where_to_get_one() {
        let problems = check(&[package("bunjae-attic", &[])]);
        assert_eq!(problems.len(), 1);
        let text = problems[0].to_string();
        assert!(text.contains("`bunjae-attic`") && text.contains(TABLES), "{text}");
    }

    #[test]
    fn outside_crates_stay_in_their_room() {
        assert_eq!(arrow(PROGRAM, "clap", DependencyKind::Normal), [""; 0]);
        assert_eq!(arrow("bunjae-onnx", "prost", DependencyKind::Normal), [""; 0]);
        assert_eq!(arrow("bunjae-ir", "proptest", DependencyKind::Dev), [""; 0]);
        assert_eq!(arrow("bunjae-ir", "thiserror", DependencyKind::Normal), [""; 0]);
        for (from, to) in [("bunjae-zoo", "clap"), (PROGRAM, "prost"), ("bunjae-ir", "proptest")] {
            let problems = arrow(from, to, DependencyKind::Normal);
            assert_eq!(problems.len(), 1, "{from} -> {to}: {problems:?}");
            assert!(problems[0].contains(&format!("`{to}` may be used by")), "{problems:?}");
        }
    }
}
