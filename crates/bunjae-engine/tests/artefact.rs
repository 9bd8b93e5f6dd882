//! Stored networks as files: what is refused, and with which words.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use bunjae_engine::{
    ArtefactError, CompileError, CompileOptions, Isa, LoadOptions, Network, OpenProblem, Session,
};
use bunjae_ir::Graph;
use bunjae_tensor::Tensor;

const TEXT: &str = "graph @net
meta \"bunjae.labels\" = \"a,b\"
in   %x: f32[N,4,8,8]
w    @c: f32[8,4,3,3] = rand(seed=1)
w    @b: f32[8] = rand(seed=2)
%1 = conv2d %x, @c, @b {pad=[1,1,1,1]} : f32[N,8,8,8]
%2 = global_pool %1 : f32[N,8,1,1]
%3 = flatten %2 : f32[N,8]
out  %3 ; \"y\"
";

fn network() -> Network {
    Network::compile(&Graph::parse(TEXT).unwrap(), &CompileOptions::default()).unwrap()
}

fn load(bytes: &[u8]) -> Result<Network, ArtefactError> {
    Network::from_bytes(bytes.to_vec(), &LoadOptions::default())
}

fn refused(bytes: &[u8]) -> String {
    load(bytes).unwrap_err().to_string()
}

/// The bytes with some of them replaced, and the checksum made to fit.
fn changed(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    let checksum = crc32fast::hash(&bytes[12..]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn outputs(network: &Network) -> Vec<Tensor> {
    let input: Vec<f32> = (0..2 * 4 * 64).map(|i| (i % 17) as f32 - 8.0).collect();
    let input = Tensor::from_slice(&[2, 4, 8, 8], &input).unwrap();
    Session::new(network.model(2).unwrap()).unwrap().run_tensors(&[input]).unwrap()
}

#[test]
fn a_saved_network_opens_and_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.bunjae");
    let network = network();
    network.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), network.to_bytes());
    let opened = Network::open(&path, &LoadOptions::default()).unwrap();
    // Replacing the file leaves what was opened alone.
    network.save(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(opened.metadata()["bunjae.labels"], "a,b");
    assert_eq!(outputs(&opened), outputs(&network));
}

#[test]
fn a_network_within_another_file_is_used_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    let network = network();
    let bytes = network.to_bytes();
    let options = LoadOptions::default();
    for before in [0, 1, 64, 5000] {
        let whole = [&vec![7; before][..], &bytes, &[9; 32]].concat();
        std::fs::write(&path, whole).unwrap();
        let part = before as u64..(before + bytes.len()) as u64;
        let found = Network::open_within(&path, part.clone(), &options).unwrap();
        assert_eq!(outputs(&found), outputs(&network), "{before}");
        for wrong in [part.start..part.end + 33, part.end..part.start, part.start + 1..part.end] {
            assert!(Network::open_within(&path, wrong, &options).is_err());
        }
    }
    assert!(Network::is_stored(&bytes[..8]) && !Network::is_stored(&bytes[..7]));
    assert!(!Network::is_stored(b"\x08\x08\x12\x06bunjae"));
}

#[test]
fn bytes_are_taken_from_vectors_shared_slices_and_executables_at_any_place() {
    let network = network();
    let bytes = network.to_bytes();
    let expected = outputs(&network);
    let options = LoadOptions::default();
    let shared: std::sync::Arc<[u8]> = bytes.clone().into();
    assert_eq!(outputs(&Network::from_bytes(shared, &options).unwrap()), expected);
    let leaked: &'static [u8] = Vec::leak([&[0; 64][..], &bytes].concat());
    for skip in 0..64 {
        // Slices that end where the network does, and begin wherever it happens to.
        let moved: &'static [u8] = Vec::leak([&leaked[..skip], &bytes[..]].concat());
        let loaded = Network::from_bytes(&moved[skip..], &options).unwrap();
        assert_eq!(outputs(&loaded), expected, "{skip}");
    }
}

