//! From "ready" to "running", and from "done" to "told": what callers and the library's own threads have in common.

pub mod caller_reap;
pub mod complete;
pub mod deliver;
pub mod direct;
pub mod kernel_reap;
pub mod number;
pub mod run;
pub mod stream;
pub mod wakeups;
