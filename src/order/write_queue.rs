//! The write queue of a file: its buffered writes run one at a time. One of those that are ready is the active write, which stands in
//! a ready list or runs; the others wait in the queue, by priority.

use super::Order;
use super::node::{EMPTY, some};
use super::types::{PRIORITIES, Run, State};
use crate::slab::{Id, NONE};
use crate::sys::errno::Result;

impl<P: Copy> Order<P> {
    /// Room for a write queue of each file that there is, and of `count` more: a request that ends may make one necessary.
    pub(super) fn reserve_write_queues(&mut self, count: usize) -> Result<()> {
        self.write_queues.reserve((self.files.len() + count).saturating_sub(self.write_queues.len()))
    }

    /// Starts the write behind the active one, which runs, and makes it the active one: for a worker that runs them one after another.
    /// None: there is no other, or something more urgent is ready.
    pub fn next_queued_write(&mut self, active: Id) -> Option<Run> {
        let file = self.file_of(active);
        if self.files[file].active_write != active {
            return None;
        }
        let next = self.first_queued(file)?;
        let more_urgent = usize::from(self.nodes[next].priority);
        if self.ready.iter().take(more_urgent).any(|list| list.head != NONE) {
            return None;
        }
        self.unqueue_ready(next);
        self.files[file].active_write = next;
        Some(self.start(next))
    }

    /// Takes back a request that was given out and not started. `before`: the one that was given out before it, which becomes the
    /// active write again if this one had followed it. Not for barriers. Of several the last one first.
    pub fn put_back(&mut self, id: Id, before: Option<Id>) {
        let file = self.file_of(id);
        if self.files[file].active_write != id || self.files[file].write_queue == NONE {
            return self.make_ready(id);
        }
        self.nodes[id].state = State::Ready;
        let before = before.filter(|before| self.file_of(*before) == file);
        self.files[file].active_write = before.unwrap_or(NONE);
        self.requeue_first(id);
        if before.is_none() {
            self.activate_next(file);
        }
    }

    /// Makes a write the active one if there is none, or only a less urgent one that has not started; otherwise it will be queued.
    pub(super) fn enter_write_queue(&mut self, id: Id) {
        let file = self.file_of(id);
        let active = self.files[file].active_write;
        if active == NONE {
            self.files[file].active_write = id;
            return;
        }
        if self.files[file].write_queue == NONE {
            self.files[file].write_queue = self.write_queues.insert([EMPTY; PRIORITIES]);
        }
        if self.nodes[active].state == State::Ready && self.nodes[id].priority < self.nodes[active].priority {
            self.unqueue_ready(active);
            self.files[file].active_write = id;
            self.requeue_first(active);
        }
    }

    /// To the head of its priority: those behind it must not overtake it.
    pub(super) fn requeue_first(&mut self, id: Id) {
        let queue = self.ready_queue(id);
        self.push_front(queue, id);
        self.ready_count += 1;
    }

    pub(super) fn first_queued(&self, file: Id) -> Option<Id> {
        let queue = self.write_queues.get(self.files[file].write_queue);
        queue.and_then(|queue| queue.iter().find_map(|list| some(list.head)))
    }

    /// The active write has ended: the next one becomes active.
    pub(super) fn activate_next(&mut self, file: Id) {
        self.files[file].active_write = NONE;
        if let Some(next) = self.first_queued(file) {
            self.unqueue_ready(next);
            self.make_ready(next);
        }
    }
}
