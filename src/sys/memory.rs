//! Memory straight from the kernel, for code that must not call malloc.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use crate::sys::errno::{Errno, Result};

/// Maps `bytes` of zeroed memory, private to this process. Pages cost nothing until they are touched. Error: ENOMEM.
pub fn map(bytes: usize) -> Result<NonNull<c_void>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
    // SAFETY: a new anonymous mapping, at a place the kernel chooses, touches no existing memory.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    NonNull::new(start).ok_or(Errno(libc::ENOMEM))
}

/// Gives a mapping back.
///
/// # Safety
/// `start` and `bytes` are those of one `map`, and nothing refers to the memory any more.
pub unsafe fn unmap(start: NonNull<c_void>, bytes: usize) {
    // SAFETY: the caller's promise. It cannot fail for a whole mapping.
    unsafe { libc::munmap(start.as_ptr(), bytes) };
}
