//! Running requests in a thread that has another role, or in a caller's where there are no threads.

use crate::dispatch::wakeups::Wakeups;
use crate::dispatch::{caller_reap, complete, run, stream};
use crate::engine::Engine;
use crate::order::{Kind, NO_NUMBER};
use crate::slab::Id;
use crate::sys::descriptor::FdKind;
use crate::sys::io;
use crate::threads::{delivery, spawn};
use crate::worker_slot::Job;

/// For threads that have another role: when all have one and no more can be started, requests and notifications would wait
/// for ever.
pub fn run_inline(engine: &'static Engine, thread: i32) {
    loop {
        let mut table = engine.lock();
        table.take_submissions();
        if !table.needs_inline_run() {
            return;
        }
        if table.starting.wanted == 0 {
            table.want_worker();
        }
        if spawn::worker_comes(engine, table) {
            return;
        }
        // This takes a while: whoever waits for what the kernel has sees to it.
        caller_reap::promote_standby();
        delivery::try_pending(engine);
        if !run_next(engine, thread) && !run_ready_read(engine, thread) {
            return;
        }
    }
}

/// Reads from a pipe that poll finds ready, although the transfer may block: if others read from it, too, and take the data before. Not
/// from other streams: there poll may say so of one that has nothing. False: there is nothing to read.
fn run_ready_read(engine: &'static Engine, thread: i32) -> bool {
    let mut seen = None;
    loop {
        let table = engine.lock();
        if seen.is_some_and(|(id, seq)| !table.order.is_blocking(id, seq)) {
            // The list has changed. The next pass begins anew.
            return true;
        }
        let Some(id) = table.order.blocking_after(seen.map(|(id, _)| id)) else { return false };
        let (fd, seq) = (table.order.fd(id), table.order.seq(id));
        let of_pipe = table.order.kind(id) == Kind::Read && table.order.payload(id).fd_kind == FdKind::Pipe;
        drop(table);
        seen = Some((id, seq));
        // Without a descriptor it ends at once.
        if of_pipe && (fd == NO_NUMBER || io::is_ready(fd, false)) {
            return run_blocking(engine, thread, id, seq);
        }
    }
}

fn run_blocking(engine: &'static Engine, thread: i32, id: Id, seq: u64) -> bool {
    let mut table = engine.lock();
    let Some(run) = table.order.start_blocking(id, seq) else { return true };
    table.run_again(run.id, thread);
    let task = table.task(run);
    drop(table);
    let result = stream::transfer(engine, &task, thread);
    let (mut table, ended) = complete::end_task(engine, &task, result);
    table.stats.counts.route_worker += 1;
    let wakeups = Wakeups::collect(&mut table);
    drop(table);
    complete::tell(engine, [Some(ended)], wakeups);
    true
}

/// Runs the next request in a thread that is no worker. False: there is none.
pub fn run_next(engine: &'static Engine, thread: i32) -> bool {
    let mut table = engine.lock();
    let Some(Job::Request(task)) = table.next_request() else { return false };
    table.runs(&task, thread);
    drop(table);
    let ran = run::run(engine, &task, thread);
    let (mut table, ended) = complete::end_task(engine, &task, ran.result);
    table.ran(&task, thread, task.alone.then_some(ran.time));
    let wakeups = Wakeups::collect(&mut table);
    drop(table);
    complete::tell(engine, [Some(ended)], wakeups);
    true
}
