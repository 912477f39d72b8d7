//! Which request may run now? A pure state machine: no locks, no I/O, no allocation per request.
//!
//! A request moves Waiting → Ready → Running → gone. It is Waiting for one of two reasons:
//! * an older request of its descriptor that it must not overtake (overlapping ranges with a write among them, appends,
//!   streams). It hangs on *one* such request, its blocker; when that ends, it looks for the next.
//! * it is a barrier (fsync), and older requests of its *file* are unfinished. A file keeps its requests in the order of
//!   submission, so the oldest barrier may run when the oldest request is younger than it.
//!
//! Buffered writes of one file take turns: the kernel would run them one after the other anyway, and more workers would only
//! get in each other's way there. Those that are ready and have to wait for their turn stand in line, by priority.
//!
//! Nothing younger ever waits for a barrier. Barriers of one file that are ready together form a group, which one fsync
//! serves; those that become ready while it runs form the next group.
//!
//! Cost per request is O(log n): each descriptor keeps the ranges of its unfinished requests in two treaps (reads, writes)
//! whose nodes know the extremes of their subtrees. A descriptor that is only read, or only written in turn, needs none: its
//! first few requests stay out, until one comes that has to ask.

use crate::errno::{Errno, Result};
use crate::slab::{Id, Index, NONE, Slab, corrupt};
use crate::sys::hash::mix;

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
    fn hash(self) -> u64 {
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
    /// Runs at the same time as no other such request of its file.
    pub takes_turns: bool,
    /// Goes to the kernel's own AIO, if that takes it.
    pub direct: bool,
    pub payload: P,
}

#[derive(Clone, Copy)]
struct Links {
    prev: Id,
    next: Id,
}

const UNLINKED: Links = Links { prev: NONE, next: NONE };

/// Place of a node in its descriptor's treap, and the extremes of the subtree below it.
#[derive(Clone, Copy)]
struct TreeLinks {
    left: Id,
    right: Id,
    max_end: u64,
    min_seq: u64,
    max_seq: u64,
}

const NO_TREE: TreeLinks = TreeLinks { left: NONE, right: NONE, max_end: 0, min_seq: u64::MAX, max_seq: 0 };

struct Node<P> {
    payload: P,
    /// Number in the order of submission, from 1.
    seq: u64,
    position: u64,
    /// What others must not overlap: [start, end).
    start: u64,
    end: u64,
    tree: TreeLinks,
    /// In one of the lists of its file.
    in_file: Links,
    /// In a ready list, or among the waiters of its blocker.
    in_queue: Links,
    /// First of those whose blocker is this one.
    waiters: List,
    blocker: Id,
    desc: Id,
    /// Barriers: the first error among the covered requests, or 0.
    error: i32,
    kind: Kind,
    state: State,
    priority: u8,
    /// A request of a stream or for the kernel's AIO that was handed to the workers instead.
    for_worker: bool,
    takes_turns: bool,
    direct: bool,
    /// Which treap of its descriptor it belongs to; None: it conflicts with nobody.
    lane: Option<Lane>,
    /// Stands there.
    in_tree: bool,
}

/// A descriptor with unfinished requests.
struct Desc {
    fd: i32,
    file: Id,
    trees: Trees,
    /// Requests that no treap knows, because nobody has asked so far: reads, or writes that take turns and have the same
    /// priority, so that they run in call order anyway.
    untracked_reads: u32,
    untracked_writes: u32,
    untracked_priority: u8,
    unfinished: u32,
    identity: FileKey,
    target_is_stream: bool,
    /// For requests that will only report an error: they use no file, and must not stand for those that do.
    of_nothing: bool,
    /// The library's own duplicate of a descriptor that the program closed.
    private: bool,
}

/// A file with unfinished requests; every stream counts as a file of its own.
struct File {
    key: Option<FileKey>,
    /// Reads and writes in the order of submission.
    requests: List,
    /// Barriers in the order of submission: those that wait, are ready, run.
    waiting: List,
    ready: List,
    running: List,
    /// Whether the head of `ready` stands in a ready queue.
    leader_queued: bool,
    /// Of the requests that take turns: the one whose turn it is, and those in line, once there are any.
    turn: Id,
    line: Id,
    descs: u32,
}

#[derive(Clone, Copy)]
struct List {
    head: Id,
    tail: Id,
}

const EMPTY: List = List { head: NONE, tail: NONE };

/// Instead of a descriptor's number: it has lost its own. System calls give EBADF for it.
pub const NO_NUMBER: i32 = -1;

/// How many requests of a descriptor may stay out of its treaps: all go in at once when somebody asks.
const MOST_UNTRACKED_READS: u32 = if cfg!(test) { 3 } else { 1024 };
const MOST_UNTRACKED_WRITES: u32 = if cfg!(test) { 3 } else { 64 };

/// Number of priorities: AIO_PRIO_DELTA_MAX is 20.
pub const PRIORITIES: usize = 21;

/// What is left of a finished request.
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

pub struct Order<P> {
    policy: Policy,
    /// Whether there is a poller for streams; otherwise workers serve them, too.
    polls: bool,
    nodes: Slab<Node<P>>,
    descs: Slab<Desc>,
    files: Slab<File>,
    /// Requests in line, by priority.
    lines: Slab<[List; PRIORITIES]>,
    by_fd: Index,
    by_file: Index,
    seq: u64,
    /// Requests that a worker could run now, by priority.
    ready: [List; PRIORITIES],
    /// Those, and those that stand in line.
    ready_count: usize,
    /// Requests and barriers that wait for others.
    blocked_count: usize,
    /// Requests for the poller.
    streams: List,
    /// Requests for the kernel's AIO.
    direct: List,
    /// Requests of streams that may block their thread for ever.
    blocking: List,
}

