//! The watch: a worker's role while work is left to the workers that run. It sees to it that nobody waits for one that is
//! blocked.

use super::burst;
use super::pace::{Pace, Tick};
use super::worker::HandOuts;
use crate::complete::{self, Rest};
use crate::engine::Engine;
use crate::files::Table;
use crate::sys::{io, thread};

/// Runs the watch until there has been nothing to watch for a while, or the running workers stand still.
pub fn run(engine: &'static Engine) {
    let (mut awake, mut tick_time) = (0, Pace::TICK);
    loop {
        thread::sleep_for(tick_time);
        let mut tick = Tick::GoOn;
        look_after(engine, |table| {
            table.take_in();
            let backlog = table.workers.running > 0 && (table.order.ready_count() > 0 || table.has_burst());
            tick = table.workers.pace.tick(backlog);
            table.burst_stands_still() || !matches!(tick, Tick::GoOn)
        });
        match tick {
            Tick::Over => return,
            Tick::GoOn => {
                awake = 0;
                tick_time = Pace::longer(tick_time);
            }
            Tick::Suspect(thread) => {
                // One that waits for a processor, or for the lock, is not blocked.
                let is_awake = io::sleeps_in_transfer(thread, None) == Some(false);
                awake += 1;
                tick_time = Pace::TICK;
                if is_awake && awake <= Pace::AWAKE {
                    continue;
                }
                let mut goes_on = true;
                look_after(engine, |table| {
                    let pace = &mut table.workers.pace;
                    // It may only be waiting for a processor; but it may also have very much to copy.
                    goes_on = is_awake && pace.is_stuck(thread) || !pace.stands_still(thread);
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

/// A lock section of the watch. If `look` says so, because its worker does not get on or nobody will watch any more, it breaks
/// up a burst; what may take long then is for others.
fn look_after(engine: &'static Engine, look: impl FnOnce(&mut Table) -> bool) {
    let end = |table: &mut Table| if look(table) { table.break_burst() } else { burst::NONE };
    complete::finish_several(engine, Rest::Others, end, |table| (None, HandOuts::prepare(table)));
}
