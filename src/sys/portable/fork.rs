//! On Linux this finds a child out even without fork handlers. POSIX has only those (pthread_atfork); the engine registers
//! one, and it replaces what the child has inherited. A child of `_Fork`, which runs none, is not found out.

use crate::sys::errno::Result;

pub struct Mark;

impl Mark {
    pub fn new() -> Result<Mark> {
        Ok(Mark)
    }

    /// Always: in a child the fork handler has replaced the engine, and the mark with it, before anything can ask.
    pub fn is_ours(&self) -> bool {
        true
    }
}

pub fn handler_is_registered() {}

pub fn handler_runs() {}

/// Always: a child in which no fork handler ran is not found out.
pub fn may_make_threads() -> bool {
    true
}
