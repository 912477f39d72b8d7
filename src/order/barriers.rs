//! Barriers: what they wait for, and which one fsync serves together.

use super::Order;
use super::node::{EMPTY, ListName, some};
use super::types::{Kind, Run, State};
use crate::slab::{Id, NONE};
use crate::sys::errno::Errno;

impl<P: Copy> Order<P> {
    pub(super) fn admit_barrier(&mut self, id: Id) {
        let file = self.file_of(id);
        self.nodes[id].priority = 0;
        self.push(ListName::Barriers(file, State::Waiting), id);
        self.release_barriers(file);
    }

    /// All ready barriers of the file run together; one fsync among them makes it an fsync.
    pub(super) fn start_group(&mut self, leader: Id) -> Run {
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

    /// A covered request failed: every barrier that was submitted while it was unfinished reports that.
    pub(super) fn tell_barriers(&mut self, file: Id, seq: u64, error: Errno) {
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
    pub(super) fn release_barriers(&mut self, file: Id) {
        let oldest = match self.files[file].requests.head {
            NONE => u64::MAX,
            request => self.nodes[request].seq,
        };
        while let Some(barrier) = some(self.files[file].waiting.head) {
            if self.nodes[barrier].seq > oldest {
                break;
            }
            self.unlink(ListName::Barriers(file, State::Waiting), barrier);
            self.nodes[barrier].state = State::Ready;
            self.push(ListName::Barriers(file, State::Ready), barrier);
        }
        self.queue_leader(file);
    }

    /// One fsync per file at a time: the next group starts when the running one has ended.
    pub(super) fn queue_leader(&mut self, file: Id) {
        let record = &mut self.files[file];
        if record.leader_queued || record.running.head != NONE {
            return;
        }
        if let Some(leader) = some(record.ready.head) {
            record.leader_queued = true;
            self.make_ready(leader);
        }
    }

    pub(super) fn leave_barriers(&mut self, file: Id, id: Id) {
        self.unlink(ListName::Barriers(file, self.nodes[id].state), id);
        self.queue_leader(file);
    }
}
