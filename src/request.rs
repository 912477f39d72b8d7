//! A request, and what it has of its caller's aiocb.

use std::ptr;

use libc::{c_int, c_void};

use crate::abi::aiocb;
use crate::notify::Notify;
use crate::order::Admission;
use crate::slab::{Id, NONE};
use crate::sys::clock::{self, Nanos};
use crate::sys::descriptor::FdKind;
use crate::sys::errno::{Errno, Result};

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    DataSync,
    Sync,
}

impl Operation {
    /// aio_fsync's first argument. Error: EINVAL.
    pub fn sync(op: c_int) -> Result<Operation> {
        match op {
            libc::O_SYNC => Ok(Operation::Sync),
            libc::O_DSYNC => Ok(Operation::DataSync),
            _ => Err(Errno::INVAL),
        }
    }
}

/// A caller's aiocb: a name, and two status words that belong to the library until the request ends.
#[derive(Clone, Copy)]
pub struct Handle(*const aiocb);

// SAFETY: the status words are atomics, and POSIX keeps the aiocb in place until the request has ended.
unsafe impl Send for Handle {}

impl Handle {
    /// Error: EINVAL for NULL.
    pub fn new(block: *const aiocb) -> Result<Handle> {
        if block.is_null() { Err(Errno::INVAL) } else { Ok(Handle(block)) }
    }

    /// What a request is known by while it is unfinished.
    pub fn key(self) -> u64 {
        u64::try_from(self.0.addr()).unwrap_or(0)
    }

    /// # Safety
    /// The caller of the library has handed the aiocb in and it has not been told that the request ended.
    pub unsafe fn block<'a>(self) -> &'a aiocb {
        // SAFETY: the caller's promise, and it is not NULL.
        unsafe { &*self.0 }
    }
}

/// The caller's buffer. Only the kernel follows this pointer.
#[derive(Clone, Copy)]
pub struct Buffer(pub *mut c_void);

// SAFETY: POSIX gives the buffer to the library until the request has ended.
unsafe impl Send for Buffer {}

/// Who may use the number of a request's descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// Nobody yet, or nobody any more: a system call has its file.
    Nobody,
    /// The thread with this number runs it.
    Thread(i32),
    /// Its submitter is handing it to the kernel's AIO.
    Submitter,
    /// It is in a worker's batch, and perhaps not started.
    Batch,
}

/// A request: a copy of all that matters, so that the caller may do what it likes with the aiocb's fields.
#[derive(Clone, Copy)]
pub struct Request {
    pub handle: Handle,
    pub buffer: Buffer,
    /// The descriptor's number at that time.
    pub submitted_on: i32,
    /// Bytes to transfer; of a stream write what is left of them.
    pub count: usize,
    /// Stream writes: bytes already out. Reads: bytes already in. Barriers: when it was submitted.
    pub progress: u64,
    pub notify: Notify,
    /// The lio_listio call it belongs to, or NONE.
    pub list_call: Id,
    pub runner: Runner,
    /// It was started with a number that its descriptor no longer has.
    pub on_old_number: bool,
    /// An error found at submission, to be reported as the request's; or 0.
    pub early_error: i16,
    pub fd_kind: FdKind,
    /// When its descriptor was asked for its file. (0: not known.)
    pub asked: Nanos,
    pub nonblocking: bool,
    /// The transfer does not end in the page cache: O_DIRECT, a write with O_SYNC or O_DSYNC, or a stream.
    pub unbuffered: bool,
    /// Its descriptor's flags were not asked for (`describe`).
    pub flags_assumed: bool,
    /// A stream read whose descriptor is being closed: it is cancelled when it would have to wait.
    pub abandoned: bool,
}

impl Request {
    /// A request of a file, of which nothing else is known yet.
    pub fn new(handle: Handle, submitted_on: i32, notify: Notify) -> Request {
        Request {
            handle,
            buffer: Buffer(ptr::null_mut()),
            submitted_on,
            count: 0,
            progress: 0,
            notify,
            list_call: NONE,
            runner: Runner::Nobody,
            on_old_number: false,
            early_error: 0,
            fd_kind: FdKind::File,
            asked: 0,
            nonblocking: false,
            unbuffered: false,
            flags_assumed: false,
            abandoned: false,
        }
    }

    /// Notes who runs it, with the number that its descriptor has now.
    pub fn run_by(&mut self, runner: Runner) {
        (self.runner, self.on_old_number) = (runner, false);
    }
}

/// Whether it is to reach the device, or to come from there, so that it will not be over in a moment.
pub fn waits_for_device(new: &Admission<Request>) -> bool {
    new.kind.is_barrier() || new.payload.unbuffered && new.payload.fd_kind == FdKind::File
}

/// How long a barrier has been in the library, in nanoseconds.
pub fn waited(request: &Request) -> Nanos {
    clock::now().saturating_sub(request.progress)
}
