//! The process: its environment, its standard error, its processors.

use std::ffi::{CStr, c_char};

use libc::c_void;

/// A variable of the environment; None in a program that runs with more rights than its user (setuid).
pub fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: `name` is a C string; the result points into the environment, and the library reads it once, at its start.
    let value = unsafe { secure_getenv(name.as_ptr()) };
    // SAFETY: getenv returns NULL or a C string.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

#[cfg(target_os = "linux")]
unsafe extern "C" {
    fn secure_getenv(name: *const c_char) -> *const c_char;
}

/// # Safety
/// `name` is a C string.
#[cfg(not(target_os = "linux"))]
unsafe fn secure_getenv(name: *const c_char) -> *const c_char {
    // SAFETY: these take nothing and always succeed; `name` is the caller's promise.
    unsafe {
        let raised = libc::getuid() != libc::geteuid() || libc::getgid() != libc::getegid();
        if raised { std::ptr::null() } else { libc::getenv(name) }
    }
}

/// Writes to standard error without any lock or buffer.
pub fn write_stderr(text: &[u8]) {
    // SAFETY: the pointer and the length are one slice's. A failure leaves nobody to tell.
    unsafe { libc::write(2, text.as_ptr().cast::<c_void>(), text.len()) };
}

/// Calls `f` when the process exits normally.
pub fn at_exit(f: extern "C" fn()) {
    // SAFETY: `f` stays mapped: the library is never unloaded.
    unsafe { libc::atexit(f) };
}
