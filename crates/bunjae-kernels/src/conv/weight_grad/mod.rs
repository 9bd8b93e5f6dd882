//! The gradient of a convolution's weights.
//!
//! `dw[o][i][ky][kx]` is the sum over images and pixels of `dy[o][p]` times the input that pixel
//! `p` sees through that tap. Vectors run over pixels ([`pixel`]) or over output channels
//! ([`channel`]); the second form does not care how small the planes are. Kernels of 3 x 3 need a
//! quarter of the products in a third form ([`winograd`]). The input of depthwise and of pointwise
//! convolutions may be one that is not stored ([`made`]).

mod channel;
mod made;
mod pixel;
mod pixel_tile;
mod strided_tile;
mod winograd;

use std::ops::Range;

use self::channel::ChannelForm;
use self::made::{Made, Making};
use self::pixel::PixelForm;
use self::winograd::WinogradForm;
use super::ConvSpec;
use crate::activation::Activation;
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::Output;
use crate::train::{BatchNormNumbers, PlanesAgain};

const NAME: &str = "conv weight gradient";

/// A prepared weight gradient.
pub struct ConvWeightGrad {
    spec: ConvSpec,
    form: Form,
    making: Option<Making>,
}

/// The operands of one run.
#[derive(Clone, Copy, Debug)]
pub struct WeightGradInputs<'a> {
    /// The convolution's input, or what the normalisation read whose result that is.
    pub input: &'a [f32],
    /// The gradient of the convolution's result.
    pub gradient: &'a [f32],
    /// Of that normalisation, if there is one.
    pub numbers: Option<BatchNormNumbers<'a>>,
}

enum Form {
    Pixel(PixelForm),
    Channel(ChannelForm),
    Winograd(Box<WinogradForm>),
}

/// The algorithm of a weight gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WeightGradForm {
    Pixel,
    Channel,
    Winograd,
}

impl WeightGradForm {
    /// Every form that can compute a gradient; the one estimated fastest first.
    pub(super) fn all(spec: &ConvSpec, isa: Isa) -> Vec<WeightGradForm> {
        let mut forms = if channel::is_faster(spec, isa) {
            vec![WeightGradForm::Channel, WeightGradForm::Pixel]
        } else {
            vec![WeightGradForm::Pixel, WeightGradForm::Channel]
        };
        if winograd::is_able(spec, isa) {
            let place = if winograd::is_faster(spec, isa) { 0 } else { forms.len() };
            forms.insert(place, WeightGradForm::Winograd);
        }
        forms
    }
}

/// What a task reads and writes; lengths have been checked.
#[derive(Clone, Copy)]
struct Operands<'a> {
    input: &'a [f32],
    /// Where the input is not stored.
    made: Option<Made<'a>>,
    gradient: &'a [f32],
    weights: *mut f32,
    workspace: *mut f32,
}

impl ConvWeightGrad {
    /// Prepares the weight gradient of the convolution `spec`, in which `input` is the layout of
    /// the convolution's input and `output` that of the gradient of its result. Activation,
    /// residual, tail and form must be the plain ones of [`ConvSpec::new`].
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts
    /// itself.
    pub fn new(spec: ConvSpec, isa: Isa) -> Result<ConvWeightGrad, KernelError> {
        isa.require()?;
        spec.check()?;
        spec.require_plain(NAME)?;
        Ok(ConvWeightGrad::with_form(spec, WeightGradForm::all(&spec, isa)[0], isa))
    }

    /// As [`ConvWeightGrad::new`], for a spec that has been checked, in one of its forms.
    pub(super) fn with_form(spec: ConvSpec, form: WeightGradForm, isa: Isa) -> ConvWeightGrad {
        let form = match form {
            WeightGradForm::Pixel => Form::Pixel(PixelForm::new(spec, isa)),
            WeightGradForm::Channel => Form::Channel(ChannelForm::new(spec, isa)),
            WeightGradForm::Winograd => Form::Winograd(Box::new(WinogradForm::new(spec, isa))),
        };
        ConvWeightGrad { spec, form, making: None }
    }

    /// As [`ConvWeightGrad::new`] for an input that is the result of a batch normalisation with
    /// `activation`, and not stored: `input` of `spec` is the layout of what the normalisation read,
    /// whose borders are not. `None` where making the input anew on the way does not pay, or no kernel
    /// does.
    ///
    /// # Errors
    /// As [`ConvWeightGrad::new`].
    pub fn normalising(
        spec: ConvSpec,
        eps: f32,
        activation: Activation,
        isa: Isa,
    ) -> Result<Option<ConvWeightGrad>, KernelError> {
        isa.require()?;
        spec.check()?;
        spec.require_plain(NAME)?;
        let Some(planes) = PlanesAgain::new(eps, activation, isa) else { return Ok(None) };
        let form = if channel::is_faster(&spec, isa) {
            ChannelForm::making(spec, isa).map(Form::Channel)
        } else {
            PixelForm::making(spec, isa).map(Form::Pixel)
        };
        let making = Some(Making { planes, layout: spec.input });
        Ok(form.map(|form| ConvWeightGrad { spec, form, making }))
    }

