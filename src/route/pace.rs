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
    /// Requests that have ended; what it was at the last tick; ticks without a backlog.
    ended: u64,
    seen: u64,
    quiet: u32,
}

/// Buffered reads, or buffered writes.
struct Class {
    /// How long one takes when no other of its class runs, averaged over the last few.
    alone: Nanos,
    running: u32,
    /// The average shrinks by this part with each that did not run alone, so that one is tried alone again.
    forgets: Nanos,
}

/// Shorter than a wait for any device, longer than a copy of a few pages.
const SLOW: Nanos = 10_000;

impl Pace {
    /// What a request may wait behind a worker that turned out to be blocked.
    pub const TICK: Nanos = 200_000;

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
            ended: 0,
            seen: 0,
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

    /// A request has ended; it took this long.
    pub fn ended(&mut self, kind: Kind, unbuffered: bool, alone: bool, time: Nanos) {
        self.ended += 1;
        if let Some(class) = self.class(kind, unbuffered) {
            class.ended(alone, time);
        }
    }

    pub fn watched(&self) -> bool {
        self.watched
    }

    /// Somebody has to keep watch. False: somebody does.
    pub fn start_watch(&mut self) -> bool {
        (self.seen, self.quiet) = (self.ended, 0);
        !std::mem::replace(&mut self.watched, true)
    }

    /// A look at the running workers. True: the watch is over.
    pub fn tick(&mut self, backlog: bool) -> bool {
        let stuck = backlog && self.seen == self.ended;
        if stuck {
            self.reads.alone = 10 * SLOW;
            self.writes.alone = 10 * SLOW;
        }
        self.quiet = if backlog { 0 } else { self.quiet + 1 };
        self.seen = self.ended;
        let over = stuck || self.quiet > Pace::PATIENCE;
        self.watched &= !over;
        over
    }
}

impl Class {
    /// Until something is known, requests count as slow.
    fn new(forgets: Nanos) -> Class {
        Class { alone: 10 * SLOW, running: 0, forgets }
    }

    fn ended(&mut self, alone: bool, time: Nanos) {
        const MOST: Nanos = 100 * SLOW;
        self.running -= 1;
        if alone {
            self.alone = (self.alone * 3 + time.min(MOST)) / 4;
        } else {
            self.alone -= self.alone / self.forgets;
        }
    }
}
