//! Running requests in a thread that has another role, or in a caller's where there are no threads.

use crate::dispatch::wakeups::Wakeups;
use crate::dispatch::{caller_reap, complete, run};
use crate::engine::Engine;
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
        if !run_next(engine, thread) {
            return;
        }
    }
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