    /// The convolution whose weights' gradient this is.
    pub fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// The form, for people.
    pub fn form(&self) -> &'static str {
        match self.form {
            Form::Pixel(_) => "pixel",
            Form::Channel(_) => "channel",
            Form::Winograd(_) => "winograd",
        }
    }

    /// Number of weights.
    pub fn weights_len(&self) -> usize {
        self.spec.output.channels * self.spec.k()
    }

    /// Elements of workspace shared by all tasks of a run.
    pub fn workspace_len(&self) -> usize {
        match &self.form {
            Form::Pixel(form) => form.workspace_len(),
            Form::Channel(form) => form.workspace_len(),
            Form::Winograd(form) => form.workspace_len(),
        }
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        let affine = self.making.as_ref().map_or(0, Making::affine_len);
        affine
            + match &self.form {
                Form::Pixel(form) => form.scratch_len(),
                Form::Channel(form) => form.scratch_len(),
                Form::Winograd(form) => form.scratch_len(),
            }
    }

    /// Number of tasks of each stage; all tasks of a stage must be done before the next stage.
    pub fn stages(&self) -> [usize; 3] {
        match &self.form {
            Form::Pixel(form) => form.stages(),
            Form::Channel(form) => form.stages(),
            Form::Winograd(form) => form.stages(),
        }
    }

    /// Elements of the input that are read.
    fn input_len(&self) -> usize {
        if self.making.is_some() {
            return self.spec.input.end();
        }
        match &self.form {
            Form::Pixel(form) => form.input_len(),
            Form::Channel(form) => form.input_len(),
            Form::Winograd(form) => form.input_len(),
        }
    }

    /// Runs all tasks on this thread: `weights` becomes the gradient of the weights, as
    /// `[output channels][input channels / groups][rows][columns]`.
    ///
    /// # Errors
    /// As [`ConvWeightGrad::run_tasks`].
    pub fn run(
        &self,
        inputs: &WeightGradInputs<'_>,
        weights: &mut [f32],
        workspace: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let (weights, workspace) = (Output::new(weights), Output::new(workspace));
        for (stage, tasks) in self.stages().into_iter().enumerate() {
            // SAFETY: one task at a time, stages in order.
            unsafe {
                self.run_tasks(stage, 0..tasks, inputs, weights, workspace, scratch)?;
            };
        }
        Ok(())
    }

    /// Runs some tasks of a stage (see [`ConvWeightGrad::stages`]).
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short, [`KernelError::Geometry`] if there are numbers
    /// of a normalisation where none was prepared, or none where one was.
    ///
    /// # Safety
    /// Calls that run at the same time with the same `weights` or `workspace` name the same stage,
    /// disjoint tasks and different `scratch`; the tasks of a stage are complete before those of
    /// the next start; `weights` and `workspace` overlap no other argument.
    pub unsafe fn run_tasks(
        &self,
        stage: usize,
        tasks: Range<usize>,
        inputs: &WeightGradInputs<'_>,
        weights: Output<'_>,
        workspace: Output<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let WeightGradInputs { input, gradient, numbers } = *inputs;
        require_len(NAME, "the input", self.input_len(), input.len())?;
        require_len(NAME, "the gradient", self.spec.output.end(), gradient.len())?;
        require_len(NAME, "the weights", self.weights_len(), weights.len())?;
        require_len(NAME, "the workspace", self.workspace_len(), workspace.len())?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        let count = self.stages().get(stage).copied().unwrap_or(0);
        require(NAME, tasks.end <= count, || {
            format!("tasks {tasks:?} of stage {stage}, which has {count}")
        })?;
        let (made, scratch) = match (&self.making, numbers) {
            (None, None) => (None, scratch),
            (Some(making), Some(numbers)) => {
                let (made, scratch) = making.begin(input, &numbers, scratch)?;
                (Some(made), scratch)
            }
            _ => {
                let reason = "a normalisation's numbers, or none, where the other was prepared";
                return Err(KernelError::Geometry { kernel: NAME, reason: reason.to_owned() });
            }
        };
        let (weights, workspace) = (weights.ptr(), workspace.ptr());
        let operands = Operands { input, made, gradient, weights, workspace };
        for task in tasks {
            // SAFETY: the caller's promise; lengths are checked.
            match &self.form {
                Form::Pixel(form) => unsafe { form.run(stage, task, &operands, scratch) },
                Form::Channel(form) => unsafe { form.run(stage, task, &operands, scratch) },
                Form::Winograd(form) => unsafe { form.run(stage, task, &operands, scratch) },
            }
        }
        Ok(())
    }
}
