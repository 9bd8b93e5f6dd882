//! Choosing the form of a convolution by measuring it.
//!
//! The kernels' own cost model counts vector operations; what a processor makes of them, it cannot
//! know. Here every form that can compute a convolution is run on this machine, and the fastest is
//! taken. A convolution that was measured before is not measured again, nor is one whose form stands in
//! the file of a former run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bunjae_kernels::{AlignedVec, Conv, ConvForm, ConvInputs, ConvSpec, Isa, KernelError};

use super::measured::Measured;

/// Time spent on each form, if it takes no longer than a few runs.
const BUDGET: Duration = Duration::from_millis(2);

/// The least number of runs; the fastest counts, as everything that disturbs makes slower.
const RUNS: usize = 4;

/// What has been measured.
#[derive(Default)]
pub(crate) struct Tuner {
    fastest: BTreeMap<String, ConvForm>,
    /// What is kept between runs.
    kept: Option<Measured>,
    /// How many convolutions were measured.
    measured: usize,
}

impl Tuner {
    /// A tuner that begins with what stands in a file, if one is given, and adds to it.
    pub(super) fn new(file: Option<&Path>) -> Tuner {
        Tuner { kept: file.and_then(Measured::open), ..Tuner::default() }
    }

    /// How many convolutions were measured.
    #[cfg(test)]
    pub(super) fn measured(&self) -> usize {
        self.measured
    }

    /// Writes the file, if there is something new.
    pub(super) fn save(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.save();
        }
    }

    /// The fastest form for a convolution; `None` where it cannot be prepared.
    pub(super) fn form(&mut self, spec: &ConvSpec, isa: Isa) -> Option<ConvForm> {
        let key = format!("{isa} {spec:?}");
        if let Some(form) = self.fastest.get(&key) {
            return Some(*form);
        }
        let forms = Conv::forms(spec, isa).ok()?;
        let kept = self.kept.as_ref().and_then(|kept| kept.form(spec, isa));
        if let Some(form) = kept.filter(|form| forms.contains(form)) {
            self.fastest.insert(key, form);
            return Some(form);
        }
        let mut best: Option<(Duration, ConvForm)> = None;
        for form in forms {
            let Ok(time) = measure(spec, form, isa) else { continue };
            if best.is_none_or(|(fastest, _)| time < fastest) {
                best = Some((time, form));
            }
        }
        let (_, form) = best?;
        self.measured += 1;
        if let Some(kept) = &mut self.kept {
            kept.add(spec, isa, form);
        }
        self.fastest.insert(key, form);
        Some(form)
    }
}

/// The shortest of several runs.
fn measure(spec: &ConvSpec, form: ConvForm, isa: Isa) -> Result<Duration, KernelError> {
    let conv = Conv::new(ConvSpec { form: Some(form), ..*spec }, isa)?;
    let channels = spec.output.channels;
    let numbers = |len: usize, value: f32| {
        let mut numbers = AlignedVec::zeroed(len);
        numbers.fill(value);
        numbers
    };
    let products = spec.input.channels / spec.groups * spec.kernel[0] * spec.kernel[1];
    // No zeros and nothing that grows: arithmetic on denormals or infinities takes its own time.
    let weights = conv.pack(&numbers(channels * products, 0.01))?;
    let input = numbers(conv.input_len().max(spec.input.len()), 0.5);
    let bias = numbers(channels, 0.1);
    let residual = spec.residual.map(|(planar, _)| numbers(planar.len(), 0.5));
    let mut output = AlignedVec::zeroed(spec.output.len());
    let mut workspace = AlignedVec::zeroed(conv.workspace_len());
    let mut scratch = AlignedVec::zeroed(conv.scratch_len());
    let inputs = ConvInputs {
        input: &input,
        weights: &weights,
        bias: Some(&bias),
        slopes: Some(&bias),
        residual: residual.as_deref(),
    };
    let begin = Instant::now();
    let mut shortest = Duration::MAX;
    let mut runs = 0;
    while runs < RUNS || begin.elapsed() < BUDGET {
        let start = Instant::now();
        conv.run(&inputs, &mut output, &mut workspace, &mut scratch)?;
        shortest = shortest.min(start.elapsed());
        runs += 1;
    }
    Ok(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunjae_kernels::{Halo, Planar};

    #[test]
    fn a_form_that_can_do_it_is_chosen_and_remembered() {
        let input = Planar::new(1, 4, 12, 12, Halo::uniform(1));
        let output = Planar::new(1, 8, 12, 12, Halo::default());
        let spec = ConvSpec { padding: [1, 1], ..ConvSpec::new(input, output, [3, 3]) };
        let mut tuner = Tuner::default();
        let form = tuner.form(&spec, Isa::Portable).unwrap();
        assert!(Conv::forms(&spec, Isa::Portable).unwrap().contains(&form));
        assert_eq!((tuner.form(&spec, Isa::Portable), tuner.fastest.len()), (Some(form), 1));
        let impossible = ConvSpec { groups: 3, ..spec };
        assert_eq!(tuner.form(&impossible, Isa::Portable), None);
    }
}
