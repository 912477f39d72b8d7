//! Ways to do I/O on a file, one interface: the benchmark's engines.

mod kernel;
mod threads;
mod uring;

pub use kernel::Event;

use crate::aio::{self, Request};
use std::io::Result;
use std::os::fd::BorrowedFd;

/// Who does the I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// POSIX AIO, of whichever library answers.
    Posix,
    /// The kernel's own AIO.
    Kernel,
    Uring,
    /// pread and pwrite, a thread for each request in flight.
    Threads,
}

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

/// An engine with so many slots of `size` bytes. Error: the system has not, or forbids it.
pub fn open<'a>(kind: Kind, file: BorrowedFd<'a>, slots: usize, size: usize) -> Result<Box<dyn Engine + 'a>> {
    Ok(match kind {
        Kind::Posix => Box::new(Posix::new(file, slots, size)),
        Kind::Kernel => Box::new(kernel::Kernel::new(file, slots, size)?),
        Kind::Uring => Box::new(uring::Uring::new(file, slots, size)?),
        Kind::Threads => Box::new(threads::Threads::new(file, slots, size)?),
    })
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
    use std::io::Error;
    match usize::try_from(result) {
        Ok(bytes) if bytes == size => Ok(()),
        Ok(bytes) => Err(Error::other(format!("{bytes} bytes of {size}"))),
        Err(_) => Err(Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO))),
    }
}

struct Posix<'a> {
    file: BorrowedFd<'a>,
    size: usize,
    requests: Vec<Request>,
    handles: Vec<*const libc::aiocb>,
    in_flight: Vec<bool>,
    sync: Request,
}

impl<'a> Posix<'a> {
    fn new(file: BorrowedFd<'a>, slots: usize, size: usize) -> Posix<'a> {
        let requests: Vec<_> = (0..slots).map(|_| Request::new(size)).collect();
        let handles = requests.iter().map(Request::handle).collect();
        Posix { file, size, requests, handles, in_flight: vec![false; slots], sync: Request::new(0) }
    }

    fn reap(&mut self, done: &mut Vec<usize>) -> Result<()> {
        for (slot, request) in self.requests.iter_mut().enumerate() {
            if self.in_flight[slot] && !request.pending() {
                self.in_flight[slot] = false;
                whole(request.result()? as i64, self.size)?;
                done.push(slot);
            }
        }
        Ok(())
    }
}

impl Engine for Posix<'_> {
    fn submit(&mut self, slot: usize, operation: Operation, offset: usize) -> Result<()> {
        let request = &mut self.requests[slot];
        match operation {
            Operation::Read => request.read(self.file, offset)?,
            Operation::Write => request.write(self.file, offset, 0)?,
        }
        self.in_flight[slot] = true;
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> Result<()> {
        let before = done.len();
        loop {
            self.reap(done)?;
            if done.len() > before {
                return Ok(());
            }
            aio::wait_any(&self.handles);
        }
    }

    fn sync(&mut self) -> Result<()> {
        self.sync.fsync(self.file)?;
        self.sync.result().map(drop)
    }

    fn sync_is_barrier(&self) -> bool {
        true
    }
}

/// fsync by whoever calls.
fn plain_sync(file: BorrowedFd) -> Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: takes a descriptor, which is open.
    if unsafe { libc::fsync(file.as_raw_fd()) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
