//! The engines of the benchmark: ways to do I/O on a file, behind one interface.

mod interface;
mod kernel;
mod posix;
mod threads;
mod uring;

pub use interface::{Buffer, Engine, Operation, whole};
pub use kernel::Event;

use std::io::Result;
use std::os::fd::BorrowedFd;

/// What does the I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// POSIX AIO, of libc or of a preloaded library.
    Posix,
    /// The kernel's own AIO.
    Kernel,
    Uring,
    /// pread and pwrite, a thread for each request in flight.
    Threads,
}

/// Opens an engine with so many slots of `size` bytes each. Error: the system lacks or forbids it.
pub fn open<'a>(kind: Kind, file: BorrowedFd<'a>, slots: usize, size: usize) -> Result<Box<dyn Engine + 'a>> {
    Ok(match kind {
        Kind::Posix => Box::new(posix::Posix::new(file, slots, size)),
        Kind::Kernel => Box::new(kernel::Kernel::new(file, slots, size)?),
        Kind::Uring => Box::new(uring::Uring::new(file, slots, size)?),
        Kind::Threads => Box::new(threads::Threads::new(file, slots, size)?),
    })
}
