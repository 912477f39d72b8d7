//! What a caller's thread does, from the call to the table and back: a file for each call.
//!
//! * [`submit`]: aio_read, aio_write and aio_fsync. `parse` reads the aiocb; [`inline`] serves what is in the page cache.
//! * [`listio`]: lio_listio. [`suspend`]: aio_suspend, and the wait of LIO_WAIT.
//! * [`cancel`]: aio_cancel. [`close`]: close and its like. [`init`]: aio_init. [`stats`]: aio_rs_stats.

pub mod cancel;
pub mod close;
pub mod init;
pub mod inline;
pub mod listio;
mod parse;
pub mod stats;
pub mod submit;
pub mod suspend;
