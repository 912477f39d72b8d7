//! futex, and system calls as cancellation points.

use std::ptr;

use libc::{c_int, c_long, timespec};

use crate::sys::cancellation::{ASYNCHRONOUS, set_type};
use crate::sys::errno::Errno;

unsafe extern "C" {
    // Plain "C", not "C-unwind", although a cancelled thread unwinds through the call that it sleeps in: the frames here own
    // nothing, and at a "C-unwind" call rustc would put a landing pad that aborts (panic = "abort").
    fn syscall(number: c_long, ...) -> c_long;
}

/// futex(2) with an absolute timeout of CLOCK_MONOTONIC (for the operations that take one).
pub fn futex(word: *mut u32, operation: c_int, value: u32, timeout: Option<&timespec>) -> c_long {
    let timeout = timeout.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the kernel reads the timeout, and checks the address of the word before it reads it. The last argument is the
    // bitset of FUTEX_WAIT_BITSET, which other operations ignore.
    unsafe { syscall(libc::SYS_futex, word, operation, value, timeout, ptr::null::<u32>(), u32::MAX) }
}

/// Makes `call`, a single system call, a cancellation point.
pub fn cancellable(call: impl FnOnce() -> c_long) -> c_long {
    // The thread may be cancelled at any instruction of `call`, which is a single system call and owns nothing.
    let old = set_type(ASYNCHRONOUS);
    let result = call();
    let error = Errno::last();
    set_type(old);
    error.set();
    result
}
