//! The interface of `<libaio.h>`, over the kernel's own AIO, with syncs that keep their promise.
//!
//! ```text
//! entry ──► queue ──► kernel: reads, writes, polls, and syncs that have nothing to wait for
//!             │ records ▲
//!             ▼         │
//!           flight ──► held: syncs that wait for what was submitted before them on their file
//! ```
//!
//! `contexts` finds what belongs to a context, in memory of `pool`; `aliases` stands in for iocbs that the program has taken back too early.

pub mod abi;
mod aliases;
pub mod contexts;
pub mod entry;
mod flight;
mod held;
mod pool;
pub mod queue;
