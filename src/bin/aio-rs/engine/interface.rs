//! What every engine offers, and what several of them need.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

#[derive(Clone, Copy, PartialEq)]
pub enum Operation {
    Read,
    Write,
}

/// An engine has slots, each with a buffer of its own and at most one request in flight.
pub trait Engine {
    fn submit(&mut self, slot: usize, operation: Operation, offset: usize) -> Result<()>;

    /// Waits until at least one request has ended and adds the slots of all that have to `done`. Error: one failed, or was
    /// short.
    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()>;

    /// Runs an fsync to its end. If `sync_is_barrier`, it waits for the requests in flight; else there must be none.
    fn sync(&mut self) -> Result<()>;

    /// Whether `sync` waits for the requests in flight.
    fn sync_is_barrier(&self) -> bool {
        false
    }
}

/// Memory for a request, aligned as O_DIRECT needs it.
pub struct Buffer(Vec<Page>);

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

impl Buffer {
    pub fn new(size: usize) -> Buffer {
        Buffer(vec![Page([b'.'; 4096]); size.div_ceil(4096)])
    }

    pub fn pointer(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

/// Checks the result of a completion: all `size` bytes, or else an error. A negative result is minus the number of an error.
pub fn whole(result: i64, size: usize) -> Result<()> {
    match usize::try_from(result) {
        Ok(bytes) if bytes == size => Ok(()),
        Ok(bytes) => Err(Error::other(format!("{bytes} bytes of {size}"))),
        Err(_) => Err(Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO))),
    }
}

/// fsync by the calling thread.
pub fn plain_sync(file: BorrowedFd) -> Result<()> {
    // SAFETY: passes a number only.
    if unsafe { libc::fsync(file.as_raw_fd()) } == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
