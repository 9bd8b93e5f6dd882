//! The engine for programs in C, and in any language that calls C.
//!
//! Owns the functions of `include/bunjae.h`, which is generated from this crate: models that
//! `bunjae compile` wrote, sessions, classifying pictures, the last error. It comes as a static and
//! as a shared library.
//!
//! Never here: reading ONNX, compiling, anything that another crate could do without pointers.
//!
//! # What holds for every function
//!
//! - A pointer that is null where it must not be, an index that is too large or a length that does
//!   not fit is an error, not a crash. A function that fails returns null or [`BunjaeStatus::Error`]
//!   and leaves a message for [`bunjae_last_error`].
//! - A panic, which would be a fault of this library, becomes an error as well: nothing unwinds into
//!   the caller.
//! - What the caller must see to cannot be checked: that a handle is one that was returned here and
//!   not freed yet, that memory is as long as is said, that a session is used by one thread at a time.
#![allow(unsafe_code, reason = "functions for C take and return pointers")]

mod classify;
mod error;
mod model;
mod session;

use std::ffi::c_char;

pub use classify::{
    BunjaeClass, BunjaeClassifier, bunjae_class_label, bunjae_classifier_classes,
    bunjae_classifier_create, bunjae_classifier_free, bunjae_classify_file,
};
pub use error::{BunjaeStatus, bunjae_last_error};
pub use model::{BunjaeModel, bunjae_model_free, bunjae_open, bunjae_open_memory};
pub use session::{
    BunjaeBuffer, BunjaeDtype, BunjaeSession, BunjaeTensor, BunjaeView, bunjae_input,
    bunjae_input_count, bunjae_output, bunjae_output_count, bunjae_run, bunjae_session_create,
    bunjae_session_free,
};

const VERSION: &std::ffi::CStr = match std::ffi::CStr::from_bytes_with_nul(
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes(),
) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of this library, such as "0.1.0". Lasts for ever.
#[unsafe(no_mangle)]
pub extern "C" fn bunjae_version() -> *const c_char {
    VERSION.as_ptr()
}
