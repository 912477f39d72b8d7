//! The concurrency limit: how many workers run at a time. One for each request that blocks, few for those that do not.
//!
//! A request that waits for the device needs a worker of its own at once. One that only copies to or from the page cache is over before
//! another worker is awake, and more workers only get in each other's way: writes to one file even wait for each other in the kernel.
//! Nobody can tell beforehand which it is; so the limit goes by how long the last ones took that ran alone. When work is left to the
//! workers that run, an idle worker is their watchdog: if nothing ends from one tick to the next, they are blocked, and the work is
//! given to others after all.
//!
//! Measured (2 processors, depth 32, cached reads of 4 KiB): a worker for each request costs 1.2 context switches and 10 µs of
//! processor time per read; one worker that takes them in turn 4.5 µs, at twice the rate.

use crate::order::Kind;
use crate::sys::clock::Nanos;
use crate::sys::environment;

pub struct ConcurrencyLimit {
    reads: Class,
    writes: Class,
    /// As many workers as there are processors beside the caller's own, at least one.
    workers_at_once: u32,
    has_watchdog: bool,
    /// Ticks without a backlog.
    quiet: u32,
}

/// What a look at the running workers shows.
pub enum Tick {
    /// Nothing to watch for a while.
    Over,
    GoOn,
    /// This thread has ended nothing since the last tick; 0: one of which only that is known.
    Suspect(i32),
}

/// Buffered reads, or buffered writes.
struct Class {
    /// What the last ones say that ran when no other of the class did: goes up with each that was slow, down with each that
    /// was not. A mean would not do: one that lost its processor for a while (to another machine on the same hardware, say)
    /// would count as much as fifty others.
    slowness: u32,
    running: u32,
    /// Requests that have ended; what it was at the last tick.
    ended: u64,
    seen: u64,
    /// The thread of the most recent start, `NOBODY` once that request has ended: the suspect if nothing ends between two ticks.
    thread: i32,
    /// A thread that makes no progress with its request although it is awake (it has no processor, or very much to copy); or `NOBODY`.
    stuck: i32,
    /// The slowness goes down once in so many that did not run alone, so that one is tried alone again.
    forgets: u32,
    not_alone: u32,
}

/// Shorter than a wait for any device, longer than a copy of a few pages.
const SLOW: Nanos = 10_000;

/// Instead of a thread.
const NOBODY: i32 = 0;

/// What one slow request adds to the slowness; a quick one takes off 1. So one in five decides.
const WEIGHT: u32 = 4;

/// From here on the class counts as slow: after three slow ones close together.
const TOO_SLOW: u32 = 2 * WEIGHT + 1;

/// No more than this: in a slow class one that is tried alone, and quick, soon changes that.
const MOST: u32 = TOO_SLOW + 1;

impl ConcurrencyLimit {
    /// What a request may wait behind a worker that turned out to be blocked, to begin with.
    pub const TICK: Nanos = 200_000;

    /// The same after a tick without suspicion: where all has been well for long, four times as much.
    pub fn longer(tick: Nanos) -> Nanos {
        (tick + tick / 8).min(4 * ConcurrencyLimit::TICK)
    }

    /// Ticks that a thread may be awake without ending anything: longer than a time slice.
    pub const AWAKE: u32 = 20;

    /// Ticks without a backlog before the watchdog's role ends.
    const PATIENCE: u32 = 10;

    /// Requests that wait for each running worker before another one joins in.
    const BACKLOG: usize = 8;