impl<P: Copy> Order<P> {
    pub fn new(policy: Policy, polls: bool) -> Order<P> {
        Order {
            policy,
            polls,
            nodes: Slab::new(),
            descs: Slab::new(),
            files: Slab::new(),
            lines: Slab::new(),
            by_fd: Index::new(),
            by_file: Index::new(),
            seq: 0,
            ready: [EMPTY; PRIORITIES],
            ready_count: 0,
            blocked_count: 0,
            streams: EMPTY,
            direct: EMPTY,
            blocking: EMPTY,
        }
    }

    /// Number of unfinished requests.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Number of requests that wait for a worker, or stand in line for one.
    pub fn ready_count(&self) -> usize {
        self.ready_count
    }

    /// Number of requests and barriers that wait for others.
    pub fn blocked_count(&self) -> usize {
        self.blocked_count
    }

    /// What `next_ready` would start.
    pub fn first_ready(&self) -> Option<Id> {
        if self.ready_count == 0 {
            return None;
        }
        self.ready.iter().find(|list| list.head != NONE).map(|list| list.head)
    }

    pub fn has_stream_work(&self) -> bool {
        self.streams.head != NONE
    }

    pub fn has_direct_work(&self) -> bool {
        self.direct.head != NONE
    }

    pub fn has_blocking_work(&self) -> bool {
        self.blocking.head != NONE
    }

    pub fn payload(&self, id: Id) -> &P {
        &self.nodes[id].payload
    }

    pub fn payload_mut(&mut self, id: Id) -> &mut P {
        &mut self.nodes[id].payload
    }

    pub fn state(&self, id: Id) -> State {
        self.nodes[id].state
    }

    pub fn seq(&self, id: Id) -> u64 {
        self.nodes[id].seq
    }

    /// The number of the request that was admitted last.
    pub fn newest_seq(&self) -> u64 {
        self.seq
    }

    /// Whether a file has unfinished requests, or barriers, that are no younger than this one.
    #[cfg(libaio)]
    pub fn has_unfinished_up_to(&self, key: FileKey, seq: u64) -> bool {
        let file = self.by_file.find(key.hash(), |id| self.files[id].key == Some(key));
        file.is_some_and(|file| {
            let File { requests, waiting, ready, running, .. } = &self.files[file];
            let oldest = [requests, waiting, ready, running].map(|list| list.head);
            oldest.into_iter().any(|id| id != NONE && self.nodes[id].seq <= seq)
        })
    }

    pub fn kind(&self, id: Id) -> Kind {
        self.nodes[id].kind
    }

    /// Whether a request is the only one of its descriptor.
    pub fn is_only_one(&self, id: Id) -> bool {
        self.descs[self.nodes[id].desc].unfinished == 1
    }

    /// The descriptor that a request goes to now (its own number, or the duplicate that `detach` gave it).
    pub fn fd(&self, id: Id) -> i32 {
        self.descs[self.nodes[id].desc].fd
    }

    /// What a request's file is known by.
    pub fn identity(&self, id: Id) -> FileKey {
        self.descs[self.nodes[id].desc].identity
    }

    /// Whether a number has requests, but of another file than this one is for.
    pub fn is_replaced(&self, new: &Admission<P>) -> bool {
        new.target != Target::Nothing && self.desc_of_fd(new.fd).is_some_and(|desc| !self.names(desc, new))
    }

    /// `count` more requests are expected. Error: ENOMEM.
    pub fn prepare_for(&mut self, count: usize) -> Result<()> {
        self.nodes.reserve(count)
    }

    /// Room for `count` more requests, whatever they refer to: their admission cannot fail. Error: ENOMEM.
    pub fn make_room(&mut self, count: usize) -> Result<()> {
        self.nodes.reserve(count)?;
        self.descs.reserve(count)?;
        self.files.reserve(count)?;
        self.reserve_lines(count)?;
        let (descs, files) = (&self.descs, &self.files);
        self.by_fd.reserve(count, |id| fd_key(descs[id].fd))?;
        self.by_file.reserve(count, |id| file_hash(&files[id]))
    }

    /// Each file may come to need one when requests end, and so may `count` more.
    fn reserve_lines(&mut self, count: usize) -> Result<()> {
        self.lines.reserve((self.files.len() + count).saturating_sub(self.lines.len()))
    }

    // ---- admission ----

    /// Takes in a request. Errors: ENOMEM, and then nothing has changed.
    pub fn admit(&mut self, new: &Admission<P>) -> Result<Id> {
        self.nodes.reserve(1)?;
        self.reserve_lines(1)?;
        let desc = self.desc_for(new)?;
        self.seq += 1;
        let lane = self.lane(new, desc);
        let whole = self.is_whole(desc);
        let (start, end) = if whole { (0, u64::MAX) } else { (new.position, new.position.saturating_add(new.length)) };
        let id = self.nodes.insert(Node {
            payload: new.payload,
            seq: self.seq,
            position: new.position,
            start,
            end,
            tree: NO_TREE,
            in_file: UNLINKED,
            in_queue: UNLINKED,
            waiters: EMPTY,
            blocker: NONE,
            desc,
            error: 0,
            kind: new.kind,
            state: State::Waiting,
            priority: new.priority,
            for_worker: new.target == Target::Stream && !self.polls,
            takes_turns: new.takes_turns,
            direct: new.direct,
            lane,
            in_tree: false,
        });
        self.descs[desc].unfinished += 1;
        if new.kind.is_barrier() {
            self.admit_barrier(id)
        } else {
            self.admit_request(id)
        }
        Ok(id)
    }

