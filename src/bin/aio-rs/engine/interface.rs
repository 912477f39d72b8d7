//! What every engine offers, and what several of them need.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};

#[derive(Clone, Copy, PartialEq)]
pub enum Operation {
    Read,
    Write,
}

/// Slots, each with a buffer of its own and at most one request in flight.
pub trait Engine {
    fn submit(&mut self, slot: usize, operation: Operation, offset: usize) -> Result<()>;

    /// Waits until something has ended, and adds all slots that have to `done`. Error: a request failed, or was short.
    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()>;

    /// fsync, to its end; nothing is in flight, but for POSIX AIO, whose aiocbs it stands behind.
    fn sync(&mut self) -> Result<()>;

    /// Whether `sync` comes behind what is in flight.
    fn sync_is_barrier(&self) -> bool {
        false
    }
}

/// Memory for a request, aligned as O_DIRECT wants it.
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

/// What a completion says: the bytes, or minus the error's number.
pub fn whole(result: i64, size: usize) -> Result<()> {
    match usize::try_from(result) {
        Ok(bytes) if bytes == size => Ok(()),
        Ok(bytes) => Err(Error::other(format!("{bytes} bytes of {size}"))),
        Err(_) => Err(Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO))),
    }
}

/// fsync by whoever calls.
pub fn plain_sync(file: BorrowedFd) -> Result<()> {
    // SAFETY: takes a descriptor, which is open.
    if unsafe { libc::fsync(file.as_raw_fd()) } == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
