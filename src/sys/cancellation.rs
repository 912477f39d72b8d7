//! pthread_cancel: cleanup handlers around a wait, and calls that nothing cancels in the middle.
//!
//! A thread may be cancelled anywhere while its type is asynchronous: because the program asked for that, or because a signal
//! handler runs that has interrupted a cancellation point, which in glibc before 2.41 and here makes it so for its system call.
//!
//! A cancelled thread leaves its wait by unwinding (glibc) or without (musl); neither runs destructors, so the frames
//! between a cancellation point and the exported function own nothing.

use std::ffi::c_void;

const DEFERRED: libc::c_int = 0;

/// Sets the calling thread's cancellation type and returns the old one. A change to the asynchronous one cancels a thread that
/// should be, and does not return then.
fn set_type(new: libc::c_int) -> libc::c_int {
    // Plain "C": see `syscalls`.
    unsafe extern "C" {
        fn pthread_setcanceltype(new: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
    }
    let mut old = DEFERRED;
    // SAFETY: room for one int.
    unsafe { pthread_setcanceltype(new, &raw mut old) };
    old
}

/// The thread is cancelled at cancellation points only, until `end`. Costs a few instructions, no system call.
pub struct Deferral(libc::c_int);

impl Deferral {
    pub fn begin() -> Deferral {
        Deferral(set_type(DEFERRED))
    }

    /// Makes it so again as it was before. A thread that was cancelled meanwhile may end here.
    pub fn end(&self) {
        if self.0 != DEFERRED {
            set_type(self.0);
        }
    }
}

/// Runs `body`, a call of the program, with the thread's cancellation deferred.
pub fn defer<T>(body: impl FnOnce() -> T) -> T {
    let deferral = Deferral::begin();
    let result = body();
    deferral.end();
    result
}

/// Runs `body` with the thread's cancellation put off: for calls that are cancellation points in the middle of things.
pub fn put_off<T>(body: impl FnOnce() -> T) -> T {
    const DISABLE: libc::c_int = if cfg!(target_os = "nto") { 0x4000 } else { 1 };
    unsafe extern "C" {
        fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
    }
    let mut old = 0;
    // SAFETY: room for one int.
    unsafe { pthread_setcancelstate(DISABLE, &raw mut old) };
    let result = body();
    // SAFETY: what was set before is set again.
    unsafe { pthread_setcancelstate(old, &raw mut old) };
    result
}

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
    let mut call = Cleanup { cleanup, argument };
    // SAFETY: the buffer and the call live until they are popped, in the same frame.
    unsafe {
        _pthread_cleanup_push(&raw mut buffer, ENTRANCE, (&raw mut call).cast());
        let result = body();
        _pthread_cleanup_pop(&raw mut buffer, 0);
        result
    }
}

#[cfg(target_os = "linux")]
struct Cleanup {
    cleanup: extern "C" fn(*mut c_void),
    argument: *mut c_void,
}

#[cfg(target_os = "linux")]
extern "C" fn run(call: *mut c_void) {
    // SAFETY: the frame of `with_cleanup`, which holds the call, is still there.
    if let Some(call) = unsafe { call.cast::<Cleanup>().as_ref() } {
        (call.cleanup)(call.argument);
        // glibc's longjmp runs it, too, for a handler that jumps out of a wait: with the type that the wait had set.
        set_type(DEFERRED);
    }
}

#[cfg(all(target_os = "linux", not(all(target_env = "musl", target_arch = "x86_64"))))]
const ENTRANCE: extern "C" fn(*mut c_void) = run;

/// musl enters cancellation from wherever the thread was, and so its handlers with a stack that is not aligned as compiled
/// code expects.
#[cfg(all(target_os = "linux", target_env = "musl", target_arch = "x86_64"))]
const ENTRANCE: extern "C" fn(*mut c_void) = run_aligned;

#[cfg(all(target_os = "linux", target_env = "musl", target_arch = "x86_64"))]
#[unsafe(naked)]
extern "C" fn run_aligned(call: *mut c_void) {
    core::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "and rsp, -16",
        "call {run}",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
        run = sym run,
    )
}

/// Elsewhere the handlers are a macro of the C library's own making: a cancelled LIO_WAIT leaves a record of its list
/// behind.
#[cfg(not(target_os = "linux"))]
pub fn with_cleanup<T>(_cleanup: extern "C" fn(*mut c_void), _argument: *mut c_void, body: impl FnOnce() -> T) -> T {
    body()
}
