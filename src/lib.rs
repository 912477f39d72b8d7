//! aio_rs: POSIX AIO for C programs, in place of libc's.
//!
//! A call goes down through the layers, and each layer imports only from those below it:
//!
//! ```text
//! capi                  the exported symbols
//! calls                 what a caller's thread does: submit, suspend, cancel, close, ...
//! threads     libaio    the library's own threads; the io_* interface
//! dispatch              from "ready" to "running", from "done" to "told"
//! engine                the instance: the lock, the kernel's context, fork
//! table                 what the lock protects
//! request, order, ...   what a request is, and which may run now
//! sys                   the only system calls
//! ```
#![allow(non_camel_case_types)]
// The loom tests include the few files they check; the rest would not build on loom's atomics.
#![cfg(not(loom))]

pub mod capi;

mod calls;

#[cfg(libaio)]
pub mod libaio;
mod threads;

mod dispatch;

mod engine;

mod table;

mod batch;
mod callback_pool;
mod lock_free;
mod notify;
mod order;
mod request;
mod ring_owner;
mod task;
mod worker_slot;

pub mod abi;
mod config;
#[allow(dead_code)] // the command uses the rest
mod figures;
mod load;
mod mailbox;
mod slab;
mod stack;
mod stats;
mod status;

mod sys;
