//! The interface of `<libaio.h>`, over the kernel's own AIO, with syncs that complete after what was submitted before them on their
//! file.
//!
//! Imports go from the left to the right, and downwards:
//!
//! ```text
//! entry ► queue ► syncs ► scheduler ► resubmit       what is done: the exported functions; io_submit and its like; what they ask of
//!                                        │           the deferred syncs; when one is submitted; how
//!                                        ▼
//!                                      state         all that is kept, and the lock
//!                     ┌──────────────┬───┴──────┐
//!                     ▼              ▼          ▼
//!                  deferred ───► contexts    shadows  which syncs wait, for what; contexts by their numbers; iocbs for deferred syncs
//!                     ▼              ▼          │
//!                 duplicates  submitters, pool  │    the descriptors of deferred syncs; who is inside; memory for records
//!                                    ▼          ▼
//!                                 in_flight ► reaping  what a context has in flight, and who takes its events
//! ```
//!
//! Reads, writes and polls go to the kernel as they are, with a record in `in_flight`. A sync that finds records of its file waits
//! in `deferred` until they have ended.

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
mod state;
mod submitters;
mod syncs;
