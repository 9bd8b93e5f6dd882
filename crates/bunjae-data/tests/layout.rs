//! Every layout of a data set, and what can be wrong with it.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fs;
use std::io::Write;
use std::path::Path;

use bunjae_data::decode::Limits;
use bunjae_data::{Channels, DataError, Dataset, Source, Split, layout};
use bunjae_testkit::data_dir;
use tempfile::TempDir;

/// A folder with empty files of the given names.
fn folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        write(&folder, file, b"");
    }
    folder
}

fn write(folder: &TempDir, file: &str, content: &[u8]) {
    let path = folder.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// `class split file` of each picture, without the folder.
fn listed(dataset: &Dataset, folder: &Path) -> Vec<String> {
    let line = |item: &bunjae_data::Item| {
        let Source::File(path) = &item.source else { return item.source.to_string() };
        let class = item.label.map_or("-", |label| &dataset.classes[label]);
        let split = item.split.map_or("-", Split::name);
        format!("{class} {split} {}", path.strip_prefix(folder).unwrap().display())
    };
    dataset.items.iter().map(line).collect()
}

fn error(folder: &TempDir) -> (String, Option<&'static str>) {
    let error = layout::open(folder.path()).unwrap_err();
    let shown = error.to_string().replace(&folder.path().display().to_string(), "DIR");
    (shown, error.hint())
}

#[test]
fn a_folder_per_class_is_read_in_the_order_of_names() {
    let folder = folder(&["dog/b.JPG", "dog/a.png", "Cat/deep/er/x.webp", "dog/.hidden.jpg"]);
    write(&folder, "dog/notes.txt", b"");
    write(&folder, "readme.md", b"");
    fs::create_dir(folder.path().join("empty")).unwrap();
    let dataset = layout::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, ["Cat", "dog"]);
    let expected = ["Cat - Cat/deep/er/x.webp", "dog - dog/a.png", "dog - dog/b.JPG"];
    assert_eq!(listed(&dataset, folder.path()), expected);
    let skipped: Vec<String> = dataset
        .skipped
        .iter()
        .map(|skipped| {
            let path = skipped.path.strip_prefix(folder.path()).unwrap();
            format!("{}: {}", path.display(), skipped.why)
        })
        .collect();
    assert_eq!(
        skipped,
        [
            "dog/notes.txt: not the ending of a picture",
            "empty: a folder without pictures, no class",
            "readme.md: not in the folder of a class",
        ]
    );
    assert!(dataset.check_trainable().is_ok());
}

#[test]
fn folders_for_the_splits_are_recognised_by_their_usual_names() {
    let folder = folder(&["Train/a/1.jpg", "Train/b/2.jpg", "validation/b/3.jpg", "test/a/4.jpg"]);
    write(&folder, "extra/a/5.jpg", b"");
    let dataset = layout::open(folder.path()).unwrap();
    let expected = [
        "a train Train/a/1.jpg",
        "b train Train/b/2.jpg",
        "b val validation/b/3.jpg",
        "a test test/a/4.jpg",
    ];
    assert_eq!(listed(&dataset, folder.path()), expected);
    assert_eq!(dataset.skipped[0].why, "beside the folders of the splits");
    assert_eq!(dataset.part(Split::Val).items.len(), 1);
    assert!(dataset.is_split());
}

#[test]
fn a_class_that_train_has_not_is_refused() {
    let folder = folder(&["train/a/1.jpg", "train/b/2.jpg", "val/c/3.jpg"]);
    assert_eq!(error(&folder).0, "DIR: val has the class `c`, which train has not");
}

#[test]
fn a_class_may_be_called_test() {
    let folder = folder(&["test/1.jpg", "control/2.jpg"]);
    assert_eq!(layout::open(folder.path()).unwrap().classes, ["control", "test"]);
}

