//! Workers: an elastic pool of threads that run what may block for a while, but not for ever.
//!
//! Ready work stays in the table, where it can be cancelled and overtaken by a higher priority, until a worker is free to take it. A
//! worker takes its next request in the lock section that ends the last one. An idle worker sleeps on its slot's mailbox, where
//! whoever makes a request ready puts a job. The worker that became idle last gets the first job, so that the others can end.
//!
//! The starter makes workers ahead of time: when one takes a job and nobody is idle any more, a spare is wanted. So a caller makes a
//! thread only when there is none at all, and every other call is safe in a signal handler. The spare does not count towards the
//! maximum, as it runs no request while that many run. Nor does a worker that a stream may block for ever.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::dispatch::wakeups::Wakeups;
use crate::dispatch::{complete, run, stream};
use crate::engine::Engine;
use crate::mailbox::Woken;
use crate::order::Kind;
use crate::sys::errno::{Errno, Result};
use crate::sys::{clock, thread};
use crate::table::Table;
use crate::table::limit::ConcurrencyLimit;
use crate::task::Task;
use crate::threads::{notifier, poller, reaper, spawn, watchdog};
use crate::worker_slot::{Assignment, Job, WorkerSlot};

// ---- starting and ending ----

/// Starts a worker that `thread_starts` has counted. For the starter, and for the call that finds none.
pub fn start(engine: &'static Engine) -> Result<()> {
    spawn(engine).inspect_err(|_| engine.lock().workers.never_started(1))
}

fn spawn(engine: &'static Engine) -> Result<()> {
    let known = engine.lock().workers.free.pop();
    let slot = known.map_or_else(WorkerSlot::make, Ok)?;
    thread::spawn(main, ptr::from_ref(slot).cast_mut().cast()).map_err(|_| {
        engine.lock().workers.free.push(slot);
        Errno::AGAIN
    })
}

