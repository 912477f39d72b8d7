//! Requests that the kernel's AIO has.

use super::{Ended, Table};
use crate::order::Kind;
use crate::request::Runner;
use crate::slab::{Id, NONE};
use crate::sys::errno::{Errno, Result};
use crate::sys::kaio::Event;
use crate::task::Task;

/// A request that its submitter has just had admitted.
#[derive(Clone, Copy)]
pub struct Own {
    id: Id,
    seq: u64,
}

impl Own {
    pub fn of(table: &Table, id: Id) -> Own {
        Own { id, seq: table.order.seq(id) }
    }
}

/// The slot, and what tells it from a later request in the same one.
pub fn token(id: Id, seq: u64) -> u64 {
    u64::from(id) | (seq << u32::BITS)
}

fn slot(token: u64) -> Id {
    Id::try_from(token & u64::from(u32::MAX)).unwrap_or(NONE)
}

fn half_of_seq(token: u64) -> u32 {
    u32::try_from(token >> u32::BITS).unwrap_or(0)
}

impl Table {
    pub fn start_own(&mut self, own: Own) -> Option<Task> {
        let run = self.order.start_direct(own.id, own.seq)?;
        self.order.payload_mut(run.id).run_by(Runner::Submitter);
        Some(self.task(run))
    }

    fn is_announced(&self, id: Id) -> bool {
        let request = self.order.payload(id);
        let of_list = || request.list_call != NONE && !self.list_calls[request.list_call].notify.is_none();
        !request.notify.is_none() || of_list()
    }

    pub fn enters_kernel(&mut self, id: Id) {
        self.announced_in_kernel += u32::from(self.is_announced(id));
        self.lock_free.ring_owner.enters_kernel();
    }

    /// The kernel has it no more.
    fn leaves_kernel(&mut self, id: Id) {
        self.announced_in_kernel -= u32::from(self.is_announced(id));
        self.lock_free.ring_owner.leaves_kernel();
    }

    /// What came of a request, if it has ended: a worker may have to go on with it.
    pub fn kernel_is_through(&mut self, event: &Event) -> Option<Ended> {
        let result = event.result()?;
        let id = slot(event.token);
        if !self.order.is_current_by_half(id, half_of_seq(event.token)) {
            return None;
        }
        self.leaves_kernel(id);
        if self.is_unfinished(id, result) {
            let request = self.order.payload_mut(id);
            // Perhaps it is not open for O_DIRECT any more: the next read asks.
            self.lock_free.fd_cache.paths.forget(request.submitted_on);
            // If its submitter still is at it, it sees that.
            request.runner = Runner::Nobody;
            // SAFETY: the request is unfinished.
            unsafe { request.handle.block() }.status.set_in_kernel(false);
            self.order.send_to_worker(id);
            return None;
        }
        self.stats.counts.route_direct += 1;
        Some(self.end(id, result))
    }

    /// Whether a worker has to go on with what the kernel has done: it would have had to wait. What it has read stays.
    fn is_unfinished(&mut self, id: Id, result: Result<isize>) -> bool {
        let reads = self.order.kind(id) == Kind::Read;
        let request = self.order.payload_mut(id);
        match result.map(|bytes| usize::try_from(bytes).unwrap_or(0)) {
            // If it is not open for O_DIRECT any more, this need not be the end of the file (Linux 5.9 and 5.10).
            Ok(0) if request.flags_assumed => request.count > 0,
            Ok(bytes) if bytes == 0 || bytes >= request.count => false,
            Ok(bytes) => {
                request.progress = if reads { u64::try_from(bytes).unwrap_or(0) } else { 0 };
                true
            }
            Err(Errno(error)) => matches!(error, libc::EAGAIN | libc::EOPNOTSUPP | libc::EINVAL | libc::EINTR),
        }
    }

    pub fn handed_over(&mut self, task: &Task, taken: bool) {
        if !taken {
            self.leaves_kernel(task.id);
            self.order.send_to_worker(task.id);
        } else if self.order.is_current(task.id, task.seq) {
            let request = self.order.payload_mut(task.id);
            // The kernel has its file: the number is not needed any more. (Unless the reaper got it back and a worker has it.)
            if request.runner == Runner::Submitter {
                request.runner = Runner::Nobody;
                // SAFETY: the request is unfinished.
                unsafe { request.handle.block() }.status.set_in_kernel(true);
            }
        }
    }
}
