//! Everything the library asks of the system, behind `Result<_, Errno>` and guards. Nothing outside this directory makes a
//! system call.
//!
//! What needs Linux's own calls exists twice: in `linux/` (futex, epoll, kernel AIO, RWF_NOWAIT) and, with the same names, in
//! `portable/` (pthreads, poll, pread and pwrite), which the feature `portable` selects on Linux too. All other files serve
//! every target.

pub mod cancellation;
pub mod clock;
pub mod descriptor;
pub mod environment;
pub mod errno;
pub mod hash;
pub mod inode;
pub mod memory;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub mod next;
pub mod owned_lock;
mod poller_base;
pub mod shared;
pub mod signals;
pub mod stderr;
pub mod thread;
pub mod tools;
pub mod transfer;
#[cfg(target_os = "linux")]
mod vdso;

#[cfg(all(target_os = "linux", not(feature = "portable")))]
mod linux;
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub use linux::*;

#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
mod portable;
#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
pub use portable::*;
