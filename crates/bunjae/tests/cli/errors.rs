//! What the program says when it is given something wrong. Every case ends with exit code 2, says
//! what was wrong, and writes nothing.

use crate::support::{ANY_SIZE, Folder, TINY, snapshot};

/// A session of failures that writes no file.
#[track_caller]
fn failures(folder: &Folder, lines: &[&str]) -> String {
    let files = folder.files();
    let session = folder.session(lines);
    assert_eq!(session.matches("[exit code 2]").count(), lines.len(), "{session}");
    assert_eq!(session.matches("error: ").count(), lines.len(), "{session}");
    assert_eq!(session.matches("[stderr]\n").count(), lines.len(), "{session}");
    assert_eq!(folder.files(), files);
    session
}

#[test]
fn wrong_arguments() {
    let folder = Folder::with_tiny();
    let lines = [
        "inspct tiny.onnx",
        "inspect tiny.onnx --layer",
        "inspect tiny.onnx --weights",
        "inspect tiny.onnx --format xml",
        "profile tiny.onnx --convention flops",
        "profile tiny.onnx --batch 0",
        "profile tiny.onnx --size H",
        "prune tiny.onnx --ratio 0.5",
        "prune tiny.onnx -o a.onnx",
        "prune tiny.onnx -o a.onnx --ratio 0.5 --keep-macs 0.5",
        "prune tiny.onnx -o a.onnx --ratio 50",
        "prune tiny.onnx -o a.onnx --ratio much",
        "prune tiny.onnx -o a.onnx --ratio 0.5 --layer-ratio c1",
        "prune tiny.onnx -o a.onnx --ratio 0.5 --normalise median",
        "prune tiny.onnx -o a.onnx --keep-macs 0.5 --unstructured",
        "prune tiny.onnx -o a.onnx --ratio 0.5 --round-to 0",
        "prune tiny.onnx -o a.onnx --explain",
        "diff tiny.onnx tiny.onnx --tolerance -1",
        "diff tiny.onnx",
        "new mask-small",
        "new mask-small -o a.onnx --input 32",
        "new mask-small -o a.onnx --width wide",
    ];
    snapshot!("errors_arguments", failures(&folder, &lines));
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::with_tiny();
    let tiny = folder.read("tiny.onnx");
    std::fs::create_dir(folder.path("folder")).unwrap();
    folder.write("empty.onnx", "");
    folder.write("notes.txt", "Dear diary, today I pruned a tree.\n");
    folder.write("truncated.onnx", &tiny[..tiny.len() - 100]);
    folder.write("checkpoint.pt", b"PK\x03\x04 and so on");
    folder.write("keras.h5", b"\x89HDF\r\n\x1a\n and so on");
    folder.write("lite.tflite", b"\x1c\0\0\0TFL3 and so on");
    folder.write("weights.safetensors", b"\x02\0\0\0\0\0\0\0{}");
    let lines = [
        "inspect nowhere.onnx",
        "inspect tony.onnx",
        "inspect tiny.onnx/model.onnx",
        "inspect resnet18",
        "inspect folder",
        "inspect empty.onnx",
        "inspect notes.txt",
        "inspect truncated.onnx",
        "inspect checkpoint.pt",
        "inspect keras.h5",
        "inspect lite.tflite",
        "inspect weights.safetensors",
    ];
    snapshot!("errors_reading", failures(&folder, &lines));
}

#[test]
fn files_that_cannot_be_written() {
    let folder = Folder::with_tiny();
    std::fs::create_dir(folder.path("folder")).unwrap();
    folder.write("kept.onnx", "precious");
    let mut permissions = std::fs::metadata(folder.path("kept.onnx")).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(folder.path("kept.onnx"), permissions).unwrap();
    let lines = [
        "prune tiny.onnx -o tiny.onnx --ratio 0.5",
        "prune tiny.onnx -o folder/../tiny.onnx --ratio 0.5",
        "prune tiny.onnx -o folder --ratio 0.5",
        "prune tiny.onnx -o nowhere/a.onnx --ratio 0.5",
        "prune tiny.onnx -o tiny.onnx/a.onnx --ratio 0.5",
        "prune tiny.onnx -o kept.onnx --ratio 0.5",
        "new mask-small -o nowhere/a.onnx",
        "new mask-small -o folder",
    ];
    let tiny = folder.read("tiny.onnx");
    snapshot!("errors_writing", failures(&folder, &lines));
    assert!(folder.read("tiny.onnx") == tiny);
    assert_eq!(folder.read("kept.onnx"), b"precious");
}

