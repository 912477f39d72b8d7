//! The transfers themselves.

use libc::{c_int, c_void, iovec};

use crate::errno::{Errno, Result, check};
use crate::sys::descriptor::{self, Nature};

pub use crate::sys::transfer::*;

/// Do not wait (preadv2, pwritev2). By number and as raw calls: musl 1.2.3 has neither.
const RWF_NOWAIT: c_int = 8;

/// Tries to read a stream without waiting.
pub fn try_read(fd: c_int, nature: Nature, buffer: *mut c_void, count: usize) -> Tried {
    if nature == Nature::Socket {
        return Tried::from(receive_now(fd, buffer, count));
    }
    let place = iovec { iov_base: buffer, iov_len: count };
    // SAFETY: the kernel checks the buffer; offset -1 means "where the stream is".
    let done = unsafe { libc::syscall(libc::SYS_preadv2, fd, &raw const place, 1usize, -1i64, -1i64, RWF_NOWAIT) };
    match check(isize::try_from(done).unwrap_or(-1)) {
        Err(error) if is_refused(error) => Tried::by_poll(fd),
        result => Tried::from(result),
    }
}

/// What the page cache had of a read.
#[derive(Clone, Copy)]
pub enum Cached {
    /// All, or all that the file has: the result of the read.
    All(isize),
    /// So many bytes.
    Part(usize),
    Nothing,
    /// This descriptor cannot be read in this way.
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
            // Linux 5.9 and 5.10 may say 0 elsewhere, too (preadv2(2), BUGS).
            Ok(0) if ends_before(fd, at) => return whole(got),
            Ok(0) if got == 0 => return Cached::Nothing,
            Ok(0) => return Cached::Part(got),
            Ok(more) if got + more >= count => return whole(got + more),
            Ok(more) => got += more,
            Err(_) if got > 0 => return Cached::Part(got),
            // A stream, a file system that cannot tell, an old kernel, a sandbox.
            Err(Errno(libc::ESPIPE | libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM)) => return Cached::Never,
            Err(_) => return Cached::Nothing,
        }
    }
}

/// Whether a file has nothing from this offset on.
fn ends_before(fd: c_int, offset: i64) -> bool {
    descriptor::regular_size(fd).is_some_and(|size| size <= offset)
}

fn whole(bytes: usize) -> Cached {
    isize::try_from(bytes).map_or(Cached::Nothing, Cached::All)
}

/// Tries to write to a stream without waiting; may write a part.
pub fn try_write(fd: c_int, nature: Nature, buffer: *mut c_void, count: usize) -> Result<isize> {
    if nature == Nature::Socket {
        return send_now(fd, buffer, count);
    }
    let place = iovec { iov_base: buffer, iov_len: count };
    // SAFETY: as in `try_read`.
    let done = unsafe { libc::syscall(libc::SYS_pwritev2, fd, &raw const place, 1usize, -1i64, -1i64, RWF_NOWAIT) };
    match check(isize::try_from(done).unwrap_or(-1)) {
        Err(error) if is_refused(error) => write_when_polled(fd, buffer, count),
        result => result,
    }
}

/// The flag is not known here (a terminal, an old kernel, a sandbox): poll has to be asked.
fn is_refused(error: Errno) -> bool {
    matches!(error.0, libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM | libc::EINVAL)
}

/// Whether the file's other descriptors have seen an error of writing back: fsync tells each only once.
/// Called after an fsync of the same file, so it finds nothing to wait for.
pub fn pending_write_error(fd: c_int) -> Result<()> {
    let first_page_only = 1;
    // SAFETY: no memory is involved.
    check(unsafe { libc::sync_file_range(fd, 0, first_page_only, libc::SYNC_FILE_RANGE_WAIT_BEFORE) }).map(|_| ())
}

/// Whether a thread sleeps inside a system call that transfers, on `fd` if that is given: it has certainly got hold of its
/// file. None: the kernel does not say.
pub fn sleeps_in_transfer(thread: c_int, fd: Option<c_int>) -> Option<bool> {
    let mut text = [0u8; 256];
    let text = read_proc(thread, &mut text)?;
    use libc::{
        SYS_fdatasync, SYS_fsync, SYS_pread64, SYS_preadv2, SYS_pwrite64, SYS_pwritev2, SYS_read, SYS_recvfrom,
        SYS_sendto, SYS_write,
    };
    // "running", or the number of the call and its arguments: "18 0x3 0x7f…".
    let mut words = text.split(|byte| *byte == b' ');
    let number = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse::<i64>().ok());
    let first = words.next().and_then(|word| std::str::from_utf8(word).ok()?.strip_prefix("0x"));
    let first = first.and_then(|word| u64::from_str_radix(word, 16).ok());
    let files = [SYS_pread64, SYS_pwrite64, SYS_fsync, SYS_fdatasync, SYS_read, SYS_write];
    let streams = [SYS_preadv2, SYS_pwritev2, SYS_recvfrom, SYS_sendto];
    let transferring = number.is_some_and(|number| files.contains(&number) || streams.contains(&number));
    Some(transferring && fd.is_none_or(|fd| first == Some(u64::from(fd.cast_unsigned()))))
}

fn read_proc(thread: c_int, text: &mut [u8]) -> Option<&[u8]> {
    let path = std::io::Write::write_fmt(&mut &mut *text, format_args!("/proc/self/task/{thread}/syscall\0"));
    path.ok()?;
    // Raw calls: libc's are cancellation points, and some callers must not be.
    // SAFETY: the path was just written, and ends with a zero byte; the kernel writes no more than the buffer's length.
    unsafe {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let file = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, text.as_ptr(), flags);
        let file = c_int::try_from(file).ok().filter(|file| *file >= 0)?;
        let length = libc::syscall(libc::SYS_read, file, text.as_mut_ptr(), text.len());
        crate::sys::descriptor::close_quietly(file);
        text.get(..usize::try_from(length).ok()?)
    }
}
