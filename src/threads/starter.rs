//! The starter: the one thread that makes the others, workers and the threads of functions.
//!
//! Making a thread needs the C library's memory allocator. A signal handler may have interrupted a thread of the program just
//! there, inside malloc, and wait for a request: that must not need malloc again. So no worker makes a thread, and nobody waits
//! for the starter: while it is stuck, the workers that are there go on with what is ready.
//!
//! It is made by the call that finds no thread at all, which makes the first worker, too; and it ends when there is no worker
//! any more. If it could not be had, workers do without more of their kind, and try again to make it when they need one.

use std::ffi::c_void;
use std::ptr;
use std::time::Duration;

use crate::engine::{Caller, Engine, Locked};
use crate::sys::errno::Result;
use crate::sys::thread;
use crate::table::roles::StarterState;
use crate::threads::{delivery, spawn, worker};

/// What `ps -L` shows.
const NAME: &std::ffi::CStr = c"aio_rs/starter";

/// Makes sure that there is a worker, if that is the way of this process. Error: EAGAIN, none can be started.
pub fn ensure(caller: &Caller) -> Result<Locked> {
    let mut table = caller.lock();
    if caller.engine.threadless {
        return Ok(table);
    }
    while table.workers.is_empty(table.starting.wanted) {
        // Another caller must not rely on a thread that perhaps cannot be had.
        table.workers.unconfirmed += 1;
        table.thread_starts();
        let makes_starter = table.starting.claim();
        table.starting.main = Some(main);
        drop(table);
        let started = worker::start(caller.engine);
        if makes_starter {
            spawn::make(caller.engine, started.is_ok());
        }
        table = caller.lock();
        table.workers.unconfirmed -= 1;
        started?;
    }
    Ok(table)
}

/// What the starter does next.
enum Turn {
    Worker,
    Function,
    Sleep,
    End,
}

extern "C-unwind" fn main(engine: *mut c_void) -> *mut c_void {
    // SAFETY: `make` passes an engine, which is never freed.
    let Some(engine) = (unsafe { engine.cast::<Engine>().as_ref() }) else {
        return ptr::null_mut();
    };
    let engine: &'static Engine = engine;
    thread::set_name(NAME);
    /// Before a function's thread is tried again that could not be had.
    const RETRY: Duration = Duration::from_millis(1);
    let mut tries_again = false;
    loop {
        match next_turn(engine, tries_again) {
            Turn::Worker => start_worker(engine),
            Turn::Function => tries_again = !delivery::deliver_function(engine),
            Turn::Sleep if tries_again => {
                engine.starter.wait(RETRY, false);
                tries_again = false;
            }
            Turn::Sleep => {
                const LONG: Duration = Duration::from_secs(3600);
                engine.starter.wait(LONG, false);
            }
            Turn::End => return ptr::null_mut(),
        }
    }
}

/// `tries_again`: a function had no thread just now.
fn next_turn(engine: &'static Engine, tries_again: bool) -> Turn {
    let mut table = engine.lock();
    table.starting.state = StarterState::Awake;
    if table.starting.wanted > 0 {
        Turn::Worker
    } else if tries_again {
        Turn::Sleep
    } else if table.notifications.has_functions() {
        Turn::Function
    } else if table.workers.is_without_thread() {
        table.starting.state = StarterState::Absent;
        Turn::End
    } else {
        table.starting.state = StarterState::Sleeps;
        Turn::Sleep
    }
}

fn start_worker(engine: &'static Engine) {
    let started = worker::start(engine);
    let mut table = engine.lock();
    table.starting.wanted -= 1;
    if started.is_ok() {
        table.starting.answer(false);
    } else {
        table.give_up_wanted();
    }
}
