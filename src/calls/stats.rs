//! aio_rs_stats.

use std::ptr;

use crate::engine;
use crate::figures::aio_rs_stats;
use crate::sys::errno::{Errno, Result};

/// For the caller's structure of `size` bytes, which may be an older or a newer one. Errors: EINVAL (NULL), E2BIG.
///
/// # Safety
/// `out` is NULL or has room for `size` bytes.
pub unsafe fn copy(out: *mut u8, size: usize) -> Result<()> {
    const MOST: usize = 4096;
    if out.is_null() {
        return Err(Errno::INVAL);
    }
    if size > MOST {
        return Err(Errno(libc::E2BIG));
    }
    let counts = engine::stats();
    let known = size.min(size_of::<aio_rs_stats>());
    // SAFETY: the caller's promise; not more is copied than there is.
    unsafe {
        ptr::copy_nonoverlapping((&raw const counts).cast(), out, known);
        out.add(known).write_bytes(0, size - known);
    }
    Ok(())
}
