//! A request as whoever runs it needs it.

use crate::order::{FileKey, Kind};
use crate::request::{Buffer, Handle};
use crate::slab::Id;
use crate::sys::clock::Nanos;
use crate::sys::descriptor::FdKind;

/// A request as a worker needs it: nothing of the table is looked at while it runs.
#[derive(Clone, Copy)]
pub struct Task {
    pub id: Id,
    pub seq: u64,
    pub handle: Handle,
    pub fd: i32,
    pub identity: FileKey,
    pub kind: Kind,
    pub fd_kind: FdKind,
    pub asked: Nanos,
    pub buffer: Buffer,
    pub count: usize,
    /// Stream writes: bytes already out.
    pub progress: usize,
    pub nonblocking: bool,
    pub unbuffered: bool,
    /// No other of its class runs: how long it takes says something about the class.
    pub alone: bool,
    pub position: u64,
    pub early_error: i32,
}
