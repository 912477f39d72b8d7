//! Transfers that every POSIX system has.

use libc::{c_int, c_void, off_t};

use crate::errno::{Errno, Result, check};

/// Writes up to this many bytes to a pipe are atomic, and do not block once poll says "writable".
const PIPE_BUF: usize = 512;

/// What a request asks of the kernel's own AIO (`kaio`).
#[cfg_attr(not(all(target_os = "linux", not(feature = "portable"))), expect(dead_code, reason = "only Linux has it"))]
pub struct Transfer {
    pub fd: c_int,
    pub writes: bool,
    pub buffer: *mut c_void,
    pub count: usize,
    pub offset: u64,
    /// Comes back with the result.
    pub token: u64,
}

/// pread. The result is the number of bytes, which may be fewer than asked for.
pub fn read_at(fd: c_int, buffer: *mut c_void, count: usize, offset: off_t) -> Result<isize> {
    // SAFETY: the kernel checks the buffer and reports EFAULT.
    check(unsafe { libc::pread(fd, buffer, count, offset) })
}

/// pwrite.
pub fn write_at(fd: c_int, buffer: *mut c_void, count: usize, offset: off_t) -> Result<isize> {
    // SAFETY: as in `read_at`.
    check(unsafe { libc::pwrite(fd, buffer, count, offset) })
}

/// A write at the end of a file that is open with O_APPEND.
pub fn append(fd: c_int, buffer: *mut c_void, count: usize) -> Result<isize> {
    // Linux's pwrite appends whatever the offset, and leaves the file's own offset alone; POSIX's would not append.
    #[cfg(target_os = "linux")]
    return write_at(fd, buffer, count, 0);
    #[cfg(not(target_os = "linux"))]
    return write(fd, buffer, count);
}

pub fn fsync(fd: c_int) -> Result<isize> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fsync(fd) }).map(|_| 0)
}

pub fn fdatasync(fd: c_int) -> Result<isize> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fdatasync(fd) }).map(|_| 0)
}

/// read, which may block.
pub fn read(fd: c_int, buffer: *mut c_void, count: usize) -> Result<isize> {
    // SAFETY: as in `read_at`.
    check(unsafe { libc::read(fd, buffer, count) })
}

/// write, which may block.
pub fn write(fd: c_int, buffer: *mut c_void, count: usize) -> Result<isize> {
    // SAFETY: as in `read_at`.
    check(unsafe { libc::write(fd, buffer, count) })
}

/// recv without waiting.
pub fn receive_now(fd: c_int, buffer: *mut c_void, count: usize) -> Result<isize> {
    // SAFETY: as in `read_at`.
    check(unsafe { libc::recv(fd, buffer, count, libc::MSG_DONTWAIT) })
}

/// send without waiting. A broken connection raises SIGPIPE in a library thread, which blocks it.
pub fn send_now(fd: c_int, buffer: *mut c_void, count: usize) -> Result<isize> {
    // SAFETY: as in `read_at`.
    check(unsafe { libc::send(fd, buffer, count, libc::MSG_DONTWAIT) })
}

/// What came of a read of a stream that must not wait.
pub enum Tried {
    Ended(Result<isize>),
    Nothing,
    /// There is something, or the stream has ended; but a read would wait if somebody else took it first.
    Readable,
}

impl Tried {
    /// EAGAIN: there is nothing yet.
    pub fn from(result: Result<isize>) -> Tried {
        if result == Err(Errno::AGAIN) { Tried::Nothing } else { Tried::Ended(result) }
    }

    /// What poll can tell, where a read cannot be told not to wait.
    pub fn by_poll(fd: c_int) -> Tried {
        if polled(fd, libc::POLLIN) { Tried::Readable } else { Tried::Nothing }
    }
}

/// Writes as much as cannot block, if poll says so. Error: EAGAIN.
pub fn write_when_polled(fd: c_int, buffer: *mut c_void, count: usize) -> Result<isize> {
    if polled(fd, libc::POLLOUT) { write(fd, buffer, count.min(pipe_buf(fd))) } else { Err(Errno::AGAIN) }
}

fn pipe_buf(fd: c_int) -> usize {
    // SAFETY: no memory is involved.
    usize::try_from(unsafe { libc::fpathconf(fd, libc::_PC_PIPE_BUF) }).unwrap_or(PIPE_BUF).max(PIPE_BUF)
}

fn polled(fd: c_int, events: libc::c_short) -> bool {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry, and no waiting.
    unsafe { libc::poll(&raw mut entry, 1, 0) == 1 }
}
