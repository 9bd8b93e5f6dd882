//! `bunjae data`.

use std::fs;

use crate::support::{Folder, snapshot};

/// A folder with a small data set in `prps`.
fn with_pictures() -> Folder {
    let folder = Folder::new();
    folder.done("data generate prps -o prps --per-class 3 --seed 5");
    folder
}

#[test]
fn one_command_makes_one_data_set() {
    let folder = with_pictures();
    folder.done("data generate prps -o again --per-class 3 --seed 5");
    folder.done("data generate prps -o other --per-class 3 --seed 6");
    let same = |a: &str, b: &str| {
        ["corona/00000.png", "void/00002.png"]
            .iter()
            .all(|name| folder.read(&format!("{a}/{name}")) == folder.read(&format!("{b}/{name}")))
    };
    assert!(same("prps", "again"));
    assert!(!same("prps", "other"));
}

#[test]
fn a_sound_data_set_is_reported_as_such() {
    let folder = Folder::new();
    snapshot!(
        "data_sound",
        folder.session(&[
            "data generate prps -o prps --per-class 3 --seed 5",
            "data inspect prps --strict",
        ])
    );
}

#[test]
fn what_is_wrong_with_a_data_set_is_listed() {
    let folder = with_pictures();
    let copy = |from: &str, to: &str| {
        let to = folder.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(folder.path(from), to).unwrap();
    };
    for split in ["train", "val"] {
        for class in ["corona", "void"] {
            // The same first picture in both splits, another second one.
            copy(&format!("prps/{class}/00000.png"), &format!("set/{split}/{class}/a.png"));
        }
    }
    copy("prps/corona/00001.png", "set/train/corona/b.png");
    copy("prps/corona/00001.png", "set/train/void/b.png");
    let whole = folder.read("prps/void/00001.png");
    folder.write("set/train/void/cut.png", &whole[..whole.len() / 2]);
    folder.write("set/train/void/notes.txt", "not a picture");
    snapshot!("data_wrong", folder.session(&["data inspect set", "data inspect set --strict -q"]));
    let report = folder.json("data inspect set");
    assert_eq!(report["leaks"], 2);
    assert_eq!(report["contradictions"], 1);
    assert_eq!(report["corrupt"].as_array().unwrap().len(), 1);
    assert_eq!(report["classes"][1]["train"], 3);
}

#[test]
fn what_is_no_data_set_is_refused() {
    let folder = with_pictures();
    fs::create_dir(folder.path("empty")).unwrap();
    folder.write("list.csv", "file,class\na.png,\n");
    let session = folder.session(&[
        "data inspect nowhere",
        "data inspect empty",
        "data inspect list.csv",
        "data inspect prps/void/00000.png",
        "data generate prps -o prps",
        "data generate prps -o list.csv",
        "data generate prps -o new --difficulty 2",
        "data generate prps -o new --per-class 0",
    ]);
    assert_eq!(session.matches("[exit code 2]").count(), 8, "{session}");
    assert!(!folder.path("new").exists());
    snapshot!("data_refused", session);
}