    fn admit_barrier(&mut self, id: Id) {
        let file = self.file_of(id);
        self.nodes[id].priority = 0;
        self.push(Place::Barriers(file, State::Waiting), id);
        self.release_barriers(file);
    }

    fn admit_request(&mut self, id: Id) {
        let file = self.file_of(id);
        self.push(Place::Requests(file), id);
        let Some(lane) = self.nodes[id].lane else { return self.make_ready(id) };
        if self.stays_untracked(id, lane) {
            return self.make_ready(id);
        }
        self.track_others(id, lane);
        match self.latest_conflict(id) {
            Some(blocker) => self.wait_for(id, blocker),
            None => self.make_ready(id),
        }
        self.track(id, lane);
    }

    /// Counts a request that has nobody to wait for: a read where nothing is written, a write in turn where nothing else
    /// happens.
    fn stays_untracked(&mut self, id: Id, lane: Lane) -> bool {
        let Node { desc, priority, takes_turns, .. } = self.nodes[id];
        let whole = self.is_whole(desc);
        let desc = &mut self.descs[desc];
        if whole || desc.trees.writes != NONE {
            return false;
        }
        match lane {
            Lane::Reads if desc.untracked_writes == 0 && desc.untracked_reads < MOST_UNTRACKED_READS => {
                desc.untracked_reads += 1;
                true
            }
            Lane::Writes if takes_turns && desc.untracked_writes < MOST_UNTRACKED_WRITES => {
                let joins = match desc.untracked_writes {
                    0 => desc.untracked_reads == 0 && desc.trees.reads == NONE,
                    _ => desc.untracked_priority == priority,
                };
                if joins {
                    desc.untracked_priority = priority;
                    desc.untracked_writes += 1;
                }
                joins
            }
            _ => false,
        }
    }

    /// Somebody asks: what is untracked and may concern it goes into the treaps.
    fn track_others(&mut self, newcomer: Id, lane: Lane) {
        let desc = self.nodes[newcomer].desc;
        let Desc { untracked_reads, untracked_writes, file, .. } = self.descs[desc];
        let reads = if lane == Lane::Writes { untracked_reads } else { 0 };
        let mut left = reads + untracked_writes;
        let mut id = self.files[file].requests.head;
        while left > 0 && id != newcomer && id != NONE {
            let node = &self.nodes[id];
            if let Some(lane) = node.lane
                && node.desc == desc
                && !node.in_tree
            {
                *self.untracked(desc, lane) -= 1;
                self.track(id, lane);
                left -= 1;
            }
            id = self.nodes[id].in_file.next;
        }
    }

    fn untracked(&mut self, desc: Id, lane: Lane) -> &mut u32 {
        let desc = &mut self.descs[desc];
        match lane {
            Lane::Reads => &mut desc.untracked_reads,
            Lane::Writes => &mut desc.untracked_writes,
        }
    }

    fn track(&mut self, id: Id, lane: Lane) {
        self.nodes[id].in_tree = true;
        let desc = self.nodes[id].desc;
        let root = *self.descs[desc].trees.root(lane);
        *self.descs[desc].trees.root(lane) = self.tree_insert(root, id);
    }

    fn untrack(&mut self, id: Id) {
        let Some(lane) = self.nodes[id].lane else { return };
        let desc = self.nodes[id].desc;
        if self.nodes[id].in_tree {
            let root = *self.descs[desc].trees.root(lane);
            *self.descs[desc].trees.root(lane) = self.tree_remove(root, id);
        } else {
            *self.untracked(desc, lane) -= 1;
        }
    }

    /// The descriptor's record. A number that names another file than its unfinished requests do was closed behind the
    /// library's back: it gets a new record, and they have none any more.
    fn desc_for(&mut self, new: &Admission<P>) -> Result<Id> {
        let Admission { fd, target, identity, .. } = *new;
        let known = self.find_desc(fd, target == Target::Nothing);
        if let Some(desc) = known.filter(|desc| self.names(*desc, new)) {
            return Ok(desc);
        }
        self.descs.reserve(1)?;
        self.files.reserve(1)?;
        let descs = &self.descs;
        self.by_fd.reserve(1, |id| fd_key(descs[id].fd))?;
        let file = self.file_for(target)?;
        // Nothing has changed until here, and from here on nothing fails.
        self.files[file].descs += 1;
        if known.is_some() {
            self.orphan(fd);
        }
        let target_is_stream = target == Target::Stream;
        let desc = self.descs.insert(Desc {
            fd,
            file,
            trees: Trees { reads: NONE, writes: NONE },
            untracked_reads: 0,
            untracked_writes: 0,
            untracked_priority: 0,
            unfinished: 0,
            identity,
            target_is_stream,
            of_nothing: target == Target::Nothing,
            private: false,
        });
        self.by_fd.insert(fd_key(fd), desc);
        Ok(desc)
    }

    fn names(&self, desc: Id, new: &Admission<P>) -> bool {
        let desc = &self.descs[desc];
        match new.target {
            Target::File(key) => self.files[desc.file].key == Some(key),
            Target::Stream => desc.target_is_stream && desc.identity == new.identity,
            Target::Nothing => desc.of_nothing,
        }
    }

    fn file_for(&mut self, target: Target) -> Result<Id> {
        let key = match target {
            Target::File(key) => Some(key),
            Target::Stream | Target::Nothing => None,
        };
        if let Some(key) = key {
            let files = &self.files;
            self.by_file.reserve(1, |id| file_hash(&files[id]))?;
            if let Some(file) = self.by_file.find(key.hash(), |id| files[id].key == Some(key)) {
                return Ok(file);
            }
        }
        let file = self.files.insert(File {
            key,
            requests: EMPTY,
            waiting: EMPTY,
            ready: EMPTY,
            running: EMPTY,
            leader_queued: false,
            turn: NONE,
            line: NONE,
            descs: 0,
        });
        if let Some(key) = key {
            self.by_file.insert(key.hash(), file);
        }
        Ok(file)
    }

