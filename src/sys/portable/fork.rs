//! Noticing that this process is the child of one that used the library: POSIX offers pthread_atfork, which the engine
//! registers. `_Fork` goes unnoticed here.

use crate::errno::Result;

pub struct Mark;

impl Mark {
    pub fn new() -> Result<Mark> {
        Ok(Mark)
    }

    /// Always: pthread_atfork's handler replaces the engine before anybody can ask.
    pub fn is_ours(&self) -> bool {
        true
    }
}

pub fn handler_is_registered() {}

pub fn handler_runs() {}

/// Always: see `is_ours`.
pub fn may_make_threads() -> bool {
    true
}
