//! Buffered writes of one file take turns.

use super::Order;
use super::node::{EMPTY, some};
use super::types::{PRIORITIES, Run, State};
use crate::slab::{Id, NONE};
use crate::sys::errno::Result;

impl<P: Copy> Order<P> {
    /// Each file may come to need one when requests end, and so may `count` more.
    pub(super) fn reserve_lines(&mut self, count: usize) -> Result<()> {
        self.lines.reserve((self.files.len() + count).saturating_sub(self.lines.len()))
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

    /// Gives the turn to a request, if nobody has it, or only one of less priority that has not started.
    pub(super) fn take_turn(&mut self, id: Id) {
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
    pub(super) fn back_to_line(&mut self, id: Id) {
        let place = self.ready_place(id);
        self.push_front(place, id);
        self.ready_count += 1;
    }

    pub(super) fn head_of_line(&self, file: Id) -> Option<Id> {
        let line = self.lines.get(self.files[file].line);
        line.and_then(|line| line.iter().find_map(|list| some(list.head)))
    }

    /// The one that had the turn has ended: the next in line gets it.
    pub(super) fn pass_turn(&mut self, file: Id) {
        self.files[file].turn = NONE;
        if let Some(next) = self.head_of_line(file) {
            self.unqueue_ready(next);
            self.make_ready(next);
        }
    }
}
