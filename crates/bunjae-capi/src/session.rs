//! Sessions: inputs, outputs, and running.

use std::ffi::{CString, c_char, c_void};

use bunjae_engine::{Input, Output, Port, Session};
use bunjae_tensor::DType;

use crate::error::{BunjaeStatus, elements, elements_mut, exclusive, guarded, shared, status};
use crate::model::BunjaeModel;

/// A type of elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BunjaeDtype {
    /// float
    F32 = 0,
    /// double
    F64 = 1,
    /// int8_t
    I8 = 2,
    /// uint8_t
    U8 = 3,
    /// int32_t
    I32 = 4,
    /// int64_t
    I64 = 5,
}

/// An input or output of a session. Name and shape last as long as the session.
#[repr(C)]
pub struct BunjaeTensor {
    /// Its name in UTF-8.
    pub name: *const c_char,
    /// The type of its elements.
    pub dtype: BunjaeDtype,
    /// The number of dimensions.
    pub rank: usize,
    /// The dimensions.
    pub shape: *const usize,
    /// The number of elements.
    pub elements: usize,
    /// The number of bytes.
    pub bytes: usize,
}

/// Elements to read, in row-major order.
#[repr(C)]
pub struct BunjaeView {
    /// Aligned to the type of the elements.
    pub data: *const c_void,
    /// The number of bytes.
    pub bytes: usize,
}

/// Memory for elements, in row-major order.
#[repr(C)]
pub struct BunjaeBuffer {
    /// Aligned to the type of the elements.
    pub data: *mut c_void,
    /// The number of bytes.
    pub bytes: usize,
}

/// The memory and the threads to run a model with. One thread at a time may use a session.
pub struct BunjaeSession {
    session: Session,
    inputs: Vec<Known>,
    outputs: Vec<Known>,
}

/// What is told about an input or output.
struct Known {
    name: CString,
    dtype: DType,
    shape: Vec<usize>,
}

impl Known {
    fn of(port: &Port) -> Known {
        let name = CString::new(port.name.replace('\0', "\\0")).unwrap_or_default();
        Known { name, dtype: port.dtype, shape: port.shape.clone() }
    }

    fn tensor(&self) -> BunjaeTensor {
        let elements = self.shape.iter().product();
        BunjaeTensor {
            name: self.name.as_ptr(),
            dtype: match self.dtype {
                DType::F32 => BunjaeDtype::F32,
                DType::F64 => BunjaeDtype::F64,
                DType::I8 => BunjaeDtype::I8,
                DType::U8 => BunjaeDtype::U8,
                DType::I32 => BunjaeDtype::I32,
                DType::I64 => BunjaeDtype::I64,
            },
            rank: self.shape.len(),
            shape: self.shape.as_ptr(),
            elements,
            bytes: elements * self.dtype.size(),
        }
    }
}

/// Makes a session that runs `batch` pictures at a time on `threads` threads, the caller's included.
/// Where the model was compiled for one batch size, `batch` has to be that, or 0. Null on failure;
/// freed with bunjae_session_free.
///
/// # Safety
/// `model` is null or was returned by bunjae_open or bunjae_open_memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_session_create(
    model: *const BunjaeModel,
    batch: usize,
    threads: usize,
) -> *mut BunjaeSession {
    let session = guarded(|| {
        // SAFETY: this function's caller promises the same.
        let network = &unsafe { shared(model, "model") }?.network;
        let model = planned(network, batch).map_err(|error| error.to_string())?;
        let inputs = model.inputs().iter().map(Known::of).collect();
        let outputs = model.outputs().iter().map(Known::of).collect();
        let session =
            Session::with_threads(model, threads.max(1)).map_err(|error| error.to_string())?;
        Ok(Box::new(BunjaeSession { session, inputs, outputs }))
    });
    session.map_or(std::ptr::null_mut(), Box::into_raw)
}

/// The model for a batch; 0 stands for the batch that is fixed, or 1.
pub(crate) fn planned(
    network: &bunjae_engine::Network,
    batch: usize,
) -> Result<std::sync::Arc<bunjae_engine::Model>, bunjae_engine::CompileError> {
    match (network.batch(), batch) {
        (bunjae_engine::Batch::Fixed(fixed), 0) => network.model(fixed),
        (bunjae_engine::Batch::None, 0) => network.model_for(&Default::default()),
        (_, 0) => network.model(1),
        (_, batch) => network.model(batch),
    }
}

/// Frees a session; null does nothing.
///
/// # Safety
/// `session` is null or was returned by bunjae_session_create, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_session_free(session: *mut BunjaeSession) {
    if !session.is_null() {
        // SAFETY: `bunjae_session_create` made it from a box, and the caller gives it up.
        let owned = unsafe { Box::from_raw(session) };
        guarded(|| {
            drop(owned);
            Ok(())
        });
    }
}

/// The number of inputs; 0 where `session` is null.
///
/// # Safety
/// `session` is null or was returned by bunjae_session_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_input_count(session: *const BunjaeSession) -> usize {
    // SAFETY: this function's caller promises the same.
    guarded(|| Ok(unsafe { shared(session, "session") }?.inputs.len())).unwrap_or(0)
}

/// The number of outputs; 0 where `session` is null.
///
/// # Safety
/// `session` is null or was returned by bunjae_session_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_output_count(session: *const BunjaeSession) -> usize {
    // SAFETY: this function's caller promises the same.
    guarded(|| Ok(unsafe { shared(session, "session") }?.outputs.len())).unwrap_or(0)
}