    fn desc_of_fd(&self, fd: i32) -> Option<Id> {
        self.find_desc(fd, false)
    }

    fn find_desc(&self, fd: i32, of_nothing: bool) -> Option<Id> {
        self.by_fd.find(fd_key(fd), |id| self.descs[id].fd == fd && self.descs[id].of_nothing == of_nothing)
    }

    fn forget_fd(&mut self, desc: Id) {
        let descs = &self.descs;
        self.by_fd.remove(fd_key(descs[desc].fd), desc, |id| fd_key(descs[id].fd));
    }

    fn file_of(&self, id: Id) -> Id {
        self.descs[self.nodes[id].desc].file
    }

    // ---- running ----

    /// The next request for a worker. A barrier comes with its group (`group_next`).
    pub fn next_ready(&mut self) -> Option<Run> {
        let id = self.first_ready()?;
        self.unqueue_ready(id);
        if self.nodes[id].kind.is_barrier() {
            return Some(self.start_group(id));
        }
        Some(self.start(id))
    }

    /// The next request for the poller.
    pub fn next_stream(&mut self) -> Option<Run> {
        self.start_head(self.streams)
    }

    /// The next request of a stream for a thread of its own.
    pub fn next_blocking(&mut self) -> Option<Run> {
        self.start_head(self.blocking)
    }

    fn start_head(&mut self, queue: List) -> Option<Run> {
        let id = some(queue.head)?;
        self.unqueue_ready(id);
        Some(self.start(id))
    }

    /// A request for the kernel's AIO, which only its submitter hands over. None: it waits, or went another way meanwhile.
    pub fn start_direct(&mut self, id: Id, seq: u64) -> Option<Run> {
        let is_there =
            self.is_current(id, seq) && self.state(id) == State::Ready && self.ready_place(id) == Place::Direct;
        is_there.then(|| {
            self.unqueue_ready(id);
            self.start(id)
        })
    }

    fn start(&mut self, id: Id) -> Run {
        self.nodes[id].state = State::Running;
        let node = &self.nodes[id];
        Run { id, seq: node.seq, fd: self.fd(id), kind: node.kind, position: node.position }
    }

    /// All ready barriers of the file run together; one fsync among them makes it an fsync.
    fn start_group(&mut self, leader: Id) -> Run {
        let file = self.file_of(leader);
        let group = std::mem::replace(&mut self.files[file].ready, EMPTY);
        self.files[file].leader_queued = false;
        self.files[file].running = group;
        let mut kind = Kind::DataSync;
        let mut id = group.head;
        while id != NONE {
            self.nodes[id].state = State::Running;
            if self.nodes[id].kind == Kind::Sync {
                kind = Kind::Sync;
            }
            id = self.nodes[id].in_file.next;
        }
        Run { kind, ..self.start(leader) }
    }

    /// The next barrier of a running group. The group stays as it is until its members finish.
    pub fn group_next(&self, id: Id) -> Option<Id> {
        some(self.nodes[id].in_file.next)
    }

    /// Whether a request that its runner put aside is still there.
    pub fn is_current(&self, id: Id, seq: u64) -> bool {
        self.nodes.get(id).is_some_and(|node| node.seq == seq)
    }

    /// The same by the lower half of its number.
    pub fn is_current_by_half(&self, id: Id, half: u32) -> bool {
        self.nodes.get(id).is_some_and(|node| u32::try_from(node.seq & u64::from(u32::MAX)) == Ok(half))
    }

    /// Whether the kernel's AIO may have a request and give it back, for a worker.
    pub fn may_come_back(&self, id: Id) -> bool {
        let node = &self.nodes[id];
        node.direct && !node.for_worker
    }

    /// The poller found nothing to do for a read at the head of a stream: it may be cancelled again.
    pub fn park(&mut self, id: Id) {
        self.nodes[id].state = State::Waiting;
    }

    /// The poller takes up a parked request; its descriptor may have another number by now.
    pub fn unpark(&mut self, id: Id) -> Run {
        self.start(id)
    }

    /// Whether the poller is trying a read just now, without waiting.
    pub fn is_tried(&self, id: Id) -> bool {
        let node = &self.nodes[id];
        let by_poller = self.descs[node.desc].target_is_stream && !node.for_worker;
        by_poller && node.kind == Kind::Read && node.state == State::Running
    }

    /// A request that waits at the poller starts anew there.
    pub fn send_to_poller(&mut self, id: Id) {
        self.make_ready(id);
    }

    /// A request that the poller or the kernel's AIO cannot serve goes to the workers after all.
    pub fn send_to_worker(&mut self, id: Id) {
        self.nodes[id].for_worker = true;
        self.make_ready(id);
    }

    /// The next in line behind a request that has the turn and runs; it takes over the turn. For one who runs them one after
    /// the other. None: there is no other, or something more urgent is ready.
    pub fn next_in_line(&mut self, holder: Id) -> Option<Run> {
        let file = self.file_of(holder);
        if self.files[file].turn != holder {
            return None;
        }
        let next = self.head_of_line(file)?;
        let more_urgent = usize::from(self.nodes[next].priority);
        if self.ready.iter().take(more_urgent).any(|list| list.head != NONE) {
            return None;
        }
        self.unqueue_ready(next);
        self.files[file].turn = next;
        Some(self.start(next))
    }