#[test]
fn nothing_and_one_class_are_told_with_a_way_out() {
    let (shown, hint) = error(&folder(&["a/notes.txt"]));
    assert_eq!(shown, "DIR: no folder with pictures in it");
    assert!(hint.unwrap().contains("a folder of pictures per class"));
    let dataset = layout::open(folder(&["only/1.jpg"]).path()).unwrap();
    let error = dataset.check_trainable().unwrap_err();
    assert_eq!(error.to_string(), "pictures of 1 class only (`only`)");
    let missing = layout::open(Path::new("/no/such/folder")).unwrap_err();
    assert!(matches!(missing, DataError::Read { .. }), "{missing}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let elsewhere = folder(&["far.png"]);
    let folder = folder(&["a/1.png", "b/2.png"]);
    symlink(folder.path().join("a"), folder.path().join("a/round")).unwrap();
    symlink(elsewhere.path(), folder.path().join("b/linked")).unwrap();
    symlink("nowhere", folder.path().join("b/broken.png")).unwrap();
    let dataset = layout::open(folder.path()).unwrap();
    let expected = ["a - a/1.png", "b - b/2.png", "b - b/linked/far.png"];
    assert_eq!(listed(&dataset, folder.path()), expected);
    assert_eq!(dataset.skipped[0].why, "a link back to a folder above it");
    assert_eq!(dataset.skipped.len(), 2);
}

#[test]
fn a_manifest_names_files_classes_splits_and_groups() {
    let folder = folder(&[]);
    let text = "group,Image,note,label,split\r\n7,x/b.png,\"a, b\",dog,train\r\n,a.png,,cat,\r\n";
    write(&folder, "manifest.csv", text.as_bytes());
    let dataset = layout::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, ["cat", "dog"]);
    assert_eq!(listed(&dataset, folder.path()), ["cat - a.png", "dog train x/b.png"]);
    assert_eq!(dataset.items[1].group.as_deref(), Some("7"));
    assert_eq!(dataset.items[0].group, None);
}

#[test]
fn every_bad_line_of_a_manifest_is_told() {
    let folder = folder(&[]);
    write(
        &folder,
        "manifest.csv",
        b"file,class,split\na.png,cat,train\nb.png,,train\nc.png,cat,tain\n,cat,val\n",
    );
    let (shown, hint) = error(&folder);
    assert_eq!(
        shown,
        "DIR/manifest.csv: 3 bad lines\n  line 3: `b.png` has no class\n  \
         line 4: `tain` is neither train, val nor test\n  line 5: no file"
    );
    assert!(hint.unwrap().starts_with("columns: file, class"));
    write(&folder, "manifest.csv", b"file,size\na.png,3\n");
    assert_eq!(error(&folder).0, "DIR/manifest.csv: 1 bad line\n  line 1: no column `class`");
    write(&folder, "manifest.csv", b"");
    assert!(error(&folder).0.ends_with("line 1: the manifest is empty"));
    write(&folder, "manifest.csv", b"file,class\n");
    assert!(error(&folder).0.ends_with("a manifest without pictures"));
    write(&folder, "manifest.csv", b"file,class\n\"a.png,b\n");
    assert!(error(&folder).0.ends_with("line 2: a quote that is never closed"));
}

/// IDX files with two pictures of 3 x 2 pixels.
fn idx(folder: &TempDir, prefix: &str, labels: &[u8]) {
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
    images.extend(0..12);
    write(folder, &format!("{prefix}-images-idx3-ubyte"), &images);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&[0, 0, 8, 1, 0, 0, 0, labels.len() as u8]).unwrap();
    packed.write_all(labels).unwrap();
    write(folder, &format!("{prefix}-labels-idx1-ubyte.gz"), &packed.finish().unwrap());
}

#[test]
fn idx_files_are_read_packed_and_unpacked() {
    let folder = folder(&[]);
    idx(&folder, "train", &[1, 0]);
    idx(&folder, "t10k", &[2, 2]);
    let dataset = layout::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, ["0", "1", "2"]);
    let labels: Vec<_> = dataset.items.iter().map(|item| (item.label, item.split)).collect();
    let (train, test) = (Some(Split::Train), Some(Split::Test));
    assert_eq!(labels, [(Some(1), train), (Some(0), train), (Some(2), test), (Some(2), test)]);
    let picture = dataset.items[1].source.native(Limits::default()).unwrap();
    assert_eq!((picture.width(), picture.samples()), (3, &[6, 7, 8, 9, 10, 11][..]));
}

