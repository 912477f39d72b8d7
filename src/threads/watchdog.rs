//! The watchdog: a worker's role while ready work is left to the workers that run. It notices that one of them is blocked, and gives
//! that work to others.

use crate::dispatch::complete;
use crate::dispatch::wakeups::Wakeups;
use crate::engine::Engine;
use crate::sys::clock::{self, Nanos};
use crate::sys::thread;
use crate::table::Table;
use crate::table::batch;
use crate::table::limit::{ConcurrencyLimit, Tick};

/// Runs the role until there has been nothing to watch for a while, or a worker is found to be blocked.
pub fn run(engine: &'static Engine) {
    let (mut awake, mut tick_time) = (0, ConcurrencyLimit::TICK);
    let mut used = ProcessorTimes::default();
    loop {
        let begin = clock::now();
        thread::sleep_for(tick_time);
        let late = clock::now().saturating_sub(begin) > tick_time + ConcurrencyLimit::TICK;
        let (mut tick, mut suspects) = (Tick::GoOn, [0; 2]);
        look_after(engine, |table| {
            table.take_submissions();
            suspects = table.workers.limit.suspects();
            let backlog = table.workers.running > 0 && (table.order.ready_count() > 0 || table.has_batch());
            tick = table.workers.limit.tick(backlog);
            table.batch_stands_still() || !matches!(tick, Tick::GoOn)
        });
        let before = std::mem::replace(&mut used, ProcessorTimes::of(suspects));
        match tick {
            Tick::Over => return,
            Tick::GoOn => {
                awake = 0;
                tick_time = ConcurrencyLimit::longer(tick_time);
            }
            Tick::Suspect(thread) => {
                // One that has much to copy is not blocked. Nor may be one that has not run where this thread, too, had to wait for a
                // processor.
                let is_awake = late || used.has_run(thread, &before);
                awake += 1;
                tick_time = ConcurrencyLimit::TICK;
                if is_awake && awake <= ConcurrencyLimit::AWAKE {
                    continue;
                }
                let mut goes_on = true;
                look_after(engine, |table| {
                    let limit = &mut table.workers.limit;
                    // It may have very much to copy, or wait for a processor still.
                    goes_on = is_awake && limit.is_stuck(thread) || !limit.stands_still(thread);
                    !goes_on
                });
                if !goes_on {
                    return;
                }
                awake = 0;
            }
        }
    }
}

/// The processor time that threads have used. Asked of the kernel by their numbers: what /proc says of them would take a
/// descriptor, which the program would see.
#[derive(Default)]
struct ProcessorTimes([(i32, Option<Nanos>); 2]);

impl ProcessorTimes {
    fn of(threads: [i32; 2]) -> ProcessorTimes {
        ProcessorTimes(threads.map(|thread| (thread, thread::processor_time(thread))))
    }

    /// Whether a thread has run since an earlier look, or was not looked at then.
    fn has_run(&self, thread: i32, before: &ProcessorTimes) -> bool {
        let time =
            |times: &ProcessorTimes| times.0.iter().find(|(other, _)| *other == thread).and_then(|(_, time)| *time);
        time(self).is_some_and(|now| time(before).is_none_or(|before| now > before))
    }
}

/// One lock section. If `look` says so (the worker makes no progress, or nobody will watch any more), it breaks up a batch. What
/// may take long then is left to other threads.
fn look_after(engine: &'static Engine, look: impl FnOnce(&mut Table) -> bool) {
    let mut table = engine.lock();
    let mut ended = if look(&mut table) { table.break_batch() } else { batch::NONE };
    complete::leave_to_others(&mut table, &mut ended);
    let wakeups = Wakeups::collect(&mut table);
    drop(table);
    complete::tell(engine, ended, wakeups);
}
