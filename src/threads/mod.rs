//! What the library's own threads do.

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
