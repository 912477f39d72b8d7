//! The child of a process that was cloned without its fork handlers (`_Fork`, a raw `clone`): locks of the C library may be held
//! there by threads that do not exist, so that to make a thread may take for ever. There the calls do the work themselves, and
//! need nothing of the C library.
//!
//! A request on a file has ended when its call returns. One on a stream that would have to wait is tried again by each later
//! call, aio_error included, and by whoever waits, every millisecond. What only a thread could do is refused with EAGAIN: a
//! function to call, and a write that cannot be told not to wait (to a terminal, say).

use crate::dispatch::wakeups::Wakeups;
use crate::engine::{Caller, Engine, Locked};
use crate::sys::cancellation::put_off;
use crate::sys::clock::{self, Nanos};
use crate::sys::signals::without_those_of_writes;
use crate::sys::thread;
use crate::threads::{delivery, poller, run_inline};

/// Runs all that is ready, where there is no thread that would.
pub fn run_all(caller: &Caller) {
    let engine = caller.engine;
    if !engine.threadless {
        return;
    }
    // What it calls may be cancellation points.
    put_off(|| {
        let thread = thread::current_id();
        without_those_of_writes(|| {
            poller::try_all(engine, thread);
            while run_inline::run_next(engine, thread) {}
        });
        // Signals whose queue was full.
        delivery::try_pending(engine);
    });
}

/// The same, for calls that hand nothing in. True: this is such a process.
pub fn help() -> bool {
    let Some(engine) = Engine::current().filter(|engine| engine.threadless) else { return false };
    if let Some(caller) = Caller::enter(engine) {
        run_all(&caller);
    }
    true
}

/// For whoever is about to sleep: until when. To be called again then.
pub fn help_and_look_again(deadline: Option<Nanos>) -> Option<Nanos> {
    if !help() {
        return deadline;
    }
    let soon = clock::now().saturating_add(clock::MILLISECOND);
    Some(deadline.map_or(soon, |deadline| deadline.min(soon)))
}

/// Releases the lock and wakes whoever runs what is ready, or runs it.
pub fn unlock_and_wake(caller: &Caller, mut table: Locked) {
    let wakeups = Wakeups::collect(&mut table);
    drop(table);
    wakeups.send(caller.engine);
    run_all(caller);
}