#[test]
fn what_is_no_network_is_refused_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Network::open(path, &LoadOptions::default()).unwrap_err();
    let missing = open(&folder.path().join("none.bunjae"));
    assert!(matches!(missing.problem, OpenProblem::Io(_)), "{missing}");
    assert!(missing.to_string().contains("none.bunjae: "), "{missing}");
    assert!(matches!(open(folder.path()).problem, OpenProblem::NotAFile));
    let path = folder.path().join("text.bunjae");
    std::fs::write(&path, "graph @net and so on").unwrap();
    assert_eq!(
        open(&path).to_string(),
        format!("{}: not a compiled network; hint: compile the model first", path.display())
    );
    assert!(matches!(load(b"").unwrap_err(), ArtefactError::NotAnArtefact));
}

#[test]
fn a_truncated_file_says_how_much_is_missing() {
    let bytes = network().to_bytes();
    let full = bytes.len();
    let cut = refused(&bytes[..full - 100]);
    let expected = format!("{} bytes where {full} are expected; hint: copy or ", full - 100);
    assert!(cut.starts_with(&expected), "{cut}");
    assert!(refused(&bytes[..100]).starts_with("100 bytes where 128 are expected"));
    assert!(refused(&bytes[..4]).starts_with("4 bytes where 128 are expected"));
    let longer = [&bytes[..], b"x"].concat();
    assert!(refused(&longer).starts_with(&format!("{} bytes where {full}", full + 1)));
}

#[test]
fn damage_versions_and_byte_orders_are_told_apart() {
    let bytes = network().to_bytes();
    for at in [30, 130, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(matches!(
            load(&damaged).unwrap_err(),
            ArtefactError::Checksum { .. } | ArtefactError::Length { .. }
        ));
    }
    let newer = changed(&changed(&bytes, 12, &[3, 0, 0, 0]), 32, b"9.1.7\0");
    assert_eq!(
        refused(&newer),
        "format 3, written by engine 9.1.7, where this engine reads format 2; hint: compile the \
         model again"
    );
    assert!(refused(&changed(&bytes, 12, &[0; 4])).starts_with("format 0, written by engine "));
    assert!(refused(&changed(&bytes, 16, &[1, 2, 3, 4])).starts_with("the byte order is not"));
    // Transferred as text, the line end changes.
    assert!(matches!(load(&changed(&bytes, 6, b"\n\n")), Err(ArtefactError::NotAnArtefact)));
}

#[test]
fn sections_that_contradict_the_file_are_refused() {
    let bytes = network().to_bytes();
    let mut problems = Vec::new();
    for index in 0..4 {
        for length in [u64::MAX, u64::MAX - 200, bytes.len() as u64, 1 << 40, 0] {
            let field = length.to_le_bytes();
            if let Err(error) = load(&changed(&bytes, 64 + 8 * index, &field)) {
                problems.push(error.to_string());
            }
        }
    }
    assert_eq!(problems.len(), 20, "{problems:#?}");
    let text = |old: &str, new: &str| {
        assert_eq!(old.len(), new.len());
        let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
        refused(&changed(&bytes, at, new.as_bytes()))
    };
    assert!(text("at(0)", "at(8)").contains("which is no multiple of 64"));
    assert!(text("at(0)", "zeros").contains("expected the place of the elements"));
    assert!(text("f32[8,4,3,3]", "f32[9,4,3,3]").contains("but 296 were given"));
    assert!(text("f32[8,4,3,3]", "f32[7,4,3,3]").contains("conv2d: "));
    assert!(text("threads 1", "threads 0").starts_with("plan: line 2 is no statement: threads 0"));
    assert!(text("packed 0", "packed 7").starts_with("packed weights: "));
}

