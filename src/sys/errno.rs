//! `Errno`, and the one conversion from `Result` to what C expects: a value, or -1 with `errno` set.

use std::io;

use libc::c_int;

/// An error number of the system, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub c_int);

pub type Result<T> = std::result::Result<T, Errno>;

impl Errno {
    pub const AGAIN: Errno = Errno(libc::EAGAIN);
    pub const BADF: Errno = Errno(libc::EBADF);
    pub const CANCELED: Errno = Errno(libc::ECANCELED);
    pub const INTR: Errno = Errno(libc::EINTR);
    pub const INVAL: Errno = Errno(libc::EINVAL);
    pub const IO: Errno = Errno(libc::EIO);

    /// What the last failed libc call of this thread reported.
    pub fn last() -> Errno {
        Errno(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// Gives the caller of an exported function its `errno`.
    pub fn set(self) {
        // SAFETY: the function returns the address of this thread's errno, which is always writable.
        unsafe { *errno_location() = self.0 };
    }
}

/// What tells the threads of a process apart without a system call: where each keeps its errno.
pub fn thread_identity() -> usize {
    // SAFETY: as in `set`.
    unsafe { errno_location() }.addr()
}

#[cfg(any(target_os = "linux", target_os = "hurd"))]
use libc::__errno_location as errno_location;
#[cfg(target_os = "nto")]
use libc::__get_errno_ptr as errno_location;

/// Turns libc's convention (-1 and `errno`) into a `Result`.
pub fn check<T: PartialEq + From<i8>>(returned: T) -> Result<T> {
    if returned == T::from(-1) { Err(Errno::last()) } else { Ok(returned) }
}

/// Turns a pthread function's convention (the error is returned) into a `Result`.
pub fn check_code(returned: c_int) -> Result<()> {
    if returned == 0 { Ok(()) } else { Err(Errno(returned)) }
}

/// Turns a `Result` into libc's convention.
pub fn to_c(result: Result<c_int>) -> c_int {
    result.unwrap_or_else(|error| {
        error.set();
        -1
    })
}
