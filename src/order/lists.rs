//! The lists that requests are in.

use super::Order;
use super::node::{Links, List, ListName, UNLINKED};
use super::types::State;
use crate::slab::{Id, NONE, corrupt};

impl<P: Copy> Order<P> {
    pub(super) fn list(&mut self, queue: ListName) -> &mut List {
        match queue {
            ListName::Requests(file) => &mut self.files[file].requests,
            ListName::Barriers(file, State::Waiting) => &mut self.files[file].waiting,
            ListName::Barriers(file, State::Ready) => &mut self.files[file].ready,
            ListName::Barriers(file, State::Running) => &mut self.files[file].running,
            ListName::Waiters(id) => &mut self.nodes[id].waiters,
            ListName::Streams => &mut self.streams,
            ListName::Direct => &mut self.direct,
            ListName::Blocking => &mut self.blocking,
            ListName::Ready(priority) => self.ready.get_mut(priority).unwrap_or_else(|| corrupt()),
            ListName::WriteQueue(file, priority) => {
                let queue = self.files[file].write_queue;
                self.write_queues[queue].get_mut(priority).unwrap_or_else(|| corrupt())
            }
        }
    }

    pub(super) fn links(&mut self, queue: ListName, id: Id) -> &mut Links {
        match queue {
            ListName::Requests(_) | ListName::Barriers(..) => &mut self.nodes[id].in_file,
            ListName::Waiters(_)
            | ListName::Ready(_)
            | ListName::WriteQueue(..)
            | ListName::Streams
            | ListName::Direct
            | ListName::Blocking => &mut self.nodes[id].in_queue,
        }
    }

    pub(super) fn push(&mut self, queue: ListName, id: Id) {
        self.blocked_count += usize::from(queue.is_for_blocked());
        let tail = self.list(queue).tail;
        self.join(queue, tail, id);
        self.join(queue, id, NONE);
    }

    pub(super) fn push_front(&mut self, queue: ListName, id: Id) {
        let head = self.list(queue).head;
        self.join(queue, NONE, id);
        self.join(queue, id, head);
    }

    pub(super) fn unlink(&mut self, queue: ListName, id: Id) {
        self.blocked_count -= usize::from(queue.is_for_blocked());
        let Links { prev, next } = std::mem::replace(self.links(queue, id), UNLINKED);
        self.join(queue, prev, next);
    }

    /// Makes two nodes neighbours; NONE is the end of the list.
    pub(super) fn join(&mut self, queue: ListName, prev: Id, next: Id) {
        match prev {
            NONE => self.list(queue).head = next,
            prev => self.links(queue, prev).next = next,
        }
        match next {
            NONE => self.list(queue).tail = prev,
            next => self.links(queue, next).prev = prev,
        }
    }

    pub(super) fn wait_for(&mut self, id: Id, blocker: Id) {
        self.nodes[id].blocker = blocker;
        self.push(ListName::Waiters(blocker), id);
    }
}
