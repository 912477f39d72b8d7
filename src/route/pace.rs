//! How many workers at a time: one for each request that blocks, few for those that do not.
//!
//! A request that waits for the device wants a worker of its own at once. One that only copies to or from the page cache is
//! over before another worker is awake, and more workers only get in each other's way: writes to one file even wait for
//! each other in the kernel. Nobody can tell beforehand which it is; so the time decides that the last ones took which ran
//! alone. When work is left to the workers that run, one idle worker keeps watch: if nothing ends from one tick to the
//! next, they are blocked, and the work is given out after all.
//!
//! Measured (2 processors, depth 32, cached reads of 4 KiB): a worker for each request costs 1.2 context switches and 10 µs
//! of processor time per read; one worker that takes them in turn 4.5 µs, at twice the rate.

use crate::order::Kind;
use crate::sys::clock::Nanos;
use crate::sys::environment;

pub struct Pace {
    reads: Class,
    writes: Class,
    /// As many workers as there are processors beside the caller's own, at least one.
    workers_at_once: u32,
    watched: bool,
    /// Ticks without a backlog.
    quiet: u32,
}

/// What a look at the running workers shows.
pub enum Tick {
    /// Nothing to watch for a while.
    Over,
    GoOn,
    /// This thread has ended nothing since the last tick.
    Suspect(i32),
}

/// Buffered reads, or buffered writes.
struct Class {
    /// How long one takes when no other of its class runs, averaged over the last few.
    alone: Nanos,
    running: u32,
    /// Requests that have ended; what it was at the last tick.
    ended: u64,
    seen: u64,
    /// The thread that was the last to start one.
    thread: i32,
    /// The average shrinks by this part with each that did not run alone, so that one is tried alone again.
    forgets: Nanos,
}

/// Shorter than a wait for any device, longer than a copy of a few pages.
const SLOW: Nanos = 10_000;

/// One that took longer counts as this: it may only have lost its processor for a while.
const MOST: Nanos = 4 * SLOW;

impl Pace {
    /// What a request may wait behind a worker that turned out to be blocked, to begin with.
    pub const TICK: Nanos = 200_000;

    /// The same after a tick without suspicion: where all has been well for long, four times as much.
    pub fn longer(tick: Nanos) -> Nanos {
        (tick + tick / 8).min(4 * Pace::TICK)
    }

    /// Ticks that a thread may run on without ending anything: longer than a time slice.
    pub const AWAKE: u32 = 20;

    /// Ticks without a backlog before the watch ends.
    const PATIENCE: u32 = 10;

    /// Requests that wait for each running worker before another one joins in.
    const BACKLOG: usize = 8;

    pub fn new() -> Pace {
        let processors = u32::try_from(environment::processors()).unwrap_or(1);
        Pace {
            reads: Class::new(512),
            writes: Class::new(64),
            workers_at_once: processors.saturating_sub(1).max(1),
            watched: false,
            quiet: 0,
        }
    }

    /// Requests that do not block for long belong to a class; barriers, O_DIRECT and streams do not.
    fn class(&mut self, kind: Kind, unbuffered: bool) -> Option<&mut Class> {
        match kind {
            _ if unbuffered => None,
            Kind::Read => Some(&mut self.reads),
            Kind::Write | Kind::Append => Some(&mut self.writes),
            Kind::DataSync | Kind::Sync => None,
        }
    }

    /// Whether the next request is worth waking a worker for, beside those that run.
    pub fn wants_worker(&mut self, kind: Kind, unbuffered: bool, ready: usize) -> bool {
        let most = self.workers_at_once;
        let Some(class) = self.class(kind, unbuffered) else { return true };
        let running = usize::try_from(class.running).unwrap_or(usize::MAX);
        let joins_in = kind == Kind::Read && class.running < most && ready > Pace::BACKLOG * running;
        running == 0 || class.alone >= SLOW || joins_in
    }

    /// A worker takes a request. Returns whether no other of its class runs.
    pub fn started(&mut self, kind: Kind, unbuffered: bool) -> bool {
        self.class(kind, unbuffered).is_some_and(|class| {
            class.running += 1;
            class.running == 1
        })
    }

    /// Which thread that is.
    pub fn runs_in(&mut self, kind: Kind, unbuffered: bool, thread: i32) {
        if let Some(class) = self.class(kind, unbuffered) {
            class.thread = thread;
        }
    }

    /// Whether a request took so long that it probably waited.
    pub fn is_long(time: Nanos) -> bool {
        time >= SLOW
    }

    /// A request has ended. `alone`: how long it took, if no other of its class ran.
    pub fn ended(&mut self, kind: Kind, unbuffered: bool, alone: Option<Nanos>) {
        if let Some(class) = self.class(kind, unbuffered) {
            class.ended(alone);
        }
    }

    pub fn watched(&self) -> bool {
        self.watched
    }

    /// Somebody has to keep watch. False: somebody does.
    pub fn start_watch(&mut self) -> bool {
        for class in [&mut self.reads, &mut self.writes] {
            class.seen = class.ended;
        }
        self.quiet = 0;
        !std::mem::replace(&mut self.watched, true)
    }

    /// Whether a worker runs something that will be over in a moment, and somebody notices if it is not.
    pub fn is_quick(&self) -> bool {
        self.watched && [&self.reads, &self.writes].into_iter().any(|class| class.running > 0 && class.alone < SLOW)
    }

    /// Whether a worker writes something that will be over in a moment.
    pub fn is_quick_writing(&self) -> bool {
        self.writes.running > 0 && self.writes.alone < SLOW
    }

    /// A look at the running workers.
    pub fn tick(&mut self, backlog: bool) -> Tick {
        let mut suspect = None;
        for class in [&mut self.reads, &mut self.writes] {
            if backlog && class.running > 0 && class.seen == class.ended {
                suspect = Some(class.thread);
            }
            class.seen = class.ended;
        }
        if let Some(thread) = suspect {
            return Tick::Suspect(thread);
        }
        self.quiet = if backlog { 0 } else { self.quiet + 1 };
        if self.quiet <= Pace::PATIENCE {
            return Tick::GoOn;
        }
        self.watched = false;
        Tick::Over
    }

    /// A thread does stand still: what waits for it goes to others, and the watch is over.
    pub fn stands_still(&mut self, thread: i32) {
        for class in [&mut self.reads, &mut self.writes] {
            if class.running > 0 && class.thread == thread {
                class.alone = MOST;
            }
        }
        self.watched = false;
    }
}

impl Class {
    /// Until something is known, requests count as slow.
    fn new(forgets: Nanos) -> Class {
        Class { alone: MOST, running: 0, ended: 0, seen: 0, thread: 0, forgets }
    }

    fn ended(&mut self, alone: Option<Nanos>) {
        self.running -= 1;
        self.ended += 1;
        match alone {
            Some(time) => self.alone = (self.alone * 7 + time.min(MOST)) / 8,
            None => self.alone -= self.alone / self.forgets,
        }
    }
}
