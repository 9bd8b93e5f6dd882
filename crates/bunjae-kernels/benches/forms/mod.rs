//! The forms of one convolution beside each other, by turns, with the peak as it is at that moment.
//!
//! On a machine whose cores are shared the speed changes within seconds, by more than what two forms
//! differ by; what is compared here is measured within milliseconds.

use std::time::{Duration, Instant};

use bunjae_kernels::{AlignedVec, Conv, ConvForm, ConvInputs, ConvSpec, multiply_add_peak};

use crate::{Bench, LAYERS, values};

const ROUNDS: usize = 41;

/// How long a form runs per round.
const SLICE: Duration = Duration::from_millis(1);

/// A prepared convolution and what it reads and writes.
struct Subject {
    conv: Conv,
    weights: AlignedVec,
    input: AlignedVec,
    bias: AlignedVec,
    output: AlignedVec,
    workspace: AlignedVec,
    scratch: AlignedVec,
}

impl Subject {
    fn new(spec: &ConvSpec, bench: &Bench) -> Subject {
        let conv = Conv::new(*spec, bench.isa).unwrap();
        let (ic, oc) = (spec.input.channels, spec.output.channels);
        let products = ic / spec.groups * spec.kernel[0] * spec.kernel[1];
        let packed = conv.pack(&values(oc * products)).unwrap();
        let mut input = values(spec.input.len());
        spec.input.clear_halo(&mut input).unwrap();
        Subject {
            weights: AlignedVec::from(packed.as_slice()),
            input,
            bias: values(oc),
            output: AlignedVec::zeroed(spec.output.len()),
            workspace: AlignedVec::zeroed(conv.workspace_len()),
            scratch: AlignedVec::zeroed(conv.scratch_len()),
            conv,
        }
    }

    /// Seconds per run.
    fn slice(&mut self) -> f64 {
        let inputs = ConvInputs {
            input: &self.input,
            weights: &self.weights,
            bias: Some(&self.bias),
            slopes: None,
            residual: None,
        };
        let (begin, mut runs) = (Instant::now(), 0);
        while begin.elapsed() < SLICE {
            let (output, workspace) = (&mut self.output, &mut self.workspace);
            self.conv.run(&inputs, output, workspace, &mut self.scratch).unwrap();
            runs += 1;
        }
        begin.elapsed().as_secs_f64() / f64::from(runs)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Bench {
    /// A line per layer whose name has the filter in it: the share of the peak that each form reaches.
    pub(crate) fn forms(&self) {
        println!("{:<24} {}", "layer", ConvForm::ALL.map(|f| format!("{:>10}", f.name())).concat());
        for layer in LAYERS.iter().filter(|layer| layer.0.contains(&self.filter)) {
            let chosen = Conv::new(self.spec(layer, None), self.isa).unwrap().form();
            let mut subjects: Vec<_> = ConvForm::ALL
                .into_iter()
                .map(|form| self.spec(layer, Some(form)))
                .map(|spec| {
                    let able = Conv::forms(&spec, self.isa).unwrap();
                    spec.form.filter(|form| able.contains(form)).map(|_| Subject::new(&spec, self))
                })
                .collect();
            let mut shares = vec![Vec::new(); subjects.len()];
            for _ in 0..ROUNDS {
                let peak = multiply_add_peak(self.isa, SLICE / 2).unwrap();
                for (subject, shares) in subjects.iter_mut().zip(&mut shares) {
                    if let Some(subject) = subject {
                        let macs = subject.conv.spec().macs() as f64;
                        shares.push(100.0 * macs / subject.slice() / peak);
                    }
                }
            }
            let cells = ConvForm::ALL.into_iter().zip(shares).map(|(form, shares)| {
                if shares.is_empty() {
                    return format!("{:>10}", "-");
                }
                let mark = if form == chosen { "*" } else { " " };
                format!("{:>8.1}{mark}%", median(shares))
            });
            println!("{:<24} {}", layer.0, cells.collect::<String>());
        }
    }
}
