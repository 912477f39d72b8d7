//! What the library's own threads do.

mod callbacks;
pub mod delivery;
mod fd_map;
mod notifier;
pub mod poller;
mod reaper;
mod spawn;
pub mod stand_in;
pub mod starter;
mod watchdog;
mod worker;
