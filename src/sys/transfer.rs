//! Reads, writes and syncs that every POSIX system has, and what poll and socket options tell of a stream.

use libc::{c_int, c_void, off_t};

use crate::sys::clock::{self, Nanos};
use crate::sys::errno::{Errno, Result, check};

/// A read or write for the kernel's own AIO (`kaio`).
#[cfg_attr(not(all(target_os = "linux", not(feature = "portable"))), expect(dead_code, reason = "only Linux has it"))]
pub struct Transfer {
    pub fd: c_int,
    pub writes: bool,
    pub buffer: *mut c_void,
    pub count: usize,
    pub offset: u64,
    /// The kernel returns it with the result.
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
    // With O_APPEND Linux's pwrite ignores the offset and appends, and the file offset stays as it is. POSIX's would not
    // append.
    #[cfg(target_os = "linux")]
    return write_at(fd, buffer, count, 0);
    #[cfg(not(target_os = "linux"))]
    return write(fd, buffer, count);
}

pub fn fsync(fd: c_int) -> Result<isize> {
    // SAFETY: passes a number only.
    check(unsafe { libc::fsync(fd) }).map(|_| 0)
}

pub fn fdatasync(fd: c_int) -> Result<isize> {
    // SAFETY: passes a number only.
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

/// The outcome of a transfer of a stream that was made without waiting.
pub enum Tried {
    Ended(Result<isize>),
    /// It would have to wait. Poll tells when to try again.
    Nothing,
    /// This stream has no transfer without waiting: a thread that may block has to make it.
    MayBlock,
}

impl Tried {
    /// EAGAIN: there is nothing yet.
    pub fn from(result: Result<isize>) -> Tried {
        if result == Err(Errno::AGAIN) { Tried::Nothing } else { Tried::Ended(result) }
    }

    /// For a read of a stream that has none without waiting: whether a thread should make it now.
    pub fn by_poll(fd: c_int, nonblocking: bool) -> Tried {
        let at_once = nonblocking || is_ready(fd, false) || answers_without_input(fd);
        if at_once { Tried::MayBlock } else { Tried::Nothing }
    }
}

/// Whether it is a terminal whose reads end without input, at once or after VTIME (VMIN is 0). Poll does not report such a
/// terminal as readable.
fn answers_without_input(fd: c_int) -> bool {
    let mut modes = std::mem::MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: there is room for a termios, and one of zeros is valid.
    let (known, modes) = unsafe { (libc::tcgetattr(fd, modes.as_mut_ptr()) == 0, modes.assume_init()) };
    let least = modes.c_cc.get(libc::VMIN);
    known && modes.c_lflag & libc::ICANON == 0 && least == Some(&0) && !is_other_side(fd)
}

/// Whether it is the master of a pseudo-terminal: tcgetattr shows the modes of the other side.
#[cfg(target_os = "linux")]
fn is_other_side(fd: c_int) -> bool {
    let mut number: c_int = 0;
    // SAFETY: the kernel stores an int.
    unsafe { libc::ioctl(fd, libc::TIOCGPTN, &raw mut number) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_other_side(_fd: c_int) -> bool {
    false
}

/// Whether poll says that a transfer need not wait, or that there is an error.
pub fn is_ready(fd: c_int, writes: bool) -> bool {
    let events = if writes { libc::POLLOUT } else { libc::POLLIN };
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry; the time-out is 0.
    unsafe { libc::poll(&raw mut entry, 1, 0) == 1 }
}

/// How long a transfer of a socket may wait (SO_RCVTIMEO, SO_SNDTIMEO). None: for ever, or no socket.
pub fn patience(fd: c_int, writes: bool) -> Option<Nanos> {
    let name = if writes { libc::SO_SNDTIMEO } else { libc::SO_RCVTIMEO };
    let time = socket_option(fd, name, libc::timeval { tv_sec: 0, tv_usec: 0 })?;
    #[allow(clippy::useless_conversion, reason = "the types are not the same everywhere")]
    let span = clock::nanos(time.tv_sec.into(), i64::from(time.tv_usec).saturating_mul(1000));
    (span > 0).then_some(span)
}

/// How many bytes a read waits for: SO_RCVLOWAT of a stream socket, else 1.
pub fn least_to_read(fd: c_int) -> usize {
    let least = socket_option(fd, libc::SO_RCVLOWAT, 1).filter(|least| *least > 1);
    let is_stream = || socket_option(fd, libc::SO_TYPE, 0) == Some(libc::SOCK_STREAM);
    least.filter(|_| is_stream()).and_then(|least: c_int| usize::try_from(least).ok()).unwrap_or(1)
}

/// None: the descriptor is no socket, or its kind has no such option.
fn socket_option<Value: Copy>(fd: c_int, name: c_int, mut value: Value) -> Option<Value> {
    let mut length = libc::socklen_t::try_from(size_of::<Value>()).unwrap_or(0);
    let place = (&raw mut value).cast();
    // SAFETY: there is room for `length` bytes; options are plain data.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, place, &raw mut length) };
    (got == 0).then_some(value)
}