    /// A request that was taken, but not started. `before`: the one that was taken before it; if it took the turn from that, it
    /// gives it back. Not for barriers. Of several the last one first.
    pub fn put_back(&mut self, id: Id, before: Option<Id>) {
        let file = self.file_of(id);
        if self.files[file].turn != id || self.files[file].line == NONE {
            return self.make_ready(id);
        }
        self.nodes[id].state = State::Ready;
        let before = before.filter(|before| self.file_of(*before) == file);
        self.files[file].turn = before.unwrap_or(NONE);
        self.back_to_line(id);
        if before.is_none() {
            self.pass_turn(file);
        }
    }

    // ---- the end of a request ----

    /// Takes a request out, with its error if it failed, and makes its successors ready.
    pub fn finish(&mut self, id: Id, error: Option<Errno>) -> Finished<P> {
        let file = self.file_of(id);
        if self.nodes[id].kind.is_barrier() {
            self.leave_barriers(file, id);
        } else {
            self.leave_requests(file, id, error);
        }
        let node = self.nodes.remove(id);
        let gone = self.release_desc(node.desc);
        let retired = gone.as_ref().filter(|gone| gone.private).map(|gone| gone.fd);
        let last_of = gone.filter(|gone| !gone.of_nothing).map(|gone| gone.fd);
        Finished { payload: node.payload, covered_error: node.error, retired, last_of }
    }

    /// Takes out a request that has not started, as cancelled. None: it runs, or it is the write at the head of a stream,
    /// of which a part may be out.
    pub fn withdraw(&mut self, id: Id) -> Option<Finished<P>> {
        match self.nodes[id].state {
            State::Running => return None,
            State::Ready if self.is_stream_write(id) => return None,
            State::Ready => self.unready(id),
            State::Waiting => {}
        }
        Some(self.finish(id, None))
    }

    fn is_stream_write(&self, id: Id) -> bool {
        let node = &self.nodes[id];
        node.kind == Kind::Write && self.descs[node.desc].target_is_stream
    }

    /// Takes a ready request out of its queue; a leader hands its place to the next barrier of the group.
    fn unready(&mut self, id: Id) {
        let file = self.file_of(id);
        if !self.nodes[id].kind.is_barrier() {
            return self.unqueue_ready(id);
        }
        if self.files[file].ready.head == id && self.files[file].leader_queued {
            self.unqueue_ready(id);
            self.files[file].leader_queued = false;
        }
    }

    fn leave_requests(&mut self, file: Id, id: Id, error: Option<Errno>) {
        self.unlink(Place::Requests(file), id);
        self.untrack(id);
        if self.files[file].turn == id {
            self.pass_turn(file);
        }
        if self.nodes[id].blocker != NONE {
            self.unlink(Place::Waiters(self.nodes[id].blocker), id);
        }
        if let Some(error) = error {
            self.tell_barriers(file, self.nodes[id].seq, error);
        }
        self.release_waiters(id);
        self.release_barriers(file);
    }

    /// Each waiter goes to its next blocker, or is ready.
    fn release_waiters(&mut self, id: Id) {
        let mut waiter = std::mem::replace(&mut self.nodes[id].waiters, EMPTY).head;
        while waiter != NONE {
            let next = self.nodes[waiter].in_queue.next;
            self.nodes[waiter].in_queue = UNLINKED;
            self.nodes[waiter].blocker = NONE;
            self.blocked_count -= 1;
            match self.oldest_conflict(waiter) {
                Some(blocker) => self.wait_for(waiter, blocker),
                None => self.make_ready_late(waiter),
            }
            waiter = next;
        }
    }

    /// A covered request failed: every barrier that was submitted while it was unfinished reports that.
    fn tell_barriers(&mut self, file: Id, seq: u64, error: Errno) {
        let mut barrier = self.files[file].waiting.head;
        while barrier != NONE {
            let node = &mut self.nodes[barrier];
            if node.seq > seq && node.error == 0 {
                node.error = error.0;
            }
            barrier = node.in_file.next;
        }
    }

    /// Moves barriers whose older requests have all ended from waiting to ready.
    fn release_barriers(&mut self, file: Id) {
        let oldest = match self.files[file].requests.head {
            NONE => u64::MAX,
            request => self.nodes[request].seq,
        };
        while let Some(barrier) = some(self.files[file].waiting.head) {
            if self.nodes[barrier].seq > oldest {
                break;
            }
            self.unlink(Place::Barriers(file, State::Waiting), barrier);
            self.nodes[barrier].state = State::Ready;
            self.push(Place::Barriers(file, State::Ready), barrier);
        }
        self.queue_leader(file);
    }

    /// One fsync per file at a time: the next group starts when the running one has ended.
    fn queue_leader(&mut self, file: Id) {
        let record = &mut self.files[file];
        if record.leader_queued || record.running.head != NONE {
            return;
        }
        if let Some(leader) = some(record.ready.head) {
            record.leader_queued = true;
            self.make_ready(leader);
        }
    }

    fn leave_barriers(&mut self, file: Id, id: Id) {
        self.unlink(Place::Barriers(file, self.nodes[id].state), id);
        self.queue_leader(file);
    }

    /// Takes a request off its descriptor. Some: it was the last one.
    fn release_desc(&mut self, desc: Id) -> Option<Desc> {
        self.descs[desc].unfinished -= 1;
        if self.descs[desc].unfinished != 0 {
            return None;
        }
        self.forget_fd(desc);
        let gone = self.descs.remove(desc);
        self.files[gone.file].descs -= 1;
        if self.files[gone.file].descs == 0 {
            let files = &self.files;
            if let Some(key) = files[gone.file].key {
                self.by_file.remove(key.hash(), gone.file, |id| file_hash(&files[id]));
            }
            let file = self.files.remove(gone.file);
            if file.line != NONE {
                self.lines.remove(file.line);
            }
        }
        Some(gone)
    }

