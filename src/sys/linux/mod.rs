//! Linux: futex, epoll, the kernel's AIO, RWF_NOWAIT.

#[cfg(libaio)]
pub mod contexts;
pub mod fork;
pub mod io;
pub mod kaio;
pub mod lock;
pub mod park;
pub mod poller;
#[cfg(libaio)]
pub mod readable;
mod spin;
pub mod syscalls;
pub mod wait;
mod wait_slots;
mod waiters;
