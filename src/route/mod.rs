//! Where a request that may run goes.
//!
//! * [`inline`] — a buffered read that is in the page cache, served inside the call.
//! * [`direct`] — O_DIRECT, submitted by the caller to the kernel's own AIO; [`attend`], [`reaper`] — who takes the results.
//! * [`stream`] — a descriptor that can block for ever waits in one poller, never in a worker.
//! * [`number`] — what a worker and the poller see to first: that the descriptor is still there.
//! * [`threadless`] — a child of `_Fork`, where the calls do all that themselves.
//! * [`worker`] — everything else; `pace` says how many at a time, `burst` what one takes at once, and `watch` looks
//!   after them.

pub mod attend;
mod burst;
pub mod direct;
mod fd_map;
pub mod inline;
pub mod number;
mod pace;
pub mod reaper;
pub mod starter;
pub mod stream;
pub mod threadless;
mod watch;
pub mod worker;