    // ---- a descriptor that is closed or cancelled ----

    /// Starts a walk over the unfinished requests of a descriptor that use its file. None: there are none.
    pub fn walk(&self, fd: i32) -> Option<Walk> {
        self.desc_of_fd(fd).map(|desc| self.walk_over(desc))
    }

    /// The same over those that will only report an error.
    pub fn walk_refused(&self, fd: i32) -> Option<Walk> {
        self.find_desc(fd, true).map(|desc| self.walk_over(desc))
    }

    fn walk_over(&self, desc: Id) -> Walk {
        let record = &self.descs[desc];
        Walk { desc, file: record.file, unseen: record.unfinished, places: LISTS_OF_FILE.iter(), next: NONE }
    }

    /// The next request of the walk, oldest first among reads and writes, then barriers. Each may be withdrawn at once.
    pub fn step(&mut self, walk: &mut Walk) -> Option<Id> {
        // With the last of its requests the descriptor and the file are gone: then nothing is looked at.
        while walk.unseen > 0 {
            let id = walk.next;
            if id == NONE {
                let place = walk.places.next()?;
                walk.next = self.list(place(walk.file)).head;
                continue;
            }
            walk.next = self.nodes[id].in_file.next;
            if self.nodes[id].desc == walk.desc {
                walk.unseen -= 1;
                return Some(id);
            }
        }
        None
    }

    /// Whether a descriptor has requests that use its file.
    pub fn has_requests(&self, fd: i32) -> bool {
        self.desc_of_fd(fd).is_some()
    }

    /// Whether a number is the library's own duplicate of a closed descriptor.
    pub fn is_private(&self, fd: i32) -> bool {
        self.desc_of_fd(fd).is_some_and(|desc| self.descs[desc].private)
    }

    /// The lowest descriptor of the program from `first` on that has requests.
    #[cfg(target_os = "linux")]
    pub fn lowest_from(&self, first: i32) -> Option<i32> {
        self.lowest(first, false)
    }

    /// The lowest of the library's own duplicates from `first` on.
    #[cfg(target_os = "linux")]
    pub fn lowest_private_from(&self, first: i32) -> Option<i32> {
        self.lowest(first, true)
    }

    #[cfg(target_os = "linux")]
    fn lowest(&self, first: i32, private: bool) -> Option<i32> {
        let concerned = |desc: &&Desc| desc.fd >= first && desc.private == private && !desc.of_nothing;
        self.descs.iter().filter(concerned).map(|desc| desc.fd).min()
    }

    /// The number belongs to somebody else, or will: the descriptor's requests have none any more.
    pub fn orphan(&mut self, fd: i32) {
        if let Some(desc) = self.desc_of_fd(fd) {
            self.forget_fd(desc);
            let desc = &mut self.descs[desc];
            (desc.fd, desc.private) = (NO_NUMBER, false);
        }
    }

    /// The number will belong to somebody else: the descriptor's requests go to `duplicate` instead, a number of the
    /// library's own, by which the descriptor is known from now on.
    pub fn detach(&mut self, fd: i32, duplicate: i32) {
        if let Some(desc) = self.desc_of_fd(fd) {
            self.forget_fd(desc);
            self.descs[desc].fd = duplicate;
            self.descs[desc].private = true;
            self.by_fd.insert(fd_key(duplicate), desc);
        }
    }

    // ---- lists ----

    fn list(&mut self, place: Place) -> &mut List {
        match place {
            Place::Requests(file) => &mut self.files[file].requests,
            Place::Barriers(file, State::Waiting) => &mut self.files[file].waiting,
            Place::Barriers(file, State::Ready) => &mut self.files[file].ready,
            Place::Barriers(file, State::Running) => &mut self.files[file].running,
            Place::Waiters(id) => &mut self.nodes[id].waiters,
            Place::Streams => &mut self.streams,
            Place::Direct => &mut self.direct,
            Place::Blocking => &mut self.blocking,
            Place::Ready(priority) => self.ready.get_mut(priority).unwrap_or_else(|| corrupt()),
            Place::Line(file, priority) => {
                let line = self.files[file].line;
                self.lines[line].get_mut(priority).unwrap_or_else(|| corrupt())
            }
        }
    }

    fn links(&mut self, place: Place, id: Id) -> &mut Links {
        match place {
            Place::Requests(_) | Place::Barriers(..) => &mut self.nodes[id].in_file,
            Place::Waiters(_)
            | Place::Ready(_)
            | Place::Line(..)
            | Place::Streams
            | Place::Direct
            | Place::Blocking => &mut self.nodes[id].in_queue,
        }
    }

    fn push(&mut self, place: Place, id: Id) {
        self.blocked_count += usize::from(place.is_for_blocked());
        let tail = self.list(place).tail;
        self.join(place, tail, id);
        self.join(place, id, NONE);
    }

    fn push_front(&mut self, place: Place, id: Id) {
        let head = self.list(place).head;
        self.join(place, NONE, id);
        self.join(place, id, head);
    }

    fn unlink(&mut self, place: Place, id: Id) {
        self.blocked_count -= usize::from(place.is_for_blocked());
        let Links { prev, next } = std::mem::replace(self.links(place, id), UNLINKED);
        self.join(place, prev, next);
    }

    /// Makes two nodes neighbours; NONE is the end of the list.
    fn join(&mut self, place: Place, prev: Id, next: Id) {
        match prev {
            NONE => self.list(place).head = next,
            prev => self.links(place, prev).next = next,
        }
        match next {
            NONE => self.list(place).tail = prev,
            next => self.links(place, next).prev = prev,
        }
    }

    fn wait_for(&mut self, id: Id, blocker: Id) {
        self.nodes[id].blocker = blocker;
        self.push(Place::Waiters(blocker), id);
    }

