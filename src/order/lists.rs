//! The lists that requests are in.

use super::Order;
use super::node::{Links, List, Place, UNLINKED};
use super::types::State;
use crate::slab::{Id, NONE, corrupt};

impl<P: Copy> Order<P> {
    pub(super) fn list(&mut self, place: Place) -> &mut List {
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

    pub(super) fn links(&mut self, place: Place, id: Id) -> &mut Links {
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

    pub(super) fn push(&mut self, place: Place, id: Id) {
        self.blocked_count += usize::from(place.is_for_blocked());
        let tail = self.list(place).tail;
        self.join(place, tail, id);
        self.join(place, id, NONE);
    }

    pub(super) fn push_front(&mut self, place: Place, id: Id) {
        let head = self.list(place).head;
        self.join(place, NONE, id);
        self.join(place, id, head);
    }

    pub(super) fn unlink(&mut self, place: Place, id: Id) {
        self.blocked_count -= usize::from(place.is_for_blocked());
        let Links { prev, next } = std::mem::replace(self.links(place, id), UNLINKED);
        self.join(place, prev, next);
    }

    /// Makes two nodes neighbours; NONE is the end of the list.
    pub(super) fn join(&mut self, place: Place, prev: Id, next: Id) {
        match prev {
            NONE => self.list(place).head = next,
            prev => self.links(place, prev).next = next,
        }
        match next {
            NONE => self.list(place).tail = prev,
            next => self.links(place, next).prev = prev,
        }
    }

    pub(super) fn wait_for(&mut self, id: Id, blocker: Id) {
        self.nodes[id].blocker = blocker;
        self.push(Place::Waiters(blocker), id);
    }
}
