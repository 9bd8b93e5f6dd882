//! How fast convolutions of every width are: channel counts that pruning leaves must not fall off a
//! cliff, and the form that the cost model chooses must not be much slower than the best there is.

use bunjae_kernels::{Conv, ConvForm, Tail};

use crate::{Bench, Layer};

/// Channels in and out.
const WIDTHS: [usize; 13] = [8, 11, 16, 22, 24, 32, 40, 44, 48, 64, 89, 96, 128];

/// Rows and columns of the pictures.
const SIZES: [usize; 4] = [56, 28, 14, 7];

/// The kinds of convolution: name, side of the kernel, whether depthwise.
const KINDS: [(&str, usize, bool); 3] =
    [("3x3", 3, false), ("1x1", 1, false), ("depthwise 3x3", 3, true)];

impl Bench {
    /// A table per kind of convolution in GMAC/s: for each width and size the rate of the form that
    /// is chosen, its initial, and where another is faster, how much and which.
    pub(crate) fn widths(&self) {
        for (name, kernel, depthwise) in KINDS.iter().filter(|kind| kind.0.contains(&self.filter)) {
            println!("\n{name}, {}:\n", self.isa.name());
            let head: Vec<String> = SIZES.iter().map(|size| format!("{size} x {size}")).collect();
            println!("| channels | {} |\n|---|{}", head.join(" | "), "---|".repeat(SIZES.len()));
            for width in WIDTHS {
                let cells: Vec<String> = SIZES
                    .iter()
                    .map(|&size| {
                        let groups = if *depthwise { width } else { 1 };
                        let channels = [width, width];
                        self.cell(&("", channels, [size, size], *kernel, 1, groups, Tail::Store))
                    })
                    .collect();
                println!("| {width} | {} |", cells.join(" | "));
            }
        }
    }

    fn cell(&self, layer: &Layer) -> String {
        let spec = self.spec(layer, None);
        let forms = Conv::forms(&spec, self.isa).unwrap();
        // With one input channel per group nothing comes close to the form made for it.
        let depthwise = forms[0] == ConvForm::Depthwise;
        let forms = &forms[..if depthwise { 1 } else { forms.len() }];
        let rates: Vec<f64> = forms
            .iter()
            .map(|form| spec.macs() as f64 / self.seconds(&self.spec(layer, Some(*form))) / 1e9)
            .collect();
        let best = (0..forms.len()).max_by(|a, b| rates[*a].total_cmp(&rates[*b])).unwrap();
        let name = |at: usize| &forms[at].name()[..1];
        let note = match best {
            0 => String::new(),
            _ => format!(" ({:.0} {})", rates[best], name(best)),
        };
        format!("{:.0} {}{note}", rates[0], name(0))
    }
}
