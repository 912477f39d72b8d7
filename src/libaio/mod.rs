//! The interface of `<libaio.h>`, over the kernel's own AIO, with syncs that keep their promise.
//!
//! ```text
//! entry ──► queue ──► kernel: reads, writes, polls, and syncs that have nothing to wait for
//!             │ records ▲
//!             ▼         │
//!         in_flight ──► scheduler: syncs that wait for what was submitted before them on their file
//! ```
//!
//! `contexts` finds what belongs to a context, in memory of `pool`, and `reaping` who takes its events. Syncs are kept in
//! `deferred`, with the descriptors in `duplicates`, and submitted by `resubmit`, with the shadow iocbs in `shadows`.

pub mod abi;
pub mod contexts;
mod deferred;
mod duplicates;
pub mod entry;
mod in_flight;
mod pool;
pub mod queue;
mod reaping;
mod resubmit;
mod scheduler;
mod shadows;
