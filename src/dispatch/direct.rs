//! O_DIRECT transfers: whoever submits them hands them to the kernel's own AIO, which does not wait for the device
//! (RWF_NOWAIT; but for a buffer that is not in memory, or a frozen file system). `attend` and `reaper`: who takes the results.
//!
//! What the kernel refuses goes to a worker, which finds out what pread or pwrite say: allocation and holes (EAGAIN), file
//! systems that cannot (EOPNOTSUPP), bad alignment (EINVAL), too many in flight.

use crate::engine::Engine;
use crate::errno::{Errno, Result};
use crate::order::Kind;
use crate::slab::{Id, NONE};
use crate::sys::kaio::{Event, Iocb};
use crate::sys::transfer::Transfer;
use crate::table::{Ended, Table};
use crate::threads::reaper::ReaperState;
use crate::threads::worker::{HandOuts, Task};

/// Requests per system call: as many as `listio` takes in at once. They stand on the caller's stack, which may be a signal's
/// small one.
const GROUP: usize = 8;

/// Instead of a thread: a caller is handing it to the kernel.
const SUBMITTER: i32 = -1;

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

/// Hands those of a submitter's own requests to the kernel that are ready for it. Signals are blocked.
///
/// Nobody hands over another thread's: the kernel may wait for the buffer (a pager in user space) or the file system (frozen),
/// and so a thread that uses neither would.
pub fn submit(engine: &'static Engine, own: &mut dyn Iterator<Item = Own>) {
    let mut tasks = [const { None }; GROUP];
    let mut table = engine.lock();
    let count = tasks
        .iter_mut()
        .zip(own.filter_map(|own| table.start_own(own)))
        .map(|(place, task)| *place = Some(task))
        .count();
    if count == 0 {
        return;
    }
    // The reaper makes the context; without one nobody would learn of the results.
    if !engine.kernel.is_open() || matches!(table.reaper, ReaperState::Off | ReaperState::Starts) {
        tasks.iter().flatten().for_each(|task| table.order.send_to_worker(task.id));
    } else {
        tasks.iter().flatten().for_each(|task| table.enters_kernel(task.id));
        drop(table);
        let taken = hand_over(engine, &tasks, count);
        table = engine.lock();
        tasks.iter().flatten().zip(taken).for_each(|(task, taken)| table.handed_over(task, taken));
    }
    HandOuts::prepare(&mut table).send_after(table, engine);
}

/// Which of these the kernel has taken.
fn hand_over(engine: &'static Engine, tasks: &[Option<Task>; GROUP], count: usize) -> [bool; GROUP] {
    let mut taken = [false; GROUP];
    let mut iocbs = [Iocb::NONE; GROUP];
    let mut pointers = [std::ptr::null_mut(); GROUP];
    for ((iocb, pointer), task) in iocbs.iter_mut().zip(&mut pointers).zip(tasks.iter().flatten()) {
        *iocb = iocb_for(task);
        *pointer = iocb;
    }
    let mut next = 0;
    while next < count {
        let done = engine.kernel.submit(pointers.get(next..count).unwrap_or(&[]));
        taken.iter_mut().skip(next).take(done).for_each(|taken| *taken = true);
        // The one that it did not take is refused.
        next += done + 1;
    }
    taken
}

fn iocb_for(task: &Task) -> Iocb {
    Iocb::new(&Transfer {
        fd: task.fd,
        writes: task.kind != Kind::Read,
        buffer: task.buffer.0,
        count: task.count,
        offset: task.position,
        token: token(task.id, task.seq),
    })
}

/// The slot, and what tells it from a later request in the same one.
fn token(id: Id, seq: u64) -> u64 {
    u64::from(id) | (seq << u32::BITS)
}

fn slot(token: u64) -> Id {
    Id::try_from(token & u64::from(u32::MAX)).unwrap_or(NONE)
}

fn half_of_seq(token: u64) -> u32 {
    u32::try_from(token >> u32::BITS).unwrap_or(0)
}

impl Table {
    fn start_own(&mut self, own: Own) -> Option<Task> {
        let run = self.order.start_direct(own.id, own.seq)?;
        self.order.payload_mut(run.id).run_by(SUBMITTER);
        Some(self.task(run))
    }

    fn is_announced(&self, id: Id) -> bool {
        let request = self.order.payload(id);
        let of_list = || request.batch != NONE && !self.batches[request.batch].notify.is_none();
        !request.notify.is_none() || of_list()
    }

    fn enters_kernel(&mut self, id: Id) {
        self.announced_in_kernel += u32::from(self.is_announced(id));
        self.reception.post.enters_kernel();
    }

    /// The kernel has it no more.
    fn leaves_kernel(&mut self, id: Id) {
        self.announced_in_kernel -= u32::from(self.is_announced(id));
        self.reception.post.leaves_kernel();
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
            self.reception.buffered.forget(request.submitted_on);
            // If its submitter still is at it, it sees that.
            request.runner = 0;
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

    fn handed_over(&mut self, task: &Task, taken: bool) {
        if !taken {
            self.leaves_kernel(task.id);
            self.order.send_to_worker(task.id);
        } else if self.order.is_current(task.id, task.seq) {
            let request = self.order.payload_mut(task.id);
            // The kernel has its file: the number is not needed any more. (Unless the reaper got it back and a worker has it.)
            if request.runner == SUBMITTER {
                request.runner = 0;
                // SAFETY: the request is unfinished.
                unsafe { request.handle.block() }.status.set_in_kernel(true);
            }
        }
    }
}
