//! The interface of `<libaio.h>`, over the kernel's own AIO, with syncs that keep their promise.
//!
//! ```text
//! entry ──► queue ──► kernel: reads, writes, polls, and syncs that have nothing to wait for
//!             │ records ▲
//!             ▼         │
//!           flight ──► held: syncs that wait for what was submitted before them on their file
//! ```
//!
//! `contexts` finds what belongs to a context, in memory of `pool`, and `reaping` who takes its events. Syncs are kept in
//! `deferred`, with the descriptors in `kept`, and submitted by `handing`, with the shadow iocbs in `aliases`.

pub mod abi;
mod aliases;
pub mod contexts;
mod deferred;
pub mod entry;
mod flight;
mod handing;
mod held;
mod kept;
mod pool;
pub mod queue;
mod reaping;