/// Tells about an input, from 0.
///
/// # Safety
/// `session` is null or was returned by bunjae_session_create; `tensor` is null or leads to a struct
/// that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_input(
    session: *const BunjaeSession,
    index: usize,
    tensor: *mut BunjaeTensor,
) -> BunjaeStatus {
    status(|| {
        // SAFETY: this function's caller promises the same.
        let session = unsafe { shared(session, "session") }?;
        // SAFETY: as above.
        unsafe { tell(&session.inputs, "input", index, tensor) }
    })
}

/// Tells about an output, from 0.
///
/// # Safety
/// As for bunjae_input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_output(
    session: *const BunjaeSession,
    index: usize,
    tensor: *mut BunjaeTensor,
) -> BunjaeStatus {
    status(|| {
        // SAFETY: this function's caller promises the same.
        let session = unsafe { shared(session, "session") }?;
        // SAFETY: as above.
        unsafe { tell(&session.outputs, "output", index, tensor) }
    })
}

/// # Safety
/// `tensor` is null or leads to a struct that may be written.
unsafe fn tell(
    known: &[Known],
    what: &str,
    index: usize,
    tensor: *mut BunjaeTensor,
) -> Result<(), String> {
    let found = known.get(index);
    let found = found.ok_or_else(|| format!("there is no {what} {index}, only {}", known.len()))?;
    if tensor.is_null() {
        return Err("tensor is null".to_owned());
    }
    // SAFETY: not null, and the caller promised that it may be written; it need not be initialised.
    unsafe { tensor.write(found.tensor()) };
    Ok(())
}

/// Computes the outputs from the inputs. There is a view for each input and a buffer for each output,
/// in their order, of the right number of bytes. Allocates nothing for the computation itself.
///
/// # Safety
/// `session` is null or was returned by bunjae_session_create, and no other thread uses it. `inputs`
/// and `outputs` are null or lead to as many structs, whose data are null or as long as they say; no
/// buffer overlaps another or a view.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_run(
    session: *mut BunjaeSession,
    inputs: *const BunjaeView,
    input_count: usize,
    outputs: *const BunjaeBuffer,
    output_count: usize,
) -> BunjaeStatus {
    status(|| {
        // SAFETY: this function's caller promises the same, here and for the two below.
        let session = unsafe { exclusive(session, "session") }?;
        // SAFETY: as above.
        let views = unsafe { elements(inputs, input_count, "inputs") }?;
        // SAFETY: as above.
        let buffers = unsafe { elements(outputs, output_count, "outputs") }?;
        count("input", session.inputs.len(), views.len())?;
        count("output", session.outputs.len(), buffers.len())?;
        let mut given = Vec::with_capacity(views.len());
        for (known, view) in session.inputs.iter().zip(views) {
            length("input", known, view.bytes)?;
            let name = format!("input {}", known.name.to_string_lossy());
            // SAFETY: `bunjae_run` promises the memory; its length was checked.
            given.push(unsafe { input(known, view.data, &name) }?);
        }
        let mut taken = Vec::with_capacity(buffers.len());
        for (known, buffer) in session.outputs.iter().zip(buffers) {
            length("output", known, buffer.bytes)?;
            let name = format!("output {}", known.name.to_string_lossy());
            // SAFETY: as above, and no buffer overlaps anything else.
            taken.push(unsafe { output(known, buffer.data, &name) }?);
        }
        session.session.run(&given, &mut taken).map_err(|error| error.to_string())
    })
}

fn count(what: &str, expected: usize, found: usize) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("the model has {expected} {what}s, but {found} were given")),
    }
}

fn length(what: &str, known: &Known, found: usize) -> Result<(), String> {
    let BunjaeTensor { bytes, .. } = known.tensor();
    match found == bytes {
        true => Ok(()),
        false => Err(format!(
            "{what} {} should be {}{:?}, {bytes} bytes, but {found} were given",
            known.name.to_string_lossy(),
            known.dtype,
            known.shape
        )),
    }
}

/// # Safety
/// `data` is null or leads to the elements of `known`, which nobody changes meanwhile.
unsafe fn input<'a>(known: &Known, data: *const c_void, name: &str) -> Result<Input<'a>, String> {
    let count = known.shape.iter().product();
    // SAFETY: the caller promises the same, of whatever type.
    unsafe {
        Ok(match known.dtype {
            DType::F32 => elements(data.cast::<f32>(), count, name)?.into(),
            DType::F64 => elements(data.cast::<f64>(), count, name)?.into(),
            DType::I8 => elements(data.cast::<i8>(), count, name)?.into(),
            DType::U8 => elements(data.cast::<u8>(), count, name)?.into(),
            DType::I32 => elements(data.cast::<i32>(), count, name)?.into(),
            DType::I64 => elements(data.cast::<i64>(), count, name)?.into(),
        })
    }
}

/// # Safety
/// `data` is null or leads to memory for the elements of `known`, which nobody else uses meanwhile.
unsafe fn output<'a>(known: &Known, data: *mut c_void, name: &str) -> Result<Output<'a>, String> {
    let count = known.shape.iter().product();
    // SAFETY: the caller promises the same, of whatever type.
    unsafe {
        Ok(match known.dtype {
            DType::F32 => elements_mut(data.cast::<f32>(), count, name)?.into(),
            DType::F64 => elements_mut(data.cast::<f64>(), count, name)?.into(),
            DType::I8 => elements_mut(data.cast::<i8>(), count, name)?.into(),
            DType::U8 => elements_mut(data.cast::<u8>(), count, name)?.into(),
            DType::I32 => elements_mut(data.cast::<i32>(), count, name)?.into(),
            DType::I64 => elements_mut(data.cast::<i64>(), count, name)?.into(),
        })
    }
}
