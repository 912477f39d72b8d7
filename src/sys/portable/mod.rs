//! Every POSIX system, QNX above all: pthreads, poll, pread and pwrite. The test suite runs it on Linux.

pub mod fork;
pub mod io;
pub mod kaio;
pub mod lock;
mod page_vec;
pub mod park;
pub mod poller;
pub mod wait;
