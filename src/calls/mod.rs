//! What the thread of a caller does: one file for each call, and what they share.

pub mod cancel;
pub mod close;
pub mod inline;
pub mod listio;
pub mod submit;
pub mod suspend;
pub mod threadless;
