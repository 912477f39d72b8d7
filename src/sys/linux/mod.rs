//! Linux: futex, epoll, the kernel's AIO, RWF_NOWAIT.

#[cfg_attr(not(libaio), allow(dead_code, reason = "kaio needs some of it"))]
pub mod aio_abi;
pub mod aio_ring;
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
