//! System calls that libc has no function for, and what makes one a cancellation point.

use std::ffi::c_void;
use std::ptr;

use libc::{c_int, c_long, timespec};

use crate::errno::Errno;
use crate::sys::cancellation::with_cleanup;

// Plain "C", although a cancelled thread unwinds through the call it sleeps in: at a "C-unwind" call rustc would put a pad
// that aborts (panic = "abort"), while these frames own nothing and need no pad at all.
unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int;
}

const PTHREAD_CANCEL_ASYNCHRONOUS: c_int = 1;

/// futex(2) with an absolute timeout of CLOCK_MONOTONIC (for the operations that take one).
pub fn futex(word: *mut u32, operation: c_int, value: u32, timeout: Option<&timespec>) -> c_long {
    let timeout = timeout.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the kernel reads the word and the timeout; a wake uses the address of the word only. The last argument is
    // the bitset of FUTEX_WAIT_BITSET; the others ignore it.
    unsafe { syscall(libc::SYS_futex, word, operation, value, timeout, ptr::null::<u32>(), u32::MAX) }
}

/// One word of futex_waitv(2).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WaitEntry {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

impl WaitEntry {
    pub const NONE: WaitEntry = WaitEntry { value: 0, address: 0, flags: 0, reserved: 0 };

    pub fn new(word: *const u32, value: u32) -> WaitEntry {
        const SIZE_U32_PRIVATE: u32 = 2 | 128;
        let address = u64::try_from(word.expose_provenance()).unwrap_or(0);
        WaitEntry { value: u64::from(value), address, flags: SIZE_U32_PRIVATE, reserved: 0 }
    }
}

/// futex_waitv(2): sleeps until one of the words is woken or has changed. Linux 5.16.
pub fn futex_waitv(entries: &[WaitEntry], timeout: Option<&timespec>) -> c_long {
    const SYS_FUTEX_WAITV: c_long = 449;
    let timeout = timeout.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the kernel reads the entries, the words they name and the timeout.
    unsafe { syscall(SYS_FUTEX_WAITV, entries.as_ptr(), entries.len(), 0, timeout, libc::CLOCK_MONOTONIC) }
}

/// Makes `call`, a single system call, a cancellation point: a thread cancelled in it runs `cleanup(argument)`.
pub fn cancellable(
    cleanup: extern "C" fn(*mut c_void),
    argument: *mut c_void,
    call: impl FnOnce() -> c_long,
) -> c_long {
    with_cleanup(cleanup, argument, || {
        let mut old = 0;
        // SAFETY: cancellation is asynchronous only around a system call, where nothing is half done.
        unsafe { pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &raw mut old) };
        let result = call();
        let error = Errno::last();
        // SAFETY: as above.
        unsafe { pthread_setcanceltype(old, ptr::null_mut()) };
        error.set();
        result
    })
}
