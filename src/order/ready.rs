//! From waiting to ready to running.

use super::Order;
use super::node::{Desc, List, ListName, some};
use super::types::{Kind, Run, State};
use crate::slab::{Id, NONE};

impl<P: Copy> Order<P> {
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

    /// Of the requests that `next_blocking` would start, the one behind `id`; None: the first.
    pub fn blocking_after(&self, id: Option<Id>) -> Option<Id> {
        some(id.map_or(self.blocking.head, |id| self.nodes[id].in_queue.next))
    }

    /// Whether `next_blocking` would start this request some time.
    pub fn is_blocking(&self, id: Id, seq: u64) -> bool {
        self.is_current(id, seq) && self.state(id) == State::Ready && self.ready_queue(id) == ListName::Blocking
    }

    /// Starts that one of them. None: it has been started or cancelled meanwhile.
    pub fn start_blocking(&mut self, id: Id, seq: u64) -> Option<Run> {
        self.is_blocking(id, seq).then(|| {
            self.unqueue_ready(id);
            self.start(id)
        })
    }

    /// The next request of a stream for a thread of its own.
    pub fn next_blocking(&mut self) -> Option<Run> {
        self.start_head(self.blocking)
    }

    pub(super) fn start_head(&mut self, queue: List) -> Option<Run> {
        let id = some(queue.head)?;
        self.unqueue_ready(id);
        Some(self.start(id))
    }

    /// A request for the kernel's AIO, which only its submitter hands over. None: it waits, or went another way meanwhile.
    pub fn start_direct(&mut self, id: Id, seq: u64) -> Option<Run> {
        let is_there =
            self.is_current(id, seq) && self.state(id) == State::Ready && self.ready_queue(id) == ListName::Direct;
        is_there.then(|| {
            self.unqueue_ready(id);
            self.start(id)
        })
    }

    pub(super) fn start(&mut self, id: Id) -> Run {
        self.nodes[id].state = State::Running;
        let node = &self.nodes[id];
        Run { id, seq: node.seq, fd: self.fd(id), kind: node.kind, position: node.position }
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

    /// Takes a ready request out of its queue; a leader owner its queue to the next barrier of the group.
    pub(super) fn unready(&mut self, id: Id) {
        let file = self.file_of(id);
        if !self.nodes[id].kind.is_barrier() {
            return self.unqueue_ready(id);
        }
        if self.files[file].ready.head == id && self.files[file].leader_queued {
            self.unqueue_ready(id);
            self.files[file].leader_queued = false;
        }
    }

    /// Not at its submission: whoever ends another request must not have to hand this one to the kernel, which may make it
    /// wait for a buffer or a file system that are nothing to it.
    pub(super) fn make_ready_late(&mut self, id: Id) {
        self.nodes[id].for_worker |= self.nodes[id].direct;
        self.make_ready(id);
    }

    pub(super) fn make_ready(&mut self, id: Id) {
        self.nodes[id].state = State::Ready;
        if self.nodes[id].queued_write {
            self.enter_write_queue(id);
        }
        let queue = self.ready_queue(id);
        self.push(queue, id);
        self.ready_count += usize::from(queue.is_for_workers());
    }

    pub(super) fn unqueue_ready(&mut self, id: Id) {
        let queue = self.ready_queue(id);
        self.unlink(queue, id);
        self.ready_count -= usize::from(queue.is_for_workers());
    }

    pub(super) fn ready_queue(&self, id: Id) -> ListName {
        let node = &self.nodes[id];
        let Desc { target_is_stream, file, .. } = self.descs[node.desc];
        let priority = usize::from(node.priority);
        match () {
            () if node.for_worker && target_is_stream => ListName::Blocking,
            () if node.for_worker => ListName::Ready(priority),
            () if target_is_stream => ListName::Streams,
            () if node.direct => ListName::Direct,
            () if node.queued_write && self.files[file].active_write != id => ListName::WriteQueue(file, priority),
            () => ListName::Ready(priority),
        }
    }
}
