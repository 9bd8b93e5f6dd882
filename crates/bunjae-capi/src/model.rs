//! Models: opened from a file or from memory.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

use bunjae_engine::{LoadOptions, Network};

use crate::error::{elements, guarded, text};

/// A compiled model. Any number of threads may use one at the same time.
pub struct BunjaeModel {
    pub(crate) network: Arc<Network>,
}

/// Opens a file that `bunjae compile` wrote. Null on failure; freed with bunjae_model_free.
///
/// # Safety
/// `path` is null or a text in UTF-8 that ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_open(path: *const c_char) -> *mut BunjaeModel {
    let model = guarded(|| {
        // SAFETY: this function's caller promises the same.
        let path = unsafe { text(path, "path") }?;
        Network::open(Path::new(path), &LoadOptions::default()).map_err(|error| error.to_string())
    });
    handle(model)
}

/// Opens a model from the `length` bytes of a file that `bunjae compile` wrote; they are not needed
/// any more when this returns. Null on failure; freed with bunjae_model_free.
///
/// # Safety
/// `bytes` is null or leads to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_open_memory(
    bytes: *const c_void,
    length: usize,
) -> *mut BunjaeModel {
    let model = guarded(|| {
        // SAFETY: this function's caller promises the same.
        let bytes = unsafe { elements(bytes.cast::<u8>(), length, "bytes") }?;
        Network::from_bytes(bytes.to_vec(), &LoadOptions::default())
            .map_err(|error| error.to_string())
    });
    handle(model)
}

fn handle(network: Option<Network>) -> *mut BunjaeModel {
    network.map_or(std::ptr::null_mut(), |network| {
        Box::into_raw(Box::new(BunjaeModel { network: Arc::new(network) }))
    })
}

/// Frees a model; null does nothing. Its sessions and classifiers stay as they are.
///
/// # Safety
/// `model` is null or was returned by bunjae_open or bunjae_open_memory, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_model_free(model: *mut BunjaeModel) {
    if !model.is_null() {
        // SAFETY: `handle` made it from a box, and the caller gives it up.
        let owned = unsafe { Box::from_raw(model) };
        guarded(|| {
            drop(owned);
            Ok(())
        });
    }
}
