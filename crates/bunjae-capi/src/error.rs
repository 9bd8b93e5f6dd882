//! Failing without unwinding: the last error of each thread.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a function came out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BunjaeStatus {
    /// Done.
    Ok = 0,
    /// Not done; bunjae_last_error says why.
    Error = 1,
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::new(CString::default());
}

/// Why the last function that failed on this thread did so; empty where none has failed. Lasts until
/// another function fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn bunjae_last_error() -> *const c_char {
    // A thread that is ending has no message any more.
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Keeps a message for [`bunjae_last_error`].
fn remember(message: &dyn Display) {
    // A zero would end the message early.
    let text = message.to_string().replace('\0', "\\0");
    let message = CString::new(text).unwrap_or_default();
    let _ = LAST.try_with(|last| last.replace(message));
}

/// What a function does; where it fails or panics, the message is kept and `None` returned.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Option<T> {
    // What was half done is either dropped or behind a handle whose next use may fail, not corrupt
    // memory: no `unsafe` code relies on what a panic could leave behind.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(message)) => {
            remember(&message);
            None
        }
        Err(panic) => {
            remember(&format!("a fault of this library: {}", panic_text(&*panic)));
            None
        }
    }
}

/// As [`guarded`], for functions that return a status.
pub(crate) fn status(work: impl FnOnce() -> Result<(), String>) -> BunjaeStatus {
    match guarded(work) {
        Some(()) => BunjaeStatus::Ok,
        None => BunjaeStatus::Error,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

/// A text that C passed.
///
/// # Safety
/// Null, or a text that ends with a zero and outlives the call.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, String> {
    if text.is_null() {
        return Err(format!("{what} is null"));
    }
    // SAFETY: not null, and the caller promised the rest.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| format!("{what} is not UTF-8"))
}

/// What a pointer to one thing leads to.
///
/// # Safety
/// Null, or a pointer to a `T` that outlives the call and that nobody changes meanwhile.
pub(crate) unsafe fn shared<'a, T>(pointer: *const T, what: &str) -> Result<&'a T, String> {
    // SAFETY: the caller promised a valid pointer where it is not null.
    unsafe { pointer.as_ref() }.ok_or_else(|| format!("{what} is null"))
}

/// What a pointer to one thing leads to, to be changed.
///
/// # Safety
/// Null, or a pointer to a `T` that outlives the call and that nobody else uses meanwhile.
pub(crate) unsafe fn exclusive<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T, String> {
    // SAFETY: the caller promised a valid pointer where it is not null.
    unsafe { pointer.as_mut() }.ok_or_else(|| format!("{what} is null"))
}

/// The elements at a pointer; it may be null where there are none.
///
/// # Safety
/// Null, or a pointer to `count` elements that outlive the call and that nobody changes meanwhile.
pub(crate) unsafe fn elements<'a, T>(
    pointer: *const T,
    count: usize,
    what: &str,
) -> Result<&'a [T], String> {
    check(pointer, count, what)?;
    match count {
        0 => Ok(&[]),
        // SAFETY: not null, aligned and no longer than memory can be; the caller promised the rest.
        _ => Ok(unsafe { std::slice::from_raw_parts(pointer, count) }),
    }
}

/// As [`elements`], to be changed.
///
/// # Safety
/// Null, or a pointer to `count` elements that outlive the call and that nobody else uses meanwhile.
pub(crate) unsafe fn elements_mut<'a, T>(
    pointer: *mut T,
    count: usize,
    what: &str,
) -> Result<&'a mut [T], String> {
    check(pointer, count, what)?;
    match count {
        0 => Ok(&mut []),
        // SAFETY: as in `elements`.
        _ => Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) }),
    }
}

fn check<T>(pointer: *const T, count: usize, what: &str) -> Result<(), String> {
    if count == 0 {
        return Ok(());
    }
    if pointer.is_null() {
        return Err(format!("{what} is null"));
    }
    if !pointer.is_aligned() {
        return Err(format!("{what} is not aligned to {} bytes", align_of::<T>()));
    }
    match count.checked_mul(size_of::<T>()) {
        Some(bytes) if bytes <= isize::MAX as usize => Ok(()),
        _ => Err(format!("{what} is longer than memory can be")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: the message lasts until the next failure on this thread.
        unsafe { CStr::from_ptr(bunjae_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn failures_and_panics_leave_a_message_on_their_thread_alone() {
        assert_eq!(last(), "");
        assert_eq!(status(|| Err("no\0good".to_owned())), BunjaeStatus::Error);
        assert_eq!(last(), "no\\0good");
        assert_eq!(std::thread::spawn(last).join().unwrap(), "");
        let nothing: Option<u8> = guarded(|| panic!("out of {}", "cheese"));
        assert_eq!((nothing, last().as_str()), (None, "a fault of this library: out of cheese"));
        assert_eq!(status(|| Ok(())), BunjaeStatus::Ok);
        assert_eq!(last(), "a fault of this library: out of cheese", "success says nothing");
    }

    #[test]
    fn memory_that_cannot_be_is_refused() {
        let numbers = [1f32, 2.0];
        let odd = numbers.as_ptr().cast::<u8>().wrapping_add(1).cast::<f32>();
        let refused = |pointer, count| {
            // SAFETY: refused before anything is read.
            unsafe { elements::<f32>(pointer, count, "x") }.unwrap_err()
        };
        assert_eq!(refused(std::ptr::null(), 1), "x is null");
        assert_eq!(refused(odd, 1), "x is not aligned to 4 bytes");
        assert_eq!(refused(numbers.as_ptr(), usize::MAX), "x is longer than memory can be");
        // SAFETY: no element is read; two are there.
        unsafe {
            assert_eq!(elements::<f32>(std::ptr::null(), 0, "x"), Ok(&[][..]));
            assert_eq!(elements(numbers.as_ptr(), 2, "x"), Ok(&numbers[..]));
        }
    }
}
