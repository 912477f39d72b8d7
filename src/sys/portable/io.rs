//! Transfers of streams that do not wait, by poll and the flags of sockets.

use libc::{c_int, c_void};

use crate::sys::descriptor::FdKind;
use crate::sys::errno::Result;

pub use crate::sys::transfer::*;

/// Tries to read a stream without waiting.
pub fn try_read(fd: c_int, fd_kind: FdKind, buffer: *mut c_void, count: usize, nonblocking: bool) -> Tried {
    match fd_kind {
        // Not recv: on a datagram socket it would consume a datagram.
        FdKind::Socket if count == 0 => Tried::Ended(read(fd, buffer, 0)),
        FdKind::Socket => Tried::from(receive_now(fd, buffer, count)),
        _ if count == 0 => Tried::MayBlock,
        _ => Tried::by_poll(fd, nonblocking),
    }
}

/// How much of a read the page cache had: POSIX has no way to ask.
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
pub fn try_write(fd: c_int, fd_kind: FdKind, buffer: *mut c_void, count: usize) -> Tried {
    match fd_kind {
        FdKind::Socket => Tried::from(send_now(fd, buffer, count)),
        FdKind::Pipe if count == 0 => Tried::MayBlock,
        // A pipe that poll reports as writable takes PIPE_BUF bytes without blocking, unless another process takes the room.
        FdKind::Pipe if is_ready(fd, true) => Tried::from(write(fd, buffer, count.min(pipe_buf(fd)))),
        FdKind::Pipe => Tried::Nothing,
        _ => Tried::MayBlock,
    }
}

fn pipe_buf(fd: c_int) -> usize {
    /// _POSIX_PIPE_BUF.
    const LEAST: usize = 512;
    // SAFETY: passes numbers only.
    usize::try_from(unsafe { libc::fpathconf(fd, libc::_PC_PIPE_BUF) }).unwrap_or(LEAST).max(LEAST)
}

/// The error of an earlier write-back that this descriptor has not reported yet. POSIX has no call for it but one more sync.
pub fn pending_write_error(fd: c_int) -> Result<()> {
    fdatasync(fd).map(|_| ())
}