#[test]
fn operators_that_are_not_supported() {
    let folder = Folder::with_tiny();
    let tiny = folder.read("tiny.onnx");
    // Names of four letters exchange without a length in the file that would have to change.
    let with = |name: &str, exchanged: &[(&[u8; 4], &[u8; 4])]| {
        let mut bytes = tiny.clone();
        for (old, new) in exchanged {
            let places: Vec<usize> =
                (0..bytes.len() - 4).filter(|&at| &bytes[at..at + 4] == *old).collect();
            assert!(!places.is_empty());
            places.iter().for_each(|&at| bytes[at..at + 4].copy_from_slice(*new));
        }
        folder.write(name, bytes);
    };
    with("unknown.onnx", &[(b"Relu", b"TopK")]);
    with("several.onnx", &[(b"Relu", b"LSTM"), (b"Conv", b"Loop"), (b"Gemm", b"STFT")]);
    let lines = [
        "inspect unknown.onnx",
        "bench unknown.onnx",
        "compile unknown.onnx -o a.bunjae",
        "compile unknown.onnx -o a --emit exe --preprocess unit",
        "predict unknown.onnx picture.png --preprocess unit",
        "diff tiny.onnx unknown.onnx",
        "prune several.onnx -o a.onnx --ratio 0.5",
        "compile several.onnx -o a.bunjae",
    ];
    snapshot!("errors_operators", failures(&folder, &lines));
}

#[test]
fn wishes_that_do_not_suit_the_model() {
    let folder = Folder::with_tiny();
    folder.model("any.onnx", ANY_SIZE);
    folder.model("one.onnx", &TINY.replace("[N,", "[1,"));
    folder.model(
        "rigid.onnx",
        "graph @rigid
         in   %x: f32[N,3,4,4]
         w    @c.w: f32[8,3,1,1] = rand(seed=1)
         %1 = conv2d %x, @c.w : f32[N,8,4,4] ; \"c\"
         out  %1 ; \"y\"",
    );
    folder.model(
        "plain.onnx",
        "graph @plain
         in   %x: f32[N,3]
         %1 = relu %x : f32[N,3] ; \"relu\"
         out  %1 ; \"y\"",
    );
    let lines = [
        "profile any.onnx",
        "profile any.onnx --size hieght=3",
        "profile one.onnx --batch 2",
        "profile one.onnx --size N=2",
        "profile tiny.onnx --batch 18446744073709551615",
        "prune tiny.onnx -o a.onnx --ratio 0.5 --ignore c3",
        "prune tiny.onnx -o a.onnx --ratio 0.5 --layer-ratio block9=0.1",
        "prune tiny.onnx -o a.onnx --ratio 1",
        "prune tiny.onnx -o a.onnx --keep-macs 0",
        "prune tiny.onnx -o a.onnx --keep-macs 1%",
        "prune tiny.onnx -o a.onnx --keep-params 0.3 --max-ratio 0.1",
        "prune tiny.onnx -o a.onnx --ratio 0.5 --criterion bn-scale",
        "prune rigid.onnx -o a.onnx --ratio 0.5",
        "prune plain.onnx -o a.onnx --ratio 0.5",
        "new mask-bose -o a.onnx",
        "new transformer -o a.onnx",
        "new mask-small -o a.onnx --classes 0",
        "new mask-small -o a.onnx --input 3x0x32",
        "new resnet18 -o a.onnx --width 16,32",
        "new vgg16 -o a.onnx --input 3x8x8",
    ];
    snapshot!("errors_wishes", failures(&folder, &lines));
}
