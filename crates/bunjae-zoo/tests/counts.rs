//! Parameters and multiply-accumulates against figures of others, to the last digit.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use bunjae_ir::{Bindings, Convention, Graph};
use bunjae_zoo::{Options, Width, build};

fn one_picture() -> Bindings {
    Bindings::from([("N".to_string(), 1)])
}

/// Parameters, MACs by our own rule, by thop's and by torch-pruning's.
fn counts(graph: &Graph) -> [u64; 4] {
    let cost = |convention| graph.cost(&one_picture(), convention).unwrap();
    let exact = cost(Convention::Exact);
    let [thop, torch_pruning] = [Convention::Thop, Convention::TorchPruning].map(cost);
    [exact.parameters.total, exact.macs, thop.macs, torch_pruning.macs]
}

fn stages(widths: &[usize]) -> Options {
    Options { width: Width::Stages(widths.to_vec()), ..Options::default() }
}

fn scaled(factor: f64) -> Options {
    Options { width: Width::Scaled(factor), ..Options::default() }
}

/// The face-mask classifiers of the Jetson study, whole and pruned, as measured with thop 0.1.1.
#[test]
fn mask_classifiers_have_the_published_counts() {
    let rows = [
        ("mask-base", Options::default(), [93_954, 165_150_976, 168_952_192]),
        ("mask-medium", Options::default(), [53_186, 95_551_680, 98_402_592]),
        ("mask-base", scaled(0.75), [53_186, 95_551_680, 98_402_592]),
        ("mask-small", Options::default(), [6_210, 12_976_192, 13_926_496]),
        ("mask-base", stages(&[22, 44, 89]), [45_195, 81_506_482, 84_124_939]),
        ("mask-base", stages(&[16, 32, 64]), [23_938, 44_826_752, 46_727_360]),
        ("mask-base", stages(&[9, 19, 38]), [8_556, 16_939_084, 18_034_802]),
    ];
    for (name, options, expected) in rows {
        let graph = build(name, &options).unwrap();
        assert_eq!(counts(&graph)[..3], expected, "{name} {}", options.width);
    }
    let cost = build("mask-base", &Options::default()).unwrap();
    let cost = cost.cost(&one_picture(), Convention::Thop).unwrap();
    assert_eq!(cost.flops(), 2 * 168_952_192);
    // 32 x 128 x 128 floats before and after a normalisation.
    assert_eq!(cost.peak.bytes, 2 * 32 * 128 * 128 * 4);
}

/// The partial-discharge networks as published; thop 0.1.1's count for six classes.
#[test]
fn discharge_networks_have_the_published_counts() {
    let full = build("pd", &Options::default()).unwrap();
    assert_eq!(counts(&full)[..3], [734_246, 99_740_864, 99_740_864]);
    let light = build("pd-light", &Options::default()).unwrap();
    assert_eq!(counts(&light)[..3], [202_950, 20_548_448, 23_706_976]);

    let shape_of = |graph: &Graph, name: &str| {
        let cost = graph.cost(&one_picture(), Convention::Exact).unwrap();
        let node = cost.nodes.into_iter().find(|node| node.label == name);
        node.unwrap_or_else(|| panic!("no node {name}")).outputs[0].clone()
    };
    assert_eq!(shape_of(&full, "flatten"), [1, 5376]);
    let maps = [
        ("stem.2", [1, 32, 30, 60]),
        ("blocks.0.c.4", [1, 16, 30, 60]),
        ("blocks.1.c.7", [1, 24, 15, 30]),
        ("blocks.2.add", [1, 24, 15, 30]),
        ("blocks.3.c.7", [1, 32, 8, 15]),
        ("blocks.4.add", [1, 32, 8, 15]),
        ("blocks.5.add", [1, 32, 8, 15]),
        ("blocks.6.c.7", [1, 64, 4, 8]),
        ("blocks.7.add", [1, 64, 4, 8]),
        ("blocks.8.add", [1, 64, 4, 8]),
        ("head.2", [1, 256, 4, 8]),
    ];
    for (name, shape) in maps {
        assert_eq!(shape_of(&light, name), shape, "{name}");
    }
}