extern "C-unwind" fn main(slot: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` passes a slot, which is never freed.
    let Some(slot) = (unsafe { slot.cast::<WorkerSlot>().as_ref() }) else {
        return ptr::null_mut();
    };
    let Some(engine) = Engine::current() else { return ptr::null_mut() };
    thread::set_name(NAME);
    slot.thread.store(thread::current_id(), Ordering::Relaxed);
    let mut table = engine.lock();
    table.workers.coming -= 1;
    let (mut assignment, wakeups) = next_or_idle(&mut table, slot);
    wakeups.send_after(table, engine);
    while let Some(next) = assignment.or_else(|| wait_for_job(engine, slot)) {
        assignment = work(engine, slot, next);
    }
    ptr::null_mut()
}

/// What `ps -L` shows.
pub const NAME: &std::ffi::CStr = c"aio_rs/worker";

/// A worker's next job, or none, and then the worker is among the idle; and jobs for others.
pub type Next = (Option<Assignment>, Wakeups);

/// What a worker does that finds no job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Idle,
    End,
}

fn next_or_idle(table: &mut Table, slot: &'static WorkerSlot) -> Next {
    next_or(table, slot, Otherwise::Idle)
}

fn next_or(table: &mut Table, slot: &'static WorkerSlot, otherwise: Otherwise) -> Next {
    loop {
        table.take_submissions();
        if let Some(job) = table.next_job() {
            let assignment = table.assign(job, slot);
            let assignment = table.with_batch(assignment, slot);
            return (Some(assignment), Wakeups::collect(table));
        }
        let workers = &mut table.workers;
        match otherwise {
            Otherwise::Idle => workers.push_idle(slot),
            Otherwise::End => workers.total -= 1,
        }
        table.lock_free.standby.set(table.workers.total > 0);
        if table.choose_consumer() {
            if otherwise == Otherwise::End {
                table.workers.free.push(slot);
            }
            return (None, Wakeups::for_roles(table));
        }
        // Something was pushed at the last moment.
        match otherwise {
            Otherwise::Idle => table.workers.remove_idle(slot),
            Otherwise::End => table.workers.total += 1,
        }
        table.lock_free.standby.set(true);
    }
}

/// The same for a worker that has nothing to end.
fn next_job_of(engine: &'static Engine, slot: &'static WorkerSlot) -> Option<Assignment> {
    let mut table = engine.lock();
    let (assignment, wakeups) = next_or_idle(&mut table, slot);
    drop(table);
    wakeups.send(engine);
    assignment
}

/// Waits in the mailbox. None: nothing came for so long that the worker ends.
fn wait_for_job(engine: &'static Engine, slot: &'static WorkerSlot) -> Option<Assignment> {
    let mut at_least = Duration::ZERO;
    loop {
        let patience = Duration::from_millis(engine.idle_ms.load(Ordering::Relaxed)).max(at_least);
        let woken = slot.mailbox.wait(patience, !slot.may_sleep.load(Ordering::Relaxed));
        slot.sleeps.forget();
        if let Woken::Given(assignment) = woken {
            return Some(assignment);
        }
        let mut table = engine.lock();
        table.take_submissions();
        // The last idle one stays while others work: it is their spare; and while callers rely on it.
        let time_up = matches!(woken, Woken::TimeUp);
        let last = table.workers.total == 1;
        let is_spare = table.workers.idle_count == 1 && (!last || time_up && table.lock_free.standby.was_needed());
        at_least = if time_up && is_spare { Duration::from_secs(1) } else { Duration::ZERO };
        // One that was taken off the idle ones has a job on its way.
        if time_up && !is_spare && slot.idle.load(Ordering::Relaxed) {
            table.workers.remove_idle(slot);
            let (assignment, wakeups) = next_or(&mut table, slot, Otherwise::End);
            wakeups.send_after(table, engine);
            return assignment;
        }
        // Whoever is idle gets what there is; that may be this worker.
        Wakeups::collect(&mut table).send_after(table, engine);
    }
}

// ---- working ----

/// Does one job and returns the next one that is at hand.
fn work(engine: &'static Engine, slot: &'static WorkerSlot, assignment: Assignment) -> Option<Assignment> {
    if assignment.make_starter {
        // Without a spare the work waits for this worker.
        spawn::make_if_absent(engine);
    }
    if assignment.chain {
        let wakeups = Wakeups::collect(&mut engine.lock());
        wakeups.send(engine);
    }
    match assignment.job {
        Job::Request(task) => run_request(engine, slot, &task),
        Job::Batch => run_batch(engine, slot),
        Job::Block(task) => run_blocking(engine, slot, &task),
        Job::Poll(turn) => {
            poller::run(engine, slot.thread(), turn);
            thread::set_name(NAME);
            next_job_of(engine, slot)
        }
        Job::Reap => {
            reaper::run(engine, slot, slot.thread());
            thread::set_name(NAME);
            next_job_of(engine, slot)
        }
        Job::Watchdog => {
            watchdog::run(engine);
            next_job_of(engine, slot)
        }
        Job::Deliver => {
            notifier::deliver_pending(engine, slot.thread());
            next_job_of(engine, slot)
        }
    }
}

/// Runs a request, ends it, and finds what comes next.
fn run_request(engine: &'static Engine, slot: &'static WorkerSlot, task: &Task) -> Option<Assignment> {
    let ran = run::run(engine, task, slot.thread());
    let is_long = ConcurrencyLimit::is_long(ran.time);
    // How long it took says nothing if the thread only lost its processor meanwhile.
    let telling = task.alone && !(is_long && slot.sleeps.none_since());
    // The caller has set the device to work on it (`inline`): there is time to wake up. Measured for uncached reads at depth
    // 1: 33 µs of processor time instead of 41, at 0.97 of the rate.
    let ahead = engine.inline && task.kind == Kind::Read && !task.unbuffered && is_long;
    slot.may_sleep.store(ahead, Ordering::Relaxed);
    let (mut table, ended) = complete::end_task(engine, task, ran.result);
    table.ran(task, slot.thread(), telling.then_some(ran.time));
    let (next, wakeups) = next_or_idle(&mut table, slot);
    drop(table);
    complete::tell(engine, [Some(ended)], wakeups);
    next
}

/// Runs a transfer of a stream, which takes as long as the stream likes.
fn run_blocking(engine: &'static Engine, slot: &'static WorkerSlot, task: &Task) -> Option<Assignment> {
    let result = stream::transfer(engine, task, slot.thread());
    let (mut table, ended) = complete::end_task(engine, task, result);
    table.workers.blocking -= 1;
    table.stats.counts.route_worker += 1;
    let (next, wakeups) = next_or_idle(&mut table, slot);
    drop(table);
    complete::tell(engine, [Some(ended)], wakeups);
    next
}

/// Runs the transfers of a batch, ends them, and finds what comes next.
fn run_batch(engine: &'static Engine, slot: &'static WorkerSlot) -> Option<Assignment> {
    let (mut begin, mut run) = (clock::now(), 0);
    slot.may_sleep.store(false, Ordering::Relaxed);
    while let Some(transfer) = slot.batch.start(run) {
        run += 1;
        let result = run::perform(engine, &transfer.task(), slot.thread(), begin);
        let now = clock::now();
        let time = now.saturating_sub(begin);
        begin = now;
        let lost_processor = ConcurrencyLimit::is_long(time) && slot.sleeps.none_since();
        complete::touch(&transfer.task());
        transfer.done(result, (!lost_processor).then_some(time));
        if ConcurrencyLimit::is_long(time) {
            // The next one may be as slow: what is done need not wait for it.
            break;
        }
    }
    let mut table = engine.lock();
    let ended = table.end_batch(slot, run);
    let (next, wakeups) = next_or_idle(&mut table, slot);
    drop(table);
    complete::tell(engine, ended, wakeups);
    next
}