    /// Not at its submission: whoever ends another request must not have to hand this one to the kernel, which may make it
    /// wait for a buffer or a file system that are nothing to it.
    fn make_ready_late(&mut self, id: Id) {
        self.nodes[id].for_worker |= self.nodes[id].direct;
        self.make_ready(id);
    }

    fn make_ready(&mut self, id: Id) {
        self.nodes[id].state = State::Ready;
        if self.nodes[id].takes_turns {
            self.take_turn(id);
        }
        let place = self.ready_place(id);
        self.push(place, id);
        self.ready_count += usize::from(place.is_for_workers());
    }

    /// Gives the turn to a request, if nobody has it, or only one of less priority that has not started.
    fn take_turn(&mut self, id: Id) {
        let file = self.file_of(id);
        let holder = self.files[file].turn;
        if holder == NONE {
            self.files[file].turn = id;
            return;
        }
        if self.files[file].line == NONE {
            self.files[file].line = self.lines.insert([EMPTY; PRIORITIES]);
        }
        if self.nodes[holder].state == State::Ready && self.nodes[id].priority < self.nodes[holder].priority {
            self.unqueue_ready(holder);
            self.files[file].turn = id;
            self.back_to_line(holder);
        }
    }

    /// To the head of its line: those behind it must not overtake it.
    fn back_to_line(&mut self, id: Id) {
        let place = self.ready_place(id);
        self.push_front(place, id);
        self.ready_count += 1;
    }

    fn head_of_line(&self, file: Id) -> Option<Id> {
        let line = self.lines.get(self.files[file].line);
        line.and_then(|line| line.iter().find_map(|list| some(list.head)))
    }

    /// The one that had the turn has ended: the next in line gets it.
    fn pass_turn(&mut self, file: Id) {
        self.files[file].turn = NONE;
        if let Some(next) = self.head_of_line(file) {
            self.unqueue_ready(next);
            self.make_ready(next);
        }
    }

    fn unqueue_ready(&mut self, id: Id) {
        let place = self.ready_place(id);
        self.unlink(place, id);
        self.ready_count -= usize::from(place.is_for_workers());
    }

    fn ready_place(&self, id: Id) -> Place {
        let node = &self.nodes[id];
        let Desc { target_is_stream, file, .. } = self.descs[node.desc];
        let priority = usize::from(node.priority);
        match () {
            () if node.for_worker && target_is_stream => Place::Blocking,
            () if node.for_worker => Place::Ready(priority),
            () if target_is_stream => Place::Streams,
            () if node.direct => Place::Direct,
            () if node.takes_turns && self.files[file].turn != id => Place::Line(file, priority),
            () => Place::Ready(priority),
        }
    }

    // ---- conflicts: the treaps of ranges ----

    /// Which treap of its descriptor a request belongs to. None: it conflicts with nobody.
    fn lane(&self, new: &Admission<P>, desc: Id) -> Option<Lane> {
        let is_stream = self.descs[desc].target_is_stream;
        let lane = if new.kind == Kind::Read { Lane::Reads } else { Lane::Writes };
        match self.policy {
            _ if new.kind.is_barrier() => None,
            _ if is_stream => Some(lane),
            _ if self.is_whole(desc) => Some(Lane::Writes),
            Policy::Posix if new.kind != Kind::Append => None,
            // Nothing is known about the file, or nothing is transferred.
            _ => (matches!(new.target, Target::File(_)) && new.length > 0).then_some(lane),
        }
    }

    /// Whether requests of a descriptor conflict with every other of their treap: streams, and all under `order=strict`.
    fn is_whole(&self, desc: Id) -> bool {
        let desc = &self.descs[desc];
        desc.target_is_stream || (self.policy == Policy::Strict && self.files[desc.file].key.is_some())
    }

    fn range(&self, id: Id) -> (u64, u64) {
        (self.nodes[id].start, self.nodes[id].end)
    }

    /// The treaps in which a request looks for conflicts: a read conflicts with writes, a write with both.
    fn rivals(&self, id: Id) -> [Id; 2] {
        let desc = self.nodes[id].desc;
        let Trees { reads, writes } = self.descs[desc].trees;
        match self.nodes[id].lane {
            None => [NONE; 2],
            Some(Lane::Reads) if self.is_whole(desc) => [reads, NONE],
            Some(Lane::Writes) if self.is_whole(desc) => [writes, NONE],
            Some(Lane::Reads) => [writes, NONE],
            Some(Lane::Writes) => [reads, writes],
        }
    }

    /// The youngest of all requests that a new one conflicts with: those behind it form a chain, not a crowd.
    fn latest_conflict(&self, id: Id) -> Option<Id> {
        let range = self.range(id);
        let mut best = Best { seq: 0, id: NONE };
        for tree in self.rivals(id) {
            self.search_latest(tree, range, &mut best);
        }
        some(best.id)
    }

    /// The oldest unfinished request, older than this one, that it conflicts with.
    fn oldest_conflict(&self, id: Id) -> Option<Id> {
        let range = self.range(id);
        let mut best = Best { seq: self.nodes[id].seq, id: NONE };
        for tree in self.rivals(id) {
            self.search_oldest(tree, range, &mut best);
        }
        some(best.id)
    }

    fn search_latest(&self, at: Id, (start, end): (u64, u64), best: &mut Best) {
        if at == NONE {
            return;
        }
        let node = &self.nodes[at];
        if node.tree.max_end <= start || node.tree.max_seq <= best.seq {
            return;
        }
        if node.start < end {
            self.search_latest(node.tree.right, (start, end), best);
            if node.end > start && node.seq > best.seq {
                *best = Best { seq: node.seq, id: at };
            }
        }
        self.search_latest(node.tree.left, (start, end), best);
    }