    pub fn new() -> ConcurrencyLimit {
        let processors = u32::try_from(environment::processors()).unwrap_or(1);
        ConcurrencyLimit {
            reads: Class::new(64),
            writes: Class::new(8),
            workers_at_once: processors.saturating_sub(1).max(1),
            has_watchdog: false,
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
        let running = usize::try_from(class.getting_on()).unwrap_or(usize::MAX);
        let joins_in = kind == Kind::Read && class.running < most && ready > ConcurrencyLimit::BACKLOG * running;
        running == 0 || class.is_slow() || joins_in
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

    /// A request has ended. `alone`: how long it took, if no other of its class ran and that says something.
    pub fn one_ended(&mut self, kind: Kind, unbuffered: bool, alone: Option<Nanos>) {
        if let Some(class) = self.class(kind, unbuffered) {
            class.one_ended(alone);
        }
    }

    /// A thread has no request any more.
    pub fn left(&mut self, kind: Kind, unbuffered: bool, thread: i32) {
        if let Some(class) = self.class(kind, unbuffered) {
            class.left(thread);
        }
    }

    /// Both.
    pub fn ended(&mut self, kind: Kind, unbuffered: bool, thread: i32, alone: Option<Nanos>) {
        self.left(kind, unbuffered, thread);
        self.one_ended(kind, unbuffered, alone);
    }

    pub fn has_watchdog(&self) -> bool {
        self.has_watchdog
    }

    /// A watchdog is needed. False: there is one.
    pub fn start_watchdog(&mut self) -> bool {
        self.quiet = 0;
        if self.has_watchdog {
            return false;
        }
        for class in [&mut self.reads, &mut self.writes] {
            class.seen = class.ended;
        }
        self.has_watchdog = true;
        true
    }

    /// Whether a worker runs something that will be over in a moment, and the watchdog notices if it is not.
    pub fn is_quick(&self) -> bool {
        self.has_watchdog
            && [&self.reads, &self.writes].into_iter().any(|class| class.getting_on() > 0 && !class.is_slow())
    }

    /// Whether requests like this one are over in a moment, and the watchdog notices if one is not.
    pub fn is_quick_class(&mut self, kind: Kind, unbuffered: bool) -> bool {
        self.has_watchdog && self.class(kind, unbuffered).is_some_and(|class| !class.is_slow())
    }

    /// Whether buffered transfers of these kinds are of one class.
    pub fn are_alike(one: Kind, other: Kind) -> bool {
        !one.is_barrier() && !other.is_barrier() && (one == Kind::Read) == (other == Kind::Read)
    }

    /// Whether a worker writes something that will be over in a moment.
    pub fn is_quick_writing(&self) -> bool {
        self.writes.getting_on() > 0 && !self.writes.is_slow()
    }

    /// The threads that one would suspect.
    pub fn suspects(&self) -> [i32; 2] {
        [self.reads.thread, self.writes.thread]
    }

    /// A look at the running workers. Those of a slow class hold up nobody: what waits has workers of its own.
    pub fn tick(&mut self, backlog: bool) -> Tick {
        let (mut suspect, mut some_quick) = (None, false);
        for class in [&mut self.reads, &mut self.writes] {
            if class.running > 0 && !class.is_slow() {
                some_quick = true;
                if backlog && class.seen == class.ended {
                    suspect = Some(class.thread);
                }
            }
            class.seen = class.ended;
        }
        if let Some(thread) = suspect {
            return Tick::Suspect(thread);
        }
        self.quiet = if backlog && some_quick { 0 } else { self.quiet + 1 };
        if self.quiet <= ConcurrencyLimit::PATIENCE {
            return Tick::GoOn;
        }
        self.has_watchdog = false;
        Tick::Over
    }

    /// A thread is blocked, if it still has not ended anything since the last tick: what waits for it goes to others, and the
    /// watchdog's role ends. False: it was not blocked, but had nothing to do.
    pub fn stands_still(&mut self, thread: i32) -> bool {
        let mut some = false;
        for class in [&mut self.reads, &mut self.writes] {
            if class.running > 0 && class.thread == thread && class.seen == class.ended {
                (class.slowness, some) = (MOST, true);
            }
        }
        self.has_watchdog &= !some;
        some
    }

    /// A thread has not got on for long although it is awake: another one joins in. False: one has done so before.
    pub fn is_stuck(&mut self, thread: i32) -> bool {
        let mut first = false;
        for class in [&mut self.reads, &mut self.writes] {
            if class.running > 0 && class.thread == thread && class.stuck == NOBODY {
                (class.stuck, first) = (thread, true);
            }
        }
        first
    }
}

impl Class {
    /// Until something is known, requests count as slow.
    fn new(forgets: u32) -> Class {
        Class { slowness: MOST, running: 0, ended: 0, seen: 0, thread: NOBODY, stuck: NOBODY, forgets, not_alone: 0 }
    }

    fn is_slow(&self) -> bool {
        self.slowness >= TOO_SLOW
    }

    /// Of those that run, all but a stuck one.
    fn getting_on(&self) -> u32 {
        self.running.saturating_sub(u32::from(self.stuck != NOBODY))
    }

    fn left(&mut self, thread: i32) {
        self.running -= 1;
        if thread == self.thread {
            self.thread = NOBODY;
        }
        if thread == self.stuck || self.running == 0 {
            self.stuck = NOBODY;
        }
    }

    fn one_ended(&mut self, alone: Option<Nanos>) {
        self.ended += 1;
        match alone {
            Some(time) if ConcurrencyLimit::is_long(time) => self.slowness = (self.slowness + WEIGHT).min(MOST),
            Some(_) => self.slowness = self.slowness.saturating_sub(1),
            None => self.forget(),
        }
    }

    fn forget(&mut self) {
        self.not_alone += 1;
        if self.not_alone >= self.forgets {
            self.not_alone = 0;
            self.slowness = self.slowness.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Option<Nanos> = Some(2_000);
    const LONG: Option<Nanos> = Some(5_000_000);
    const ONE: i32 = 1;
    const OTHER: i32 = 2;

    fn run(limit: &mut ConcurrencyLimit, time: Option<Nanos>) {
        limit.started(Kind::Read, false);
        limit.runs_in(Kind::Read, false, ONE);
        limit.ended(Kind::Read, false, ONE, time);
    }

    /// After a few quick reads, with one more running.
    fn quick() -> ConcurrencyLimit {
        let mut limit = ConcurrencyLimit::new();
        (0..20).for_each(|_| run(&mut limit, QUICK));
        limit.started(Kind::Read, false);
        limit.runs_in(Kind::Read, false, ONE);
        limit
    }

    /// The worker ends its read and takes another one.
    fn run_next(limit: &mut ConcurrencyLimit) {
        limit.ended(Kind::Read, false, ONE, QUICK);
        limit.started(Kind::Read, false);
        limit.runs_in(Kind::Read, false, ONE);
    }

    fn wants_worker(limit: &mut ConcurrencyLimit) -> bool {
        limit.wants_worker(Kind::Read, false, 1)
    }

    #[test]
    fn what_is_not_known_counts_as_slow() {
        let mut limit = ConcurrencyLimit::new();
        limit.started(Kind::Read, false);
        assert!(wants_worker(&mut limit));
        assert!(!wants_worker(&mut quick()));
    }

    #[test]
    fn three_slow_ones_close_together_tell_and_a_single_one_does_not() {
        let mut limit = quick();
        for _ in 0..100 {
            run(&mut limit, LONG);
            (0..6).for_each(|_| run(&mut limit, QUICK));
            assert!(!wants_worker(&mut limit));
        }
        (0..3).for_each(|_| run(&mut limit, LONG));
        assert!(wants_worker(&mut limit));
        // One is tried alone again after a while, and tells anew.
        (0..1000).for_each(|_| run(&mut limit, None));
        assert!(!wants_worker(&mut limit));
    }

    #[test]
    fn another_one_joins_in_for_a_stuck_one_until_that_ends() {
        let mut limit = quick();
        assert!(limit.is_stuck(ONE));
        assert!(wants_worker(&mut limit));
        limit.started(Kind::Read, false);
        limit.runs_in(Kind::Read, false, OTHER);
        assert!(!wants_worker(&mut limit));
        assert!(!limit.is_stuck(OTHER));
        limit.ended(Kind::Read, false, ONE, None);
        assert!(!wants_worker(&mut limit));
        limit.ended(Kind::Read, false, OTHER, QUICK);
        assert!(wants_worker(&mut limit));
    }

    #[test]
    fn nobody_is_suspected_who_gets_on_however_much_there_is_to_do() {
        let mut limit = quick();
        assert!(limit.start_watchdog());
        for _ in 0..3 {
            run_next(&mut limit);
            assert!(!limit.start_watchdog());
            assert!(matches!(limit.tick(true), Tick::GoOn));
        }
        assert!(matches!(limit.tick(true), Tick::Suspect(ONE)));
    }

    #[test]
    fn one_that_stands_still_is_found_when_another_one_that_began_later_has_left() {
        let mut limit = quick();
        limit.started(Kind::Read, false);
        limit.runs_in(Kind::Read, false, OTHER);
        assert!(limit.start_watchdog());
        limit.ended(Kind::Read, false, OTHER, None);
        assert!(matches!(limit.tick(true), Tick::GoOn));
        let Tick::Suspect(thread) = limit.tick(true) else { panic!("nobody is suspected") };
        assert!(thread != OTHER && limit.stands_still(thread) && wants_worker(&mut limit));
    }

    #[test]
    fn readers_that_stand_still_are_found_beside_writers_that_do() {
        let mut limit = quick();
        for _ in 0..20 {
            limit.started(Kind::Write, false);
            limit.runs_in(Kind::Write, false, OTHER);
            limit.ended(Kind::Write, false, OTHER, QUICK);
        }
        limit.started(Kind::Write, false);
        limit.runs_in(Kind::Write, false, OTHER);
        for _ in 0..2 {
            assert!(limit.start_watchdog());
            let Tick::Suspect(thread) = limit.tick(true) else { panic!("nobody is suspected") };
            assert!(limit.stands_still(thread));
        }
        assert!(wants_worker(&mut limit) && limit.wants_worker(Kind::Write, false, 1));
    }
}
