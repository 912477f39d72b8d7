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

use crate::dispatch::complete;
use crate::engine::{Engine, Locked};
use crate::sys::clock;
use crate::sys::thread::{self, Pause};
use crate::table::Table;
use crate::threads::worker;

/// What `ps -L` shows.
const NAME: &std::ffi::CStr = c"aio_rs/starter";

/// What the table knows of the starter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StarterState {
    /// There is none.
    Absent,
    /// It is being made, or looks at the table soon by itself.
    Awake,
    /// It sleeps until it is called.
    Sleeps,
}

/// Workers that the starter has to make, and what became of the others. In the table.
pub struct Starting {
    pub state: StarterState,
    /// Workers that are wanted; the pool counts them already.
    pub wanted: u32,
    /// Times that the starter has made one, or could not.
    answers: u64,
    /// The last one could not be had.
    refused: bool,
    /// Somebody has looked for an answer in vain, and there was none since.
    stuck: bool,
}

impl Starting {
    pub const fn new() -> Starting {
        Starting { state: StarterState::Absent, wanted: 0, answers: 0, refused: false, stuck: false }
    }

    /// True: the starter was absent, and is the caller's to make.
    pub fn claim(&mut self) -> bool {
        let absent = self.state == StarterState::Absent;
        if absent {
            self.state = StarterState::Awake;
        }
        absent
    }

    fn answer(&mut self, refused: bool) {
        self.answers += 1;
        self.refused = refused;
        self.stuck = false;
    }
}

impl Table {
    /// Whether the starter sleeps and has something to do; it is to be called when the lock is released.
    pub fn calls_starter(&mut self) -> bool {
        let calls = self.starting.state == StarterState::Sleeps && self.has_starter_work();
        if calls {
            self.starting.state = StarterState::Awake;
        }
        calls
    }

    fn has_starter_work(&self) -> bool {
        self.starting.wanted > 0 || self.notices.has_functions() || self.workers.is_without_thread()
    }

    /// The wanted workers cannot be had.
    fn give_up_wanted(&mut self) {
        self.workers.never_started(self.starting.wanted);
        self.starting.wanted = 0;
        self.starting.answer(true);
    }
}

/// Makes the starter that was claimed, unless it is of no use. True: it is there.
pub fn make(engine: &'static Engine, useful: bool) -> bool {
    let made = useful && thread::spawn(main, ptr::from_ref(engine).cast_mut().cast()).is_ok();
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
            Turn::Function => tries_again = !complete::deliver_function(engine),
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
    } else if table.notices.has_functions() {
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
