//! Who takes a context's events: the program through io_getevents of the library, which puts the program's iocbs into them; or
//! by itself, from the ring or by raw system calls, and then it finds there what the kernel has stored.
//!
//! The ring's head tells: what the library has not moved it by, somebody else has.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Of one context.
pub struct Reaping {
    /// How often io_getevents or its like was called. Not exact: of two calls at the same time one may be lost.
    calls: AtomicU32,
    /// `calls` when a ready sync had waited in vain for another call.
    silent: AtomicU32,
    /// The program has taken events by other means.
    by_program: AtomicBool,
    /// Calls of the library's that are in the kernel, or on the way there or back.
    inside: AtomicU32,
    /// Events that they took.
    taken: AtomicU64,
    /// Where the ring's head was at first.
    base: AtomicU32,
    /// Counts the contexts that these records were given to.
    generation: AtomicU64,
    /// Deferred syncs: they have reserved records, but nothing in flight. Under the lock.
    pub deferred: AtomicU32,
}

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaper {
    /// Nobody has taken an event, nor called io_getevents.
    Unknown,
    /// The library took all so far, but no thread is in io_getevents now.
    LibraryBefore,
    Library,
    /// The program itself, at least once.
    Program,
}

/// A call that may take events. Ends when dropped.
pub struct Visit<'a>(&'a Reaping);

impl Visit<'_> {
    pub fn took(&self, events: u64) {
        // SeqCst, as all of `inside` and `taken`: see `calm`.
        self.0.taken.fetch_add(events, Ordering::SeqCst);
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reaping {
    pub const fn new() -> Reaping {
        Reaping {
            calls: AtomicU32::new(0),
            silent: AtomicU32::new(0),
            by_program: AtomicBool::new(false),
            inside: AtomicU32::new(0),
            taken: AtomicU64::new(0),
            base: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            deferred: AtomicU32::new(0),
        }
    }

    /// The context was just made, or is met for the first time.
    pub fn begin(&self, head: u32) {
        self.calls.store(0, Ordering::Relaxed);
        self.silent.store(0, Ordering::Relaxed);
        self.by_program.store(false, Ordering::Relaxed);
        self.inside.store(0, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
        self.deferred.store(0, Ordering::Relaxed);
        self.base.store(head, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The program calls io_getevents or its like.
    pub fn announce(&self) {
        // One that is lost because of another does not matter. Never 0: that is none.
        let next = self.calls.load(Ordering::Relaxed).wrapping_add(1);
        self.calls.store(next.max(1), Ordering::Relaxed);
    }

    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// A ready sync has waited long enough for another call: those behind it do not, until there is one.
    pub fn be_silent(&self) {
        self.silent.store(self.calls(), Ordering::Relaxed);
    }

    pub fn visit(&self) -> Visit<'_> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        Visit(self)
    }

    /// Who takes the events. `head` reads the ring's; `ready`: how many calls there were when there was a sync to be submitted.
    pub fn reaper(&self, size: u32, ready: u32, head: impl Fn() -> u32) -> Reaper {
        if self.by_program.load(Ordering::Relaxed) {
            return Reaper::Program;
        }
        let expected = |taken: u64| (u64::from(self.base.load(Ordering::Relaxed)) + taken) % u64::from(size.max(1));
        if self.calm(&head).is_some_and(|(head, taken)| u64::from(head % size.max(1)) != expected(taken)) {
            self.by_program.store(true, Ordering::Relaxed);
            return Reaper::Program;
        }
        match self.calls() {
            0 => Reaper::Unknown,
            calls if calls == ready && calls != self.silent.load(Ordering::Relaxed) && self.is_calm() => {
                Reaper::LibraryBefore
            }
            _ => Reaper::Library,
        }
    }

    /// Where the head is, and how many events the library has taken, at a moment when it was not taking any. A call that moves the
    /// head is inside before, and has counted its events when it leaves.
    fn calm(&self, head: impl Fn() -> u32) -> Option<(u32, u64)> {
        let taken = self.taken.load(Ordering::SeqCst);
        if self.inside.load(Ordering::SeqCst) != 0 {
            return None;
        }
        let head = head();
        let still = self.inside.load(Ordering::SeqCst) == 0 && self.taken.load(Ordering::SeqCst) == taken;
        still.then_some((head, taken))
    }

    /// Whether no call of the library's is taking events.
    pub fn is_calm(&self) -> bool {
        self.inside.load(Ordering::SeqCst) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(head: u32) -> Reaping {
        // SAFETY: all zeroes is one.
        let reaping: Reaping = unsafe { std::mem::zeroed() };
        reaping.begin(head);
        reaping
    }

    #[test]
    fn events_that_the_library_took_are_nobody_elses() {
        let reaping = begun(5);
        assert_eq!(reaping.reaper(8, 0, || 5), Reaper::Unknown);
        reaping.announce();
        for taken in 1..100u32 {
            let visit = reaping.visit();
            // The kernel has moved the head already.
            assert_eq!(reaping.reaper(8, 0, || (5 + taken) % 8), Reaper::Library);
            visit.took(1);
            drop(visit);
            assert_eq!(reaping.reaper(8, 0, || (5 + taken) % 8), Reaper::Library);
        }
    }

    #[test]
    fn an_event_that_the_program_took_is_remembered() {
        let reaping = begun(0);
        assert_eq!(reaping.reaper(8, 0, || 1), Reaper::Program);
        reaping.announce();
        let visit = reaping.visit();
        visit.took(7);
        drop(visit);
        assert_eq!(reaping.reaper(8, 0, || 0), Reaper::Program);
        reaping.begin(3);
        assert_eq!(reaping.reaper(8, 0, || 3), Reaper::Unknown);
    }
    #[test]
    fn that_the_library_took_events_says_little_until_it_is_called_again() {
        let reaping = begun(0);
        reaping.announce();
        let ready = reaping.calls();
        assert_eq!(reaping.reaper(8, ready, || 0), Reaper::LibraryBefore);
        let visit = reaping.visit();
        assert_eq!(reaping.reaper(8, ready, || 1), Reaper::Library);
        drop(visit);
        reaping.announce();
        assert_eq!(reaping.reaper(8, ready, || 0), Reaper::Library);
        let ready = reaping.calls();
        assert_eq!(reaping.reaper(8, ready, || 0), Reaper::LibraryBefore);
        reaping.be_silent();
        assert_eq!(reaping.reaper(8, ready, || 0), Reaper::Library);
        assert_eq!(reaping.reaper(8, ready, || 1), Reaper::Program);
    }
}
