//! Every POSIX system: pthreads, poll, pread and pwrite. QNX first; on Linux the whole test suite runs against it too.

pub mod fork;
pub mod io;
pub mod kaio;
pub mod lock;
mod page_vec;
pub mod park;
pub mod poller;
pub mod wait;
