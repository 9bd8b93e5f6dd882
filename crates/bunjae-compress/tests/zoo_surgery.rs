//! Every architecture of the zoo, cut and held against its masked original.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bunjae_compress::{Scope, Settings, Target, prune};
use bunjae_ir::Bindings;
use bunjae_passes::{output_difference, sample_inputs};
use bunjae_tensor::Tolerance;
use bunjae_zoo::{ARCHITECTURES, Options, Width};

#[test]
fn every_architecture_computes_the_same_removed_and_masked() {
    for architecture in ARCHITECTURES {
        let [channels, height, width] = architecture.input;
        // Small pictures and a thin VGG keep the plain loops short.
        let side = |size: usize| if size == 224 { 64 } else { size.min(64) };
        let input = Some([channels, side(height), side(width)]);
        let slim = architecture.name == "vgg16";
        let width = if slim { Width::Scaled(0.125) } else { Width::Standard };
        let options = Options { input, width, classes: Some(10), seed: 3, ..Options::default() };
        let graph = architecture.build(&options).unwrap();
        let bindings = Bindings::from([("N".to_string(), 2)]);
        let inputs = sample_inputs(&graph, &bindings, 7).unwrap();
        for (ratio, scope) in [(0.3, Scope::Local), (0.7, Scope::Global)] {
            let bindings = bindings.clone();
            let settings = Settings { scope, bindings, ..Settings::new(Target::Ratio(ratio)) };
            let pruned = prune(&graph, &settings).unwrap();
            pruned.graph.verify().unwrap();
            let differences =
                output_difference(&pruned.graph, &pruned.masked, &inputs, Tolerance::EXACT);
            for (output, difference) in differences.unwrap() {
                let name = architecture.name;
                assert!(difference.is_within(), "{name} at {ratio}: {output}: {difference:?}");
            }
            assert!(pruned.after.macs < pruned.before.macs, "{}", architecture.name);
        }
    }
}
