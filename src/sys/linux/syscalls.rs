//! futex, and system calls as cancellation points.

use std::ptr;

use libc::{c_int, c_long, timespec};

use crate::errno::Errno;

// Plain "C", not "C-unwind", although a cancelled thread unwinds through the call that it sleeps in: the frames here own nothing, and
// at a "C-unwind" call rustc would put a landing pad that aborts (panic = "abort").
unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int;
}

const PTHREAD_CANCEL_ASYNCHRONOUS: c_int = 1;

/// futex(2) with an absolute timeout of CLOCK_MONOTONIC (for the operations that take one).
pub fn futex(word: *mut u32, operation: c_int, value: u32, timeout: Option<&timespec>) -> c_long {
    let timeout = timeout.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the kernel reads the timeout, and checks the address of the word before it reads it. The last argument is the bitset
    // of FUTEX_WAIT_BITSET, which other operations ignore.
    unsafe { syscall(libc::SYS_futex, word, operation, value, timeout, ptr::null::<u32>(), u32::MAX) }
}

/// Makes `call`, a single system call, a cancellation point.
pub fn cancellable(call: impl FnOnce() -> c_long) -> c_long {
    let mut old = 0;
    // SAFETY: the thread may be cancelled at any instruction of `call`, which is a single system call and owns nothing.
    unsafe { pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &raw mut old) };
    let result = call();
    let error = Errno::last();
    // SAFETY: restores the type.
    unsafe { pthread_setcanceltype(old, ptr::null_mut()) };
    error.set();
    result
}
