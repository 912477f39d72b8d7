//! aio_rs: POSIX AIO for C programs, in place of libc's.
//!
//! The modules stand in the order in which a request meets them:
//!
//! ```text
//! entry ──► submit ─┬─► request ──► reception ──► order ──► route ──► complete ──► notify, wait
//! C ABI     serves  │   copy and    an inbox      may it    direct    publish      signal, thread;
//!           cached  ▼   validate    (no lock)     run yet?  stream    the status   futex
//!           reads: route::inline                            worker
//! ```
//!
//! `listio`, `cancel` and `close` are the other calls of the family; `files` is the table that all of them share, and its
//! lock; `engine` makes it, and replaces it after fork. System calls are in `sys` only. `libaio` is another way in, with its
//! own map.
#![allow(non_camel_case_types)]
// The loom tests include the few files they check; the rest would not build on loom's atomics.
#![cfg(not(loom))]

pub mod abi;
pub mod entry;
mod errno;
mod status;

mod request;

mod reception;

mod close;
mod listio;
mod submit;

mod files;
mod order;
mod slab;
mod stack;

mod route;

mod callbacks;
mod complete;
mod mailbox;
mod notify;

mod cancel;
mod wait;

#[cfg(libaio)]
pub mod libaio;

mod config;
mod engine;
#[allow(dead_code)] // the command uses the rest
mod figures;
mod stats;
mod sys;