    fn search_oldest(&self, at: Id, (start, end): (u64, u64), best: &mut Best) {
        if at == NONE {
            return;
        }
        let node = &self.nodes[at];
        if node.tree.max_end <= start || node.tree.min_seq >= best.seq {
            return;
        }
        self.search_oldest(node.tree.left, (start, end), best);
        if node.start < end {
            if node.end > start && node.seq < best.seq {
                *best = Best { seq: node.seq, id: at };
            }
            self.search_oldest(node.tree.right, (start, end), best);
        }
    }

    /// Treap order: by start of range, then by age.
    fn goes_left(&self, id: Id, of: Id) -> bool {
        let (one, other) = (&self.nodes[id], &self.nodes[of]);
        (one.start, one.seq) < (other.start, other.seq)
    }

    fn tree_insert(&mut self, root: Id, id: Id) -> Id {
        if root == NONE {
            return self.refresh(id);
        }
        if self.rank(id) > self.rank(root) {
            let (left, right) = self.tree_split(root, id);
            self.nodes[id].tree.left = left;
            self.nodes[id].tree.right = right;
            return self.refresh(id);
        }
        if self.goes_left(id, root) {
            self.nodes[root].tree.left = self.tree_insert(self.nodes[root].tree.left, id);
        } else {
            self.nodes[root].tree.right = self.tree_insert(self.nodes[root].tree.right, id);
        }
        self.refresh(root)
    }

    /// Splits a treap into the nodes before `id` and those behind it.
    fn tree_split(&mut self, root: Id, id: Id) -> (Id, Id) {
        if root == NONE {
            return (NONE, NONE);
        }
        if self.goes_left(id, root) {
            let (left, right) = self.tree_split(self.nodes[root].tree.left, id);
            self.nodes[root].tree.left = right;
            (left, self.refresh(root))
        } else {
            let (left, right) = self.tree_split(self.nodes[root].tree.right, id);
            self.nodes[root].tree.right = left;
            (self.refresh(root), right)
        }
    }

    fn tree_remove(&mut self, root: Id, id: Id) -> Id {
        if root == id {
            let TreeLinks { left, right, .. } = self.nodes[id].tree;
            return self.tree_merge(left, right);
        }
        if self.goes_left(id, root) {
            self.nodes[root].tree.left = self.tree_remove(self.nodes[root].tree.left, id);
        } else {
            self.nodes[root].tree.right = self.tree_remove(self.nodes[root].tree.right, id);
        }
        self.refresh(root)
    }

    fn tree_merge(&mut self, left: Id, right: Id) -> Id {
        if left == NONE || right == NONE {
            return if left == NONE { right } else { left };
        }
        if self.rank(left) > self.rank(right) {
            self.nodes[left].tree.right = self.tree_merge(self.nodes[left].tree.right, right);
            self.refresh(left)
        } else {
            self.nodes[right].tree.left = self.tree_merge(left, self.nodes[right].tree.left);
            self.refresh(right)
        }
    }

    /// A node's random rank in the treap: what keeps it balanced, 2 ln n levels on average.
    fn rank(&self, id: Id) -> usize {
        mix(self.nodes[id].seq)
    }

    /// Computes the extremes of a node's subtree anew.
    fn refresh(&mut self, id: Id) -> Id {
        let node = &self.nodes[id];
        let (mut max_end, mut min_seq, mut max_seq) = (node.end, node.seq, node.seq);
        let TreeLinks { left, right, .. } = node.tree;
        for child in [left, right].into_iter().filter(|child| *child != NONE) {
            let tree = &self.nodes[child].tree;
            max_end = max_end.max(tree.max_end);
            min_seq = min_seq.min(tree.min_seq);
            max_seq = max_seq.max(tree.max_seq);
        }
        self.nodes[id].tree = TreeLinks { left, right, max_end, min_seq, max_seq };
        id
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Reads,
    Writes,
}

/// Roots of the treaps of a descriptor's ranges.
#[derive(Clone, Copy)]
struct Trees {
    reads: Id,
    writes: Id,
}

impl Trees {
    fn root(&mut self, lane: Lane) -> &mut Id {
        match lane {
            Lane::Reads => &mut self.reads,
            Lane::Writes => &mut self.writes,
        }
    }
}

/// The lists a node can stand in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Requests(Id),
    Barriers(Id, State),
    Waiters(Id),
    Ready(usize),
    Line(Id, usize),
    Streams,
    Direct,
    Blocking,
}

impl Place {
    fn is_for_workers(self) -> bool {
        !matches!(self, Place::Streams | Place::Direct | Place::Blocking)
    }

    fn is_for_blocked(self) -> bool {
        matches!(self, Place::Waiters(_) | Place::Barriers(_, State::Waiting))
    }
}

/// A walk over the requests of a descriptor.
pub struct Walk {
    desc: Id,
    file: Id,
    unseen: u32,
    places: std::slice::Iter<'static, fn(Id) -> Place>,
    next: Id,
}

/// Every list that holds unfinished requests of a file. Withdrawing one may move barriers down this list, never up.
static LISTS_OF_FILE: [fn(Id) -> Place; 4] = [
    Place::Requests,
    |file| Place::Barriers(file, State::Waiting),
    |file| Place::Barriers(file, State::Ready),
    |file| Place::Barriers(file, State::Running),
];

struct Best {
    seq: u64,
    id: Id,
}

fn some(id: Id) -> Option<Id> {
    (id != NONE).then_some(id)
}

fn fd_key(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
}

fn file_hash(file: &File) -> u64 {
    file.key.map_or(0, FileKey::hash)
}

#[cfg(test)]
mod tests;
