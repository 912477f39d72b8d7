//! The transfers themselves.

use libc::{c_int, c_void};

use crate::errno::Result;
use crate::sys::descriptor::Nature;

pub use crate::sys::transfer::*;

/// Tries to read a stream without waiting.
pub fn try_read(fd: c_int, nature: Nature, buffer: *mut c_void, count: usize, nonblocking: bool) -> Tried {
    match nature {
        // recv would take an empty read for one of a datagram.
        Nature::Socket if count == 0 => Tried::Ended(read(fd, buffer, 0)),
        Nature::Socket => Tried::from(receive_now(fd, buffer, count)),
        _ if count == 0 => Tried::MayBlock,
        _ => Tried::by_poll(fd, nonblocking),
    }
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
pub fn try_write(fd: c_int, nature: Nature, buffer: *mut c_void, count: usize) -> Tried {
    match nature {
        Nature::Socket => Tried::from(send_now(fd, buffer, count)),
        Nature::Pipe if count == 0 => Tried::MayBlock,
        // Once poll says so, so many bytes do not block, unless another process takes the room.
        Nature::Pipe if is_ready(fd, true) => Tried::from(write(fd, buffer, count.min(pipe_buf(fd)))),
        Nature::Pipe => Tried::Nothing,
        _ => Tried::MayBlock,
    }
}

fn pipe_buf(fd: c_int) -> usize {
    /// What POSIX promises.
    const LEAST: usize = 512;
    // SAFETY: no memory is involved.
    usize::try_from(unsafe { libc::fpathconf(fd, libc::_PC_PIPE_BUF) }).unwrap_or(LEAST).max(LEAST)
}

/// Other descriptors of a file cannot be asked, but each can be synchronised again.
pub fn pending_write_error(fd: c_int) -> Result<()> {
    fdatasync(fd).map(|_| ())
}
