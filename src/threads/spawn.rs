//! Making the starter.

use std::ptr;

use crate::engine::{Engine, Locked};
use crate::sys::clock;
use crate::sys::thread::{self, Pause};
use crate::table::roles::StarterState;

/// Makes the starter that was claimed, unless it is of no use. True: it is there.
pub fn make(engine: &'static Engine, useful: bool) -> bool {
    let main = engine.lock().starting.main;
    let spawn = |main| thread::spawn(main, ptr::from_ref(engine).cast_mut().cast()).is_ok();
    let made = useful && main.is_some_and(spawn);
    if !made {
        let mut table = engine.lock();
        table.starting.state = StarterState::Absent;
        table.give_up_wanted();
    }
    made
}

/// The same, unless it is there or being made.
pub fn make_if_absent(engine: &'static Engine) -> bool {
    let claimed = engine.lock().starting.claim();
    !claimed || make(engine, true)
}

/// Waits a moment for a worker that was wanted. False: there will be none soon.
pub fn worker_comes(engine: &'static Engine, mut table: Locked) -> bool {
    const PATIENCE: clock::Nanos = 20 * clock::MILLISECOND;
    let (before, stuck) = (table.starting.answers, table.starting.stuck);
    let calls = table.calls_starter();
    drop(table);
    if calls {
        engine.starter.call();
    }
    if stuck || !make_if_absent(engine) {
        return false;
    }
    let deadline = clock::now().saturating_add(PATIENCE);
    let mut pause = Pause::new();
    loop {
        let mut table = engine.lock();
        if table.starting.answers != before {
            return !table.starting.refused;
        }
        if clock::now() >= deadline {
            table.starting.stuck = true;
            return false;
        }
        drop(table);
        pause.once();
    }
}
