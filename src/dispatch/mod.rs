//! From "ready" to "running", and from "done" to "told": what callers and the library's own threads have in common.
//!
//! * [`wakeups`]: whom to wake after a lock section.
//! * [`run`] makes the transfer of a file, [`stream`] that of a stream; both first ask [`confirm_fd`] whether the descriptor still
//!   refers to the request's file.
//! * [`kernel_submit`] hands O_DIRECT transfers to the kernel's AIO, [`kernel_reap`] takes their results, and with [`caller_reap`] a
//!   caller that waits does so itself.
//! * [`complete`] ends a request and tells waiters; [`deliver`] sends its notification.

pub mod caller_reap;
pub mod complete;
pub mod confirm_fd;
pub mod deliver;
pub mod kernel_reap;
pub mod kernel_submit;
pub mod run;
pub mod stream;
pub mod wakeups;
