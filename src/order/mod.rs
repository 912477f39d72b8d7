//! Which request may run now? A pure state machine: no locks, no I/O, no allocation per request.
//!
//! A request moves Waiting → Ready → Running → gone. It is Waiting for one of two reasons:
//! * an older request of its descriptor that it must not overtake (overlapping ranges with a write among them, appends, streams). It
//!   hangs on one such request, its blocker; when that ends, it looks for the next one (`ranges`).
//! * it is a barrier (fsync), and older requests of its file are unfinished. A file keeps its requests in the order of submission,
//!   so the oldest barrier may run when the oldest request is younger than it (`barriers`).
//!
//! Nothing younger ever waits for a barrier. Barriers of one file that are ready together form a group, which one fsync serves; those
//! that become ready while it runs form the next group.
//!
//! Buffered writes of one file run one at a time: the kernel would make them wait for the inode's lock anyway, and more workers would
//! only get in each other's way there. Those that are ready wait in the file's write queue (`write_queue`).
//!
//! Cost per request is O(log n): each descriptor keeps the ranges of its unfinished requests in two treaps (reads, writes) whose nodes
//! know the extremes of their subtrees. Where nothing can conflict the first few requests are counted instead of inserted.

mod barriers;
mod descriptors;
mod lists;
mod node;
mod ranges;
mod ready;
mod types;
mod walk;
mod write_queue;

use crate::slab::{Id, Index, NONE, Slab};
use crate::sys::errno::{Errno, Result};
use node::{Desc, EMPTY, File, List, ListName, NO_TREE, Node, UNLINKED, fd_key, file_hash};
pub use types::{Admission, FileKey, Finished, Kind, NO_NUMBER, PRIORITIES, Policy, Run, State, Target};

pub struct Order<P> {
    policy: Policy,
    /// Whether there is a poller for streams; otherwise workers serve them, too.
    polls: bool,
    nodes: Slab<Node<P>>,
    descs: Slab<Desc>,
    files: Slab<File>,
    /// The write queues of files: by priority.
    write_queues: Slab<[List; PRIORITIES]>,
    by_fd: Index,
    by_file: Index,
    seq: u64,
    /// Requests that a worker could run now, by priority.
    ready: [List; PRIORITIES],
    /// Those, and those in a write queue.
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
            write_queues: Slab::new(),
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

    /// Number of requests that wait for a worker, those in a write queue included.
    pub fn ready_count(&self) -> usize {
        self.ready_count
    }

    /// Number of requests and barriers that wait for others.
    pub fn blocked_count(&self) -> usize {
        self.blocked_count
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
        self.reserve_write_queues(count)?;
        let (descs, files) = (&self.descs, &self.files);
        self.by_fd.reserve(count, |id| fd_key(descs[id].fd))?;
        self.by_file.reserve(count, |id| file_hash(&files[id]))
    }

    /// Takes in a request. Errors: ENOMEM, and then nothing has changed.
    pub fn admit(&mut self, new: &Admission<P>) -> Result<Id> {
        self.nodes.reserve(1)?;
        self.reserve_write_queues(1)?;
        let desc = self.desc_for(new)?;
        self.seq += 1;
        let tree = self.tree(new, desc);
        let fifo = self.is_fifo(desc);
        let (start, end) = if fifo { (0, u64::MAX) } else { (new.position, new.position.saturating_add(new.length)) };
        let id = self.nodes.insert(Node {
            payload: new.payload,
            seq: self.seq,
            position: new.position,
            start,
            end,
            tree_links: NO_TREE,
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
            queued_write: new.queued_write,
            direct: new.direct,
            tree,
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

    fn admit_request(&mut self, id: Id) {
        let file = self.file_of(id);
        self.push(ListName::Requests(file), id);
        let Some(tree) = self.nodes[id].tree else { return self.make_ready(id) };
        if self.stays_untracked(id, tree) {
            return self.make_ready(id);
        }
        self.track_others(id, tree);
        match self.latest_conflict(id) {
            Some(blocker) => self.wait_for(id, blocker),
            None => self.make_ready(id),
        }
        self.track(id, tree);
    }

    /// Whether a request that its runner put aside is still there.
    pub fn is_current(&self, id: Id, seq: u64) -> bool {
        self.nodes.get(id).is_some_and(|node| node.seq == seq)
    }

    /// The same by the lower half of its number.
    pub fn is_current_by_half(&self, id: Id, half: u32) -> bool {
        self.nodes.get(id).is_some_and(|node| u32::try_from(node.seq & u64::from(u32::MAX)) == Ok(half))
    }

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

    fn leave_requests(&mut self, file: Id, id: Id, error: Option<Errno>) {
        self.unlink(ListName::Requests(file), id);
        self.untrack(id);
        if self.files[file].active_write == id {
            self.activate_next(file);
        }
        if self.nodes[id].blocker != NONE {
            self.unlink(ListName::Waiters(self.nodes[id].blocker), id);
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
}

#[cfg(test)]
mod tests;