#[test]
fn idx_files_that_do_not_fit_each_other_are_refused() {
    let folder = folder(&[]);
    idx(&folder, "train", &[1, 0, 1]);
    assert!(error(&folder).0.ends_with("3 labels announced, 3 there, 2 pictures"));
    idx(&folder, "train", &[1, 0]);
    // A header that announces more than any memory holds.
    let mut images = vec![0, 0, 8, 3];
    images.extend([0xff; 12]);
    write(&folder, "train-images-idx3-ubyte", &images);
    assert!(error(&folder).0.contains("4294967295 pictures of 4294967295 x 4294967295 announced"));
    write(&folder, "train-images-idx3-ubyte", b"\0\0\x08\x01");
    assert!(error(&folder).0.ends_with("begins with 0x00000801 instead of 0x00000803"));
    fs::remove_file(folder.path().join("train-labels-idx1-ubyte.gz")).unwrap();
    assert!(error(&folder).0.ends_with("no train-labels-idx1-ubyte beside it"));
}

#[test]
fn cifar_planes_become_pixels() {
    let folder = folder(&[]);
    let mut record = vec![1];
    record.extend([[10u8; 1024], [20; 1024], [30; 1024]].concat());
    write(&folder, "data_batch_1.bin", &[record.clone(), record.clone()].concat());
    write(&folder, "test_batch.bin", &record);
    write(&folder, "batches.meta.txt", b"airplane\nautomobile\n\n");
    let dataset = layout::open(folder.path()).unwrap();
    assert_eq!(dataset.classes, ["airplane", "automobile"]);
    assert_eq!(dataset.items.len(), 3);
    assert_eq!(dataset.items[2].split, Some(Split::Test));
    let picture = dataset.items[1].source.native(Limits::default()).unwrap();
    assert_eq!(picture.samples()[..6], [10, 20, 30, 10, 20, 30]);

    write(&folder, "batches.meta.txt", b"airplane\n");
    assert!(error(&folder).0.ends_with("label 1, but names for 1 classes only"));
    write(&folder, "test_batch.bin", &record[1..]);
    assert!(error(&folder).0.ends_with("3072 bytes are no whole number of CIFAR records of 3073"));
}

#[test]
fn unlabelled_pictures_are_found_at_any_depth() {
    let folder = folder(&["a/1.jpg", "2.png", "b/c/3.gif", "b/readme"]);
    let dataset = layout::unlabelled(folder.path()).unwrap();
    assert_eq!(listed(&dataset, folder.path()), ["- - 2.png", "- - a/1.jpg", "- - b/c/3.gif"]);
    assert!(layout::unlabelled(&folder.path().join("b/c")).is_ok());
    fs::remove_file(folder.path().join("b/c/3.gif")).unwrap();
    assert!(layout::unlabelled(&folder.path().join("b")).is_err());
}

/// The figures are those of the READMEs beside the data.
#[test]
fn real_data_sets_have_their_recorded_counts() {
    let Some(data) = data_dir("real_data_sets_have_their_recorded_counts") else { return };
    let counts = |name: &str, split: Option<Split>| {
        let dataset = layout::open(&data.join(name)).unwrap();
        split.map_or(dataset.clone(), |split| dataset.part(split)).counts()
    };
    assert_eq!(counts("facemask", Some(Split::Train)), [1465, 1139]);
    assert_eq!(counts("facemask", Some(Split::Val)), [314, 245]);
    // mask_weared_incorrect, with_mask, without_mask
    assert_eq!(counts("facemask_crops", None), [73, 1573, 272]);
    assert_eq!(counts("trashnet", None), [403, 500, 409, 594, 480, 137]);
    assert_eq!(counts("mnist", Some(Split::Train)).iter().sum::<usize>(), 60_000);
    assert_eq!(counts("mnist", Some(Split::Test)).iter().sum::<usize>(), 10_000);
    let cifar = layout::open(&data.join("cifar10_lossless")).unwrap();
    assert_eq!((cifar.classes[0].as_str(), cifar.items.len()), ("airplane", 5000));
    let detection = layout::open(&data.join("facemask_det")).unwrap_err();
    assert!(detection.to_string().contains("no column `class`"), "{detection}");

    let mnist = layout::open(&data.join("mnist")).unwrap();
    let first = mnist.items[0].source.picture(Channels::Grey, Limits::default()).unwrap();
    assert_eq!((mnist.items[0].label, first.width()), (Some(5), 28));
}
