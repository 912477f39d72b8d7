//! What a request is to the order, and what it gets to know of one.

use crate::slab::Id;

/// How strictly requests of one descriptor follow each other (`order=` in the configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// What POSIX demands: barriers, appends, streams.
    Posix,
    /// The same, and requests whose byte ranges overlap.
    Overlap,
    /// Everything of one descriptor, as glibc does it. Barriers still delay nobody.
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    /// A write with O_APPEND: its range begins at the end of the file and has no end.
    Append,
    /// fdatasync; may be served by an fsync.
    DataSync,
    Sync,
}

impl Kind {
    pub fn is_barrier(self) -> bool {
        matches!(self, Kind::DataSync | Kind::Sync)
    }
}

/// Device and inode: what a barrier goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKey {
    pub device: u64,
    pub inode: u64,
}

impl FileKey {
    pub(super) fn hash(self) -> u64 {
        self.inode ^ self.device.rotate_left(32)
    }
}

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    File(FileKey),
    /// A pipe, socket or terminal: two queues, reads and writes.
    Stream,
    /// No matter what: the request will only report an error. No order.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    Ready,
    Running,
}

/// A request as it is handed in.
#[derive(Clone, Copy)]
pub struct Admission<P> {
    pub fd: i32,
    pub target: Target,
    /// What its file is known by; that of a stream, too.
    pub identity: FileKey,
    pub kind: Kind,
    /// Offset of the first byte; for an append the size of the file.
    pub position: u64,
    /// Length of the range in bytes.
    pub length: u64,
    /// 0 runs first; barriers always have 0.
    pub priority: u8,
    /// A buffered write: of those of its file one runs at a time.
    pub queued_write: bool,
    /// Goes to the kernel's own AIO, if that takes it.
    pub direct: bool,
    pub payload: P,
}

/// Instead of a descriptor's number: it has lost its own. System calls give EBADF for it.
pub const NO_NUMBER: i32 = -1;

/// Number of priorities: AIO_PRIO_DELTA_MAX is 20.
pub const PRIORITIES: usize = 21;

/// What the end of a request leaves to be done.
pub struct Finished<P> {
    pub payload: P,
    /// First error of the requests that a barrier covered, or 0.
    pub covered_error: i32,
    /// The library's own descriptor to close: its last request ended.
    pub retired: Option<i32>,
    /// The descriptor, if it was its last request.
    pub last_of: Option<i32>,
}

/// What the runner of a request needs.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub id: Id,
    /// Tells it from a later request in the same slot (`is_current`).
    pub seq: u64,
    pub fd: i32,
    pub kind: Kind,
    pub position: u64,
}