/// ResNets for CIFAR before and after channel pruning, as measured with torch-pruning 1.6.1 and thop
/// 0.1.1. The implementation measured calls the ReLU after the addition as a function, which
/// torch-pruning does not see.
#[test]
fn pruned_resnets_have_the_measured_counts() {
    let rows = [
        ("resnet20", [16, 32, 64], [272_474, 41_616_064, 41_321_098]),
        ("resnet20", [11, 22, 44], [129_359, 19_937_764, 19_734_978]),
        ("resnet20", [8, 16, 32], [68_786, 10_715_488, 10_568_010]),
        ("resnet20", [4, 9, 19], [23_580, 3_383_185, 3_304_712]),
        ("resnet56", [16, 32, 64], [855_770, 127_926_976, 127_115_914]),
        ("resnet56", [11, 22, 44], [405_635, 61_028_836, 60_471_234]),
        ("resnet56", [8, 16, 32], [215_282, 32_637_280, 32_231_754]),
        ("resnet56", [4, 9, 19], [73_812, 10_252_945, 10_037_384]),
    ];
    for (name, widths, expected) in rows {
        let graph = build(name, &stages(&widths)).unwrap();
        let cost = graph.cost(&one_picture(), Convention::TorchPruning).unwrap();
        let unseen: u64 =
            cost.nodes.iter().filter(|n| n.label.ends_with("relu2")).map(|n| n.macs).sum();
        assert!(unseen > 0);
        let [parameters, _, thop, torch_pruning] = counts(&graph);
        assert_eq!([parameters, thop, torch_pruning - unseen], expected, "{name} {widths:?}");
    }
}

/// Measured with thop 0.1.1 and torch-pruning 1.6.1 on torchvision 0.29, for 1000 classes and one
/// picture of 224 x 224. Where torchvision calls a function, which the tools do not see, what it
/// would count as a module is added here: the pool of MobileNetV2, 1280 channels of 7 x 7.
#[test]
fn torchvision_counts_the_same() {
    let (seven, channels) = (7 * 7, 1280);
    let rows = [
        ("resnet18", [11_689_512, 1_814_073_344, 1_824_033_792, 1_822_177_768]),
        ("resnet50", [25_557_032, 4_089_184_256, 4_133_742_592, 4_121_925_096]),
        (
            "mobilenet-v2",
            [
                3_504_872,
                300_774_272,
                327_486_720 + (seven + 1) * channels,
                320_237_288 + seven * channels,
            ],
        ),
        ("mobilenet-v3-small", [2_542_856, 56_510_400, 62_477_944, 60_125_440]),
        ("squeezenet1.1", [1_235_496, 349_151_936, 349_321_936, 355_862_008]),
        ("shufflenet-v2", [2_278_604, 144_907_992, 152_708_792, 150_598_480]),
    ];
    for (name, expected) in rows {
        assert_eq!(counts(&build(name, &Options::default()).unwrap()), expected, "{name}");
    }
}

/// As above, except that torchvision's adaptive pool of 7 x 7 to 7 x 7 is no node here; thop counts
/// two for each of its elements, torch-pruning one.
#[test]
fn vgg16_counts_as_in_torchvision() {
    let features = 512 * 7 * 7;
    let expected =
        [138_357_544, 15_470_264_320, 15_470_314_496 - 2 * features, 15_503_523_304 - features];
    assert_eq!(counts(&build("vgg16", &Options::default()).unwrap()), expected);
}

/// The networks that torchvision does not have.
#[test]
fn other_networks_have_the_counts_of_their_definition() {
    // torchvision's DenseNet(12, (4, 4, 4), 24, bn_size=4) with the small stem, measured as above;
    // it calls the last ReLU and pool, on 90 channels of 8 x 8, as functions.
    let last = 90 * 8 * 8;
    let expected = [102_778, 43_740_036, 46_257_156 + last + 90, 45_660_814 + 2 * last];
    assert_eq!(counts(&build("densenet-tiny", &Options::default()).unwrap()), expected);

    // The paper gives 569 million MACs and 4.2 million parameters.
    let mobilenet = counts(&build("mobilenet-v1", &Options::default()).unwrap());
    assert_eq!(mobilenet[..2], [4_231_976, 568_740_352]);

    // The three convolutions of the stem replace the one of 7 x 7 and bring two normalisations; the
    // second and third work on 112 x 112. Shortcuts cost the same after a pool as with a stride.
    let stem = 3 * 32 * 9 + 32 * 32 * 9 + 32 * 64 * 9;
    let difference = stem - 3 * 64 * 49;
    let [parameters, macs, ..] = counts(&build("resnet18d", &Options::default()).unwrap());
    assert_eq!(parameters, 11_689_512 + difference + 4 * 32);
    assert_eq!(macs, 1_814_073_344 + difference * 112 * 112);
}

/// Measured as above on torchvision's `width_mult=0.5`. The quarter MobileNet that Google published
/// for pictures of 128 x 128 and 1001 classes has 467,593 weights once its normalisations are folded
/// into biases, which drops a gamma for each of 2,736 channels.
#[test]
fn narrow_mobilenets_round_as_their_references() {
    let rows =
        [("mobilenet-v2", [1_968_680, 97_131_840]), ("mobilenet-v3-small", [917_264, 18_970_736])];
    for (name, expected) in rows {
        assert_eq!(counts(&build(name, &scaled(0.5)).unwrap())[..2], expected, "{name}");
    }
    let quarter = Options { input: Some([3, 128, 128]), classes: Some(1001), ..scaled(0.25) };
    let quarter = counts(&build("mobilenet-v1", &quarter).unwrap());
    assert_eq!(quarter[..2], [467_593 + 2_736, 13_570_304]);
}
