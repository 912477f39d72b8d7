//! pthread_cancel: cleanup handlers around a wait.
//!
//! A cancelled thread leaves its wait by unwinding (glibc) or without (musl); neither runs destructors, so the frames
//! between a cancellation point and the exported function own nothing.

use std::ffi::c_void;

/// Runs `body`, which contains a cancellation point; a thread cancelled there runs `cleanup(argument)`.
#[cfg(target_os = "linux")]
pub fn with_cleanup<T>(cleanup: extern "C" fn(*mut c_void), argument: *mut c_void, body: impl FnOnce() -> T) -> T {
    // The old binary interface of pthread_cleanup_push, which glibc and musl both keep: three or four words.
    type Buffer = [usize; 4];
    unsafe extern "C" {
        fn _pthread_cleanup_push(buffer: *mut Buffer, routine: extern "C" fn(*mut c_void), argument: *mut c_void);
        fn _pthread_cleanup_pop(buffer: *mut Buffer, execute: libc::c_int);
    }
    let mut buffer = [0; 4];
    // SAFETY: the buffer lives until it is popped, in the same frame.
    unsafe {
        _pthread_cleanup_push(&raw mut buffer, cleanup, argument);
        let result = body();
        _pthread_cleanup_pop(&raw mut buffer, 0);
        result
    }
}

/// Elsewhere the handlers are a macro of the C library's own making: a cancelled LIO_WAIT leaves a list record behind.
#[cfg(not(target_os = "linux"))]
pub fn with_cleanup<T>(_cleanup: extern "C" fn(*mut c_void), _argument: *mut c_void, body: impl FnOnce() -> T) -> T {
    body()
}
