//! The records of requests, descriptors and files, and the lists and trees that they are in.

use super::types::{FileKey, Kind, State};
use crate::slab::{Id, NONE};

#[derive(Clone, Copy)]
pub(super) struct Links {
    pub(super) prev: Id,
    pub(super) next: Id,
}

pub(super) const UNLINKED: Links = Links { prev: NONE, next: NONE };

/// Queue of a node in its descriptor's treap, and the extremes of the subtree below it.
#[derive(Clone, Copy)]
pub(super) struct TreeLinks {
    pub(super) left: Id,
    pub(super) right: Id,
    pub(super) max_end: u64,
    pub(super) min_seq: u64,
    pub(super) max_seq: u64,
}

pub(super) const NO_TREE: TreeLinks = TreeLinks { left: NONE, right: NONE, max_end: 0, min_seq: u64::MAX, max_seq: 0 };

pub(super) struct Node<P> {
    pub(super) payload: P,
    /// Number in the order of submission, from 1.
    pub(super) seq: u64,
    pub(super) position: u64,
    /// What others must not overlap: [start, end).
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) tree_links: TreeLinks,
    /// In one of the lists of its file.
    pub(super) in_file: Links,
    /// In a ready list, or among the waiters of its blocker.
    pub(super) in_queue: Links,
    /// First of those whose blocker is this one.
    pub(super) waiters: List,
    pub(super) blocker: Id,
    pub(super) desc: Id,
    /// Barriers: the first error among the covered requests, or 0.
    pub(super) error: i32,
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) priority: u8,
    /// A request of a stream or for the kernel's AIO that was handed to the workers instead.
    pub(super) for_worker: bool,
    pub(super) queued_write: bool,
    pub(super) direct: bool,
    /// Which treap of its descriptor it belongs to; None: it conflicts with nobody.
    pub(super) tree: Option<Tree>,
    /// Stands there.
    pub(super) in_tree: bool,
}

/// A descriptor with unfinished requests.
pub(super) struct Desc {
    pub(super) fd: i32,
    pub(super) file: Id,
    pub(super) trees: Trees,
    /// Requests that are in no treap: reads while nothing is written, or queued writes of one priority, which run in call order
    /// anyway.
    pub(super) untracked_reads: u32,
    pub(super) untracked_writes: u32,
    pub(super) untracked_priority: u8,
    pub(super) unfinished: u32,
    pub(super) identity: FileKey,
    pub(super) target_is_stream: bool,
    /// For requests that will only report an error: they use no file, and must not stand for those that do.
    pub(super) of_nothing: bool,
    /// The library's own duplicate of a descriptor that the program closed.
    pub(super) private: bool,
}

/// A file with unfinished requests; every stream counts as a file of its own.
pub(super) struct File {
    pub(super) key: Option<FileKey>,
    /// Reads and writes in the order of submission.
    pub(super) requests: List,
    /// Barriers in the order of submission: those that wait, are ready, run.
    pub(super) waiting: List,
    pub(super) ready: List,
    pub(super) running: List,
    /// Whether the head of `ready` stands in a ready queue.
    pub(super) leader_queued: bool,
    /// Of the buffered writes: the one that is ready or runs, and those that wait behind it, once there are any.
    pub(super) active_write: Id,
    pub(super) write_queue: Id,
    pub(super) descs: u32,
}

#[derive(Clone, Copy)]
pub(super) struct List {
    pub(super) head: Id,
    pub(super) tail: Id,
}

pub(super) const EMPTY: List = List { head: NONE, tail: NONE };

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    Reads,
    Writes,
}

/// Roots of the treaps of a descriptor's ranges.
#[derive(Clone, Copy)]
pub(super) struct Trees {
    pub(super) reads: Id,
    pub(super) writes: Id,
}

impl Trees {
    pub(super) fn root(&mut self, tree: Tree) -> &mut Id {
        match tree {
            Tree::Reads => &mut self.reads,
            Tree::Writes => &mut self.writes,
        }
    }
}

/// The lists that a request can be in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ListName {
    Requests(Id),
    Barriers(Id, State),
    Waiters(Id),
    Ready(usize),
    WriteQueue(Id, usize),
    Streams,
    Direct,
    Blocking,
}

impl ListName {
    pub(super) fn is_for_workers(self) -> bool {
        !matches!(self, ListName::Streams | ListName::Direct | ListName::Blocking)
    }

    pub(super) fn is_for_blocked(self) -> bool {
        matches!(self, ListName::Waiters(_) | ListName::Barriers(_, State::Waiting))
    }
}

pub(super) fn fd_key(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
}

pub(super) fn file_hash(file: &File) -> u64 {
    file.key.map_or(0, FileKey::hash)
}

pub(super) fn some(id: Id) -> Option<Id> {
    (id != NONE).then_some(id)
}
