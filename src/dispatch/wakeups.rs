//! Whom to wake when the table's lock is released: collected under the lock, sent after it.

use crate::engine::{Engine, Locked};
use crate::table::Table;
use crate::table::roles::PollerState;
use crate::table::roles::ReaperState;
use crate::worker_slot::WorkerSlot;

/// Workers that were given jobs, and threads with a role that have something to look at.
pub struct Wakeups {
    slots: [Option<&'static WorkerSlot>; Wakeups::MOST],
    /// The poller has to look at the table.
    wake_poller: bool,
    /// The reaper has to take results, if it leaves that to callers.
    call_reaper: bool,
    /// The reaper has to look at the table, whatever it does.
    wake_reaper: bool,
    /// There is a thread to be made.
    call_starter: bool,
}

impl Wakeups {
    const MOST: usize = 4;

    pub const NONE: Wakeups = Wakeups {
        slots: [None; Wakeups::MOST],
        wake_poller: false,
        call_reaper: false,
        wake_reaper: false,
        call_starter: false,
    };

    /// Gives ready work to idle workers, as long as there are both. If there is more work than this has room for workers, the last
    /// one is told to wake further ones (`chain`).
    pub fn collect(table: &mut Table) -> Wakeups {
        let mut slots = [None; Wakeups::MOST];
        let mut places = slots.iter_mut();
        loop {
            while places.len() > 0
                && let Some(slot) = table.give_one_job(places.len() == 1)
                && let Some(place) = places.next()
            {
                *place = Some(slot);
            }
            if table.choose_consumer() {
                break;
            }
        }
        Wakeups { slots, ..Wakeups::for_roles(table) }
    }

    /// Only what is not for workers.
    pub fn for_roles(table: &mut Table) -> Wakeups {
        let run_inline = table.needs_inline_run();
        let polls = table.poller == PollerState::On;
        Wakeups {
            wake_poller: polls && (table.order.has_stream_work() || table.streams_moved || run_inline),
            call_reaper: table.calls_reaper(),
            wake_reaper: !polls && run_inline && table.reaper != ReaperState::Off,
            call_starter: table.calls_starter(),
            ..Wakeups::NONE
        }
    }

    /// Releases the lock, then wakes.
    pub fn send_after(self, table: Locked, engine: &'static Engine) {
        drop(table);
        self.send(engine);
    }

    /// Calls the workers, the poller and the reaper.
    pub fn send(self, engine: &'static Engine) {
        if self.wake_poller {
            wake_poller(engine);
        }
        if self.wake_reaper {
            wake_reaper(engine);
        } else if self.call_reaper {
            engine.ring_owner.call_reaper();
        }
        self.slots.iter().flatten().for_each(|slot| slot.call());
        if self.call_starter {
            engine.starter.call();
        }
    }
}

/// Has the poller look at the table. Should its descriptors be lost, its thread cannot be woken, and another one takes the role.
pub fn wake_poller(engine: &'static Engine) {
    if engine.poller.wake() || !engine.poller.replace() {
        return;
    }
    let mut table = engine.lock();
    table.poller_turn = table.poller_turn.wrapping_add(1);
    table.poller = PollerState::Off;
    Wakeups::collect(&mut table).send_after(table, engine);
}

/// Has the reaper look at the table. If it waits for results and has no descriptor for that, it looks by itself.
pub fn wake_reaper(engine: &'static Engine) {
    if !engine.ring_owner.call_reaper() {
        let _ = engine.kernel.wake(engine.poller.always_ready());
    }
}
