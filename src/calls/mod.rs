//! What the thread of a caller does: one file for each call, and what they share.

pub mod cancel;
pub mod close;
pub mod init;
pub mod inline;
pub mod listio;
mod parse;
pub mod stats;
pub mod submit;
pub mod suspend;
