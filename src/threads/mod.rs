//! What the library's own threads do.

pub mod callbacks;
mod fd_map;
pub mod poller;
pub mod reaper;
pub mod starter;
mod watchdog;
pub mod worker;
