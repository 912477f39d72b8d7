//! The transfers themselves.

use libc::{c_int, c_void};

use crate::errno::Result;
use crate::sys::descriptor::Nature;

pub use crate::sys::transfer::*;

/// Tries to read a stream without waiting.
pub fn try_read(fd: c_int, nature: Nature, buffer: *mut c_void, count: usize) -> Tried {
    if nature == Nature::Socket { Tried::from(receive_now(fd, buffer, count)) } else { Tried::by_poll(fd) }
}

/// What the page cache had of a read: POSIX has no way to ask.
#[derive(Clone, Copy)]
pub enum Cached {
    #[expect(dead_code, reason = "Linux only")]
    All(isize),
    #[expect(dead_code, reason = "Linux only")]
    Part(usize),
    #[expect(dead_code, reason = "Linux only")]
    Nothing,
    Never,
}

pub fn read_cached(_fd: c_int, _buffer: *mut c_void, _count: usize, _offset: u64) -> Cached {
    Cached::Never
}

/// Tries to write to a stream without waiting; may write a part.
pub fn try_write(fd: c_int, nature: Nature, buffer: *mut c_void, count: usize) -> Result<isize> {
    if nature == Nature::Socket { send_now(fd, buffer, count) } else { write_when_polled(fd, buffer, count) }
}

/// Other descriptors of a file cannot be asked, but each can be synchronised again.
pub fn pending_write_error(fd: c_int) -> Result<()> {
    fdatasync(fd).map(|_| ())
}

/// POSIX has no way to look into another thread.
pub fn sleeps_in_transfer(_thread: c_int, _fd: Option<c_int>) -> Option<bool> {
    None
}
