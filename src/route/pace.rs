//! How many workers at a time: one for each request that blocks, few for those that do not.
//!
//! A request that waits for the device wants a worker of its own at once. One that only copies to or from the page cache is
//! over before another worker is awake, and workers beyond the processors only get in each other's way. Nobody can tell
//! beforehand which it is; so the time that the last ones took decides. When work is left to the workers that run, one idle
//! worker keeps watch: if nothing ends from one tick to the next, they are blocked, and the work is given out after all.
//!
//! Measured (2 processors, depth 32, cached reads of 4 KiB): a worker for each request costs 1.2 context switches and 10 µs
//! of processor time per read; one worker that takes them in turn 4.5 µs, at twice the rate.

use crate::order::Kind;
use crate::sys::clock::Nanos;
use crate::sys::environment;

pub struct Pace {
    /// How long buffered reads and writes take, averaged over the last few.
    read: Nanos,
    write: Nanos,
    /// As many workers as there are processors beside the caller's own, at least one.
    workers_at_once: usize,
    watched: bool,
    /// Requests that have ended; what it was at the last tick; ticks without a backlog.
    ended: u64,
    seen: u64,
    quiet: u32,
}

impl Pace {
    /// Shorter than a wait for any device, longer than a copy of a few pages.
    const SLOW: Nanos = 10_000;

    /// What a request may wait behind a worker that turned out to be blocked.
    pub const TICK: Nanos = 200_000;

    /// Ticks without a backlog before the watch ends.
    const PATIENCE: u32 = 10;

    /// Requests that wait for each running worker before another one joins in.
    const BACKLOG: usize = 8;

    /// Until something is known, requests count as slow.
    pub fn new() -> Pace {
        let workers_at_once = environment::processors().saturating_sub(1).max(1);
        Pace {
            read: 10 * Pace::SLOW,
            write: 10 * Pace::SLOW,
            workers_at_once,
            watched: false,
            ended: 0,
            seen: 0,
            quiet: 0,
        }
    }

    /// Whether the next request is worth waking a worker for, beside those that run.
    pub fn wants_worker(&self, kind: Kind, direct: bool, running: u32, ready: usize) -> bool {
        let fast = match kind {
            Kind::Read => self.read < Pace::SLOW,
            Kind::Write | Kind::Append => self.write < Pace::SLOW,
            Kind::DataSync | Kind::Sync => false,
        };
        let running = usize::try_from(running).unwrap_or(usize::MAX);
        let joins_in = running < self.workers_at_once && ready > Pace::BACKLOG * running;
        running == 0 || direct || !fast || joins_in
    }

    /// A request has ended; it took this long.
    pub fn ended(&mut self, kind: Kind, time: Nanos) {
        const MOST: Nanos = 1_000_000;
        self.ended += 1;
        let average = match kind {
            Kind::Read => &mut self.read,
            Kind::Write | Kind::Append => &mut self.write,
            Kind::DataSync | Kind::Sync => return,
        };
        *average = (*average * 3 + time.min(MOST)) / 4;
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
            (self.read, self.write) = (10 * Pace::SLOW, 10 * Pace::SLOW);
        }
        self.quiet = if backlog { 0 } else { self.quiet + 1 };
        self.seen = self.ended;
        let over = stuck || self.quiet > Pace::PATIENCE;
        self.watched &= !over;
        over
    }
}
