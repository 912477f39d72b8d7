//! What the library's own threads do.
//!
//! * [`starter`] makes all other threads; `spawn` makes the starter.
//! * `worker` runs requests. A worker that has nothing else to do may take a role: [`poller`] (waits for streams), `reaper` (sees that
//!   somebody takes the results of the kernel's AIO), `watchdog` (notices that a worker is blocked), `notifier` (delivers what could
//!   not be delivered at once).
//! * `callbacks` are the threads of the program's functions; [`delivery`] hands functions to them.
//! * [`run_inline`] lets a thread with a role run requests when there is no other.
//! * [`threadless`] is for a process that can have no threads: callers do all this themselves.

mod callbacks;
pub mod delivery;
mod fd_map;
mod notifier;
pub mod poller;
mod reaper;
pub mod run_inline;
mod spawn;
pub mod starter;
pub mod threadless;
mod watchdog;
mod worker;