/// The bytes with another text as the plan.
fn replanned(bytes: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let len = |index: usize| {
        let field = bytes[64 + 8 * index..][..8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(field)).unwrap()
    };
    let start = (128 + len(0)).next_multiple_of(64);
    let plan = change(std::str::from_utf8(&bytes[start..start + len(1)]).unwrap());
    let mut new = [&bytes[..start], plan.as_bytes()].concat();
    new.resize(new.len().next_multiple_of(64), 0);
    new.extend_from_slice(&bytes[(start + len(1)).next_multiple_of(64)..]);
    let whole = new.len() as u64;
    let new = changed(&new, 24, &whole.to_le_bytes());
    changed(&new, 72, &(plan.len() as u64).to_le_bytes())
}

/// The plan with the statement about packed weights changed.
fn packed_line(plan: &str, change: impl Fn(&str) -> String) -> String {
    let lines = plan.lines().map(|line| match line.starts_with("packed ") {
        true => change(line),
        false => line.to_string(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn packed_weights_of_another_version_are_packed_again_when_it_is_loaded() {
    let network = network();
    let other = load(&changed(&network.to_bytes(), 32, b"0.0.0-other\0")).unwrap();
    assert_eq!(other.packed_bytes(), network.packed_bytes());
    assert_eq!(outputs(&other), outputs(&network));
    // What it stores is its own.
    assert_eq!(other.to_bytes(), network.to_bytes());
}

#[test]
fn packed_weights_that_do_not_fit_the_plan_are_refused_at_load() {
    let network = network();
    let bytes = network.to_bytes();
    assert_eq!(replanned(&bytes, str::to_string), bytes);
    let elements = network.packed_bytes() / 4;
    let tampered = |change: &dyn Fn(&str) -> String| {
        replanned(&bytes, |plan| packed_line(plan, |line| change(line)))
    };
    let shorter =
        tampered(&|line| line.replace(&format!(" {elements} "), &format!(" {} ", elements - 1)));
    let message = refused(&shorter);
    let expected = format!(
        ": {} elements, where the kernel wants {elements}; hint: compile the model again",
        elements - 1
    );
    assert!(message.starts_with("plan: packed weights weight \"c\" as "), "{message}");
    assert!(message.ends_with(&expected), "{message}");
    let renamed = tampered(&|line| line.replace("\"c\"", "\"d\""));
    let message = refused(&renamed);
    assert!(message.starts_with("plan: packed weights weight \"c\" as "), "{message}");
    assert!(message.ends_with(": missing; hint: compile the model again"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.bunjae");
    std::fs::write(&path, &renamed).unwrap();
    let error = Network::open(&path, &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("net.bunjae: plan: packed weights "), "{error}");
    // For another instruction set, or written by another version, the file's are not looked at.
    for tampered in [&shorter, &renamed] {
        let other = load(&changed(tampered, 32, b"0.0.0-other\0")).unwrap();
        assert_eq!(outputs(&other), outputs(&network));
        if network.isa() != Isa::Portable {
            let portable = LoadOptions { isa: Some(Isa::Portable), threads: None };
            Network::from_bytes(tampered.clone(), &portable).unwrap();
        }
    }
    // A file with none was never planned, or is written by other means.
    let without = load(&tampered(&|_| "compact no".to_string())).unwrap();
    assert_eq!(outputs(&without), outputs(&network));
}

#[test]
fn a_network_with_a_long_axis_is_checked_when_it_is_planned() {
    let text = TEXT.replace("N,4,8,8", "N,4,8,1048577").replace("N,8,8,8", "N,8,8,1048577");
    let network =
        Network::compile(&Graph::parse(&text).unwrap(), &CompileOptions::default()).unwrap();
    let bytes = network.to_bytes();
    load(&bytes).unwrap().model(1).unwrap();
    let renamed = replanned(&bytes, |plan| plan.replace("\"c\"", "\"d\""));
    let error = load(&renamed).unwrap().model(1).unwrap_err();
    assert!(matches!(error, CompileError::Packed { .. }), "{error}");
}
