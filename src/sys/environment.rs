//! The process: its environment, its processors.

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A variable of the environment. None in a program that has more privileges than its user (setuid), who must not configure it.
pub fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: `name` is a C string; the result points into the environment, which the library reads once, at its start.
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

/// Calls `f` when the process exits normally.
pub fn at_exit(f: extern "C" fn()) {
    // SAFETY: `f` stays mapped: the library is never unloaded.
    unsafe { libc::atexit(f) };
}

/// Number of processors that this process may run on. The system is asked once.
pub fn processors() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    match COUNT.load(Ordering::Relaxed) {
        0 => {
            let count = count_processors().max(1);
            COUNT.store(count, Ordering::Relaxed);
            count
        }
        count => count,
    }
}

#[cfg(target_os = "linux")]
fn count_processors() -> usize {
    // SAFETY: a cpu_set_t is plain data, and the kernel fills in as much as it is told there is room for.
    unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        usize::try_from(libc::CPU_COUNT(&set)).unwrap_or(1)
    }
}

#[cfg(not(target_os = "linux"))]
fn count_processors() -> usize {
    // SAFETY: sysconf takes an int.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1)
}
