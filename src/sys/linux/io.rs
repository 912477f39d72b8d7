//! Transfers that do not wait: RWF_NOWAIT for streams and for the page cache.

use libc::{c_int, c_void, iovec};

use crate::sys::descriptor::{self, FdKind};
use crate::sys::errno::{Errno, Result, check};

pub use crate::sys::transfer::*;

/// The flag of preadv2 and pwritev2, which are called by number because musl 1.2.3 has neither. A `c_long`, as `syscall`
/// reads its arguments.
const RWF_NOWAIT: libc::c_long = 8;

/// Tries to read a stream without waiting.
pub fn try_read(fd: c_int, fd_kind: FdKind, buffer: *mut c_void, count: usize, nonblocking: bool) -> Tried {
    match fd_kind {
        // Not recv: on a datagram socket it would consume a datagram.
        FdKind::Socket if count == 0 => return Tried::Ended(read(fd, buffer, 0)),
        FdKind::Socket => return Tried::from(receive_now(fd, buffer, count)),
        // preadv2 returns 0 without asking the file.
        _ if count == 0 => return Tried::MayBlock,
        _ => {}
    }
    let place = iovec { iov_base: buffer, iov_len: count };
    // SAFETY: the kernel checks the buffer. Offset -1: as read does.
    let done = unsafe { libc::syscall(libc::SYS_preadv2, fd, &raw const place, 1usize, -1i64, -1i64, RWF_NOWAIT) };
    match check(isize::try_from(done).unwrap_or(-1)) {
        // Not readable at all, or not in such small pieces (an eventfd).
        Err(Errno(libc::EINVAL)) => Tried::MayBlock,
        Err(error) if is_refused(error) && fd_kind == FdKind::Pipe => read_fifo(fd, &place, nonblocking),
        Err(error) if is_refused(error) => Tried::by_poll(fd, nonblocking),
        result => Tried::from(result),
    }
}

/// Reads a FIFO, which refuses RWF_NOWAIT. Not by poll alone: that does not report the end of file before a first writer has
/// opened the FIFO. (In packet mode vmsplice may return more than one packet.)
fn read_fifo(fd: c_int, place: &iovec, nonblocking: bool) -> Tried {
    // With a descriptor that is open for writing, vmsplice would write.
    if descriptor::flags(fd).is_ok_and(|flags| flags & libc::O_ACCMODE == libc::O_RDONLY) {
        // SAFETY: the kernel checks the buffer.
        match check(unsafe { libc::vmsplice(fd, place, 1, libc::SPLICE_F_NONBLOCK) }) {
            Err(Errno(libc::ENOSYS | libc::EPERM | libc::EBADF)) => {}
            result => return Tried::from(result),
        }
    }
    Tried::by_poll(fd, nonblocking)
}

/// How much of a read the page cache had.
#[derive(Clone, Copy)]
pub enum Cached {
    /// The whole read, or all up to the end of the file: the result.
    All(isize),
    /// That many bytes.
    Part(usize),
    Nothing,
    /// This descriptor does not support the question.
    Never,
}

/// Reads what is in the page cache, without waiting for the disk.
pub fn read_cached(fd: c_int, buffer: *mut c_void, count: usize, offset: u64) -> Cached {
    let mut got = 0;
    loop {
        let place = iovec { iov_base: buffer.wrapping_byte_add(got), iov_len: count - got };
        let Some(at) = u64::try_from(got).ok().and_then(|got| i64::try_from(offset.checked_add(got)?).ok()) else {
            return Cached::Nothing;
        };
        // SAFETY: the kernel checks the buffer.
        let done = unsafe { libc::syscall(libc::SYS_preadv2, fd, &raw const place, 1usize, at, 0i64, RWF_NOWAIT) };
        match check(done).and_then(|done| usize::try_from(done).map_err(|_| Errno::AGAIN)) {
            // Linux 5.9 and 5.10 may return 0 although there is more (preadv2(2), BUGS).
            Ok(0) if ends_before(fd, at) => return whole(got),
            Ok(0) if got == 0 => return Cached::Nothing,
            Ok(0) => return Cached::Part(got),
            Ok(more) if got + more >= count => return whole(got + more),
            Ok(more) => got += more,
            Err(_) if got > 0 => return Cached::Part(got),
            // A stream, a file system without RWF_NOWAIT, an old kernel, a sandbox.
            Err(Errno(libc::ESPIPE | libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM)) => return Cached::Never,
            Err(_) => return Cached::Nothing,
        }
    }
}

/// Whether a regular file ends at or before this offset.
fn ends_before(fd: c_int, offset: i64) -> bool {
    descriptor::regular_size(fd).is_some_and(|size| size <= offset)
}

fn whole(bytes: usize) -> Cached {
    isize::try_from(bytes).map_or(Cached::Nothing, Cached::All)
}

/// Tries to write to a stream without waiting; may write a part.
pub fn try_write(fd: c_int, fd_kind: FdKind, buffer: *mut c_void, count: usize) -> Tried {
    match fd_kind {
        FdKind::Socket => return Tried::from(send_now(fd, buffer, count)),
        // pwritev2 returns 0 without asking the file.
        _ if count == 0 => return Tried::MayBlock,
        _ => {}
    }
    let place = iovec { iov_base: buffer, iov_len: count };
    // SAFETY: as in `try_read`.
    let done = unsafe { libc::syscall(libc::SYS_pwritev2, fd, &raw const place, 1usize, -1i64, -1i64, RWF_NOWAIT) };
    match check(isize::try_from(done).unwrap_or(-1)) {
        // Not by poll: it reports a terminal as writable that has room for less, and an eventfd that has room for 1 only.
        Err(error) if is_refused(error) || error == Errno(libc::EINVAL) => Tried::MayBlock,
        result => Tried::from(result),
    }
}

/// RWF_NOWAIT is not supported (a terminal, a FIFO, an old kernel, a sandbox).
fn is_refused(error: Errno) -> bool {
    matches!(error.0, libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM)
}

/// The error of an earlier write-back, if this descriptor has not reported it yet: each open file description reports it once.
/// Called after an fsync of the file, so there is nothing to wait for.
pub fn pending_write_error(fd: c_int) -> Result<()> {
    let first_page_only = 1;
    // SAFETY: passes numbers only.
    check(unsafe { libc::sync_file_range(fd, 0, first_page_only, libc::SYNC_FILE_RANGE_WAIT_BEFORE) }).map(|_| ())
}
