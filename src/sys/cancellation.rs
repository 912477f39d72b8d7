//! pthread_cancel: cleanup handlers around a wait, and protection for calls that must not be cancelled half way.
//!
//! A thread may be cancelled at any instruction while its cancellation type is asynchronous. The program may have set that
//! type; and cancellation points, in glibc before 2.41 and here, set it for the time of their system call, so that a signal
//! handler that interrupts one runs with it too.
//!
//! A cancelled thread leaves its wait by unwinding (glibc) or by running cleanup handlers only (musl). Neither runs
//! destructors, so the frames between a cancellation point and the exported function own nothing.

use std::ffi::c_void;

const DEFERRED: libc::c_int = 0;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub(super) const ASYNCHRONOUS: libc::c_int = 1;

/// Sets the calling thread's cancellation type and returns the old one. Does not return if the new type is asynchronous and a
/// cancellation is pending.
pub(super) fn set_type(new: libc::c_int) -> libc::c_int {
    // Plain "C", not "C-unwind", although a cancelled thread unwinds through the call: the frames here own nothing, and at a
    // "C-unwind" call rustc would put a landing pad that aborts (panic = "abort").
    unsafe extern "C" {
        fn pthread_setcanceltype(new: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
    }
    let mut old = DEFERRED;
    // SAFETY: room for one int.
    unsafe { pthread_setcanceltype(new, &raw mut old) };
    old
}

/// Until `end` the thread is cancelled at cancellation points only. Costs a few instructions, no system call.
pub struct Deferral(libc::c_int);

impl Deferral {
    pub fn begin() -> Deferral {
        Deferral(set_type(DEFERRED))
    }

    /// Restores the type. A thread that was cancelled meanwhile may end here.
    pub fn end(&self) {
        if self.0 != DEFERRED {
            set_type(self.0);
        }
    }
}

/// Runs `body`, the library's part of an exported call, with the thread's cancellation deferred.
pub fn defer<T>(body: impl FnOnce() -> T) -> T {
    let deferral = Deferral::begin();
    let result = body();
    deferral.end();
    result
}

/// Runs `body` with cancellation disabled: a cancellation point inside it does not end the thread.
pub fn put_off<T>(body: impl FnOnce() -> T) -> T {
    const DISABLE: libc::c_int = if cfg!(target_os = "nto") { 0x4000 } else { 1 };
    unsafe extern "C" {
        fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
    }
    let mut old = 0;
    // SAFETY: room for one int.
    unsafe { pthread_setcancelstate(DISABLE, &raw mut old) };
    let result = body();
    // SAFETY: restores what was set before.
    unsafe { pthread_setcancelstate(old, &raw mut old) };
    result
}

/// Runs `body`, which contains a cancellation point; a thread cancelled there runs `cleanup(argument)`.
#[cfg(target_os = "linux")]
pub fn with_cleanup<T>(cleanup: extern "C" fn(*mut c_void), argument: *mut c_void, body: impl FnOnce() -> T) -> T {
    // The functions behind pthread_cleanup_push, which glibc and musl both keep. Their buffer has three or four words.
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
        // glibc also runs this in longjmp, for a signal handler that jumps out of a wait. The wait had set the asynchronous
        // type.
        set_type(DEFERRED);
    }
}

#[cfg(all(target_os = "linux", not(all(target_env = "musl", target_arch = "x86_64"))))]
const ENTRANCE: extern "C" fn(*mut c_void) = run;

/// musl cancels a thread at any instruction and calls the handlers on the stack as it was there, which may not be aligned as
/// compiled code expects.
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

/// Elsewhere pthread_cleanup_push is a macro whose code only the C library knows, so there is no cleanup: a thread that is
/// cancelled in LIO_WAIT leaks the record of its list.
#[cfg(not(target_os = "linux"))]
pub fn with_cleanup<T>(_cleanup: extern "C" fn(*mut c_void), _argument: *mut c_void, body: impl FnOnce() -> T) -> T {
    body()
}
