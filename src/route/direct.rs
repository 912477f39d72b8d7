//! O_DIRECT transfers: whoever finds them ready hands them to the kernel's own AIO, which does not wait for the device
//! (RWF_NOWAIT; but for a buffer that is not in memory, or a frozen file system), and one worker takes the role of the reaper,
//! which waits for the results.
//!
//! What the kernel refuses goes to a worker, which finds out what pread or pwrite say: allocation and holes (EAGAIN), file
//! systems that cannot (EOPNOTSUPP), bad alignment (EINVAL), too many in flight.

use std::sync::atomic::Ordering;

use crate::complete;
use crate::engine::Engine;
use crate::errno::{Errno, Result};
use crate::files::Table;
use crate::order::Kind;
use crate::route::worker::{self, HandOuts, Task};
use crate::slab::{Id, NONE};
use crate::sys::kaio::{Event, Iocb};
use crate::sys::transfer::Transfer;
use crate::sys::{clock, thread};

/// Requests per system call. They stand on the caller's stack, which may be a signal's small one.
const GROUP: usize = 8;

/// Results that the reaper takes at a time.
const RESULTS: usize = 32;

/// Instead of a thread: a caller is handing it to the kernel.
const SUBMITTER: i32 = -1;

/// Whether a thread waits for results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ReaperState {
    /// The next free worker takes the role when there is something to wait for.
    Off,
    On,
}

/// Hands all that is ready to the kernel. Signals are blocked.
pub fn submit(engine: &'static Engine) {
    let possible = engine.kernel.open();
    loop {
        let mut table = engine.lock();
        let mut tasks: [Option<Task>; GROUP] = [None; GROUP];
        let mut count = 0;
        for place in &mut tasks {
            *place = table.next_direct();
            count += u32::from(place.is_some());
        }
        if count == 0 {
            return;
        }
        // Without a reaper nobody would learn of the results.
        if !possible || table.reaper == ReaperState::Off {
            tasks.iter().flatten().for_each(|task| table.order.send_to_worker(task.id));
            HandOuts::prepare(&mut table).send_but_direct(table, engine);
            continue;
        }
        table.in_kernel += count;
        drop(table);
        let taken = hand_over(engine, &tasks);
        let mut table = engine.lock();
        for (task, taken) in tasks.iter().flatten().zip(taken) {
            table.handed_over(task, taken);
        }
        HandOuts::prepare(&mut table).send_but_direct(table, engine);
    }
}

/// Which of these the kernel has taken.
fn hand_over(engine: &'static Engine, tasks: &[Option<Task>; GROUP]) -> [bool; GROUP] {
    let mut taken = [false; GROUP];
    let mut iocbs: [Option<Iocb>; GROUP] = tasks.map(|task| task.as_ref().and_then(iocb));
    let mut next = 0;
    while let Some((at, _)) = iocbs.iter().enumerate().skip(next).find(|(_, iocb)| iocb.is_some()) {
        let mut pointers = [std::ptr::null_mut(); GROUP];
        let run = iocbs.iter_mut().skip(at).map_while(Option::as_mut);
        let count = pointers.iter_mut().zip(run).map(|(pointer, iocb)| *pointer = iocb).count();
        let done = engine.kernel.submit(pointers.get(..count).unwrap_or(&[]));
        taken.iter_mut().skip(at).take(done).for_each(|taken| *taken = true);
        // The one that it did not take is refused.
        next = at + done + usize::from(done < count);
    }
    taken
}

fn iocb(task: &Task) -> Option<Iocb> {
    let transfer = Transfer {
        fd: task.fd,
        writes: task.kind != Kind::Read,
        buffer: task.buffer.0,
        count: task.count,
        offset: task.position,
        token: token(task.id, task.seq),
    };
    Iocb::new(&transfer).ok()
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
    fn next_direct(&mut self) -> Option<Task> {
        let run = self.order.next_direct()?;
        self.order.payload_mut(run.id).run_by(SUBMITTER);
        Some(self.task(run))
    }

    /// Whether a worker has to go on with what the kernel has done: it would have had to wait. What it has read stays.
    fn is_unfinished(&mut self, id: Id, result: Result<isize>) -> bool {
        let reads = self.order.kind(id) == Kind::Read;
        let request = self.order.payload_mut(id);
        match result.map(|bytes| usize::try_from(bytes).unwrap_or(0)) {
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
            self.in_kernel -= 1;
            self.order.send_to_worker(task.id);
        } else if self.order.is_current(task.id, task.seq) {
            let request = self.order.payload_mut(task.id);
            // The kernel has its file: the number is not needed any more. (Unless the reaper got it back and a worker has it.)
            if request.runner == SUBMITTER {
                request.runner = 0;
            }
        }
    }
}

/// Runs the role until nothing has been in the kernel for the idle time.
pub fn run(engine: &'static Engine, thread: i32) {
    thread::set_name(c"aio_rs/reaper");
    engine.kernel.open();
    // By trying: the kernel, or a sandbox, may know requests but not this one.
    let can_wake = engine.poller.open().is_ok() && engine.kernel.wake(engine.poller.always_ready()).is_ok();
    let mut events = [Event::NONE; RESULTS];
    loop {
        worker::stand_in(engine, thread);
        let busy = engine.lock().in_kernel > 0;
        let idle = clock::MILLISECOND.saturating_mul(engine.idle_ms.load(Ordering::Relaxed));
        let patience = match () {
            () if !can_wake => UNWAKEABLE,
            () if busy => idle.max(BUSY),
            () => idle,
        };
        let got = engine.kernel.reap(&mut events, patience).unwrap_or_else(|error| refused(engine, error));
        if got == 0 && end_role(engine) {
            return;
        }
        let mut results = [None; RESULTS];
        for (place, event) in results.iter_mut().zip(events.iter().take(got)) {
            *place = event.result().map(|result| (event.token, result));
        }
        complete_all(engine, &results);
    }
}

/// Not for ever: what seemed to be in the kernel may have been refused by it just then.
const BUSY: clock::Nanos = 1_000 * clock::MILLISECOND;

/// A sandbox that came later: what the kernel has cannot be had any more; at least it gets nothing else.
fn refused(engine: &'static Engine, error: Errno) -> usize {
    if error != Errno::INTR {
        engine.kernel.give_up();
        thread::sleep_a_millisecond();
    }
    0
}

/// How often it has to look whether other work needs it, where it cannot be woken.
const UNWAKEABLE: clock::Nanos = 10 * clock::MILLISECOND;

fn end_role(engine: &'static Engine) -> bool {
    let mut table = engine.lock();
    let done = table.in_kernel == 0 && !table.order.has_direct_work();
    if done {
        table.reaper = ReaperState::Off;
    }
    done
}

type Reaped = Option<(u64, Result<isize>)>;

fn complete_all(engine: &'static Engine, results: &[Reaped; RESULTS]) {
    complete::finish_several(engine, |table| {
        let mut ended = [const { None }; RESULTS];
        for (place, (token, result)) in ended.iter_mut().zip(results.iter().flatten()) {
            let id = slot(*token);
            if !table.order.is_current_by_half(id, half_of_seq(*token)) {
                continue;
            }
            table.in_kernel -= 1;
            if table.is_unfinished(id, *result) {
                table.order.send_to_worker(id);
                continue;
            }
            table.stats.counts.route_direct += 1;
            *place = Some(table.end(id, *result));
        }
        ended
    });
}
