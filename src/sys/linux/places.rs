//! Sleeping on several words at once: places to sleep, each with a word of its own, and for each group of status words a mask
//! of the places to be woken.
//!
//! | waiter | completion |
//! | --- | --- |
//! | `arm` its place | store the status |
//! | `register` with each of its words | fence (SeqCst); `take` the mask |
//! | fence (SeqCst); sleep if no status has changed and the place is as it was armed | fence (SeqCst); `wake` each place |
//!
//! Either the waiter sees the new status, or the completion finds it registered and armed. The first completion disarms, so
//! that those that follow before the waiter runs need no system call. Nobody takes a registration back: one that is left
//! over costs a look, or at most an early wake-up.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A place: armed while somebody sleeps there or is about to. The rest of the word counts.
pub struct Place(AtomicU32);

const ARMED: u32 = 1;
/// Together with `ARMED`: who sleeps there may be called to do more than look at its words.
const FOLLOWS: u32 = 2;
const COUNT: u32 = 4;

/// Who slept in a place that was disarmed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sleeper {
    Plain,
    Follower,
}

impl Place {
    #[cfg(not(loom))]
    pub const fn new() -> Place {
        Place(AtomicU32::new(0))
    }

    #[cfg(loom)]
    pub fn new() -> Place {
        Place(AtomicU32::new(0))
    }

    /// What the word says until somebody wakes the place.
    pub fn arm(&self, sleeper: Sleeper) -> u32 {
        let bits = if sleeper == Sleeper::Follower { ARMED | FOLLOWS } else { ARMED };
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            // In a child of fork, or after a jump out of a handler, it may be armed still.
            let armed = next(seen) | bits;
            // SeqCst, with the fence: pairs with the second fence of `Mask::take`.
            match self.0.compare_exchange_weak(seen, armed, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    fence(Ordering::SeqCst);
                    return armed;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// The word to sleep on.
    pub fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Some: a system call is needed to wake who sleeps here. Nobody else is told so.
    pub fn disarm(&self) -> Option<Sleeper> {
        let seen = self.0.load(Ordering::SeqCst);
        if seen & ARMED == 0 {
            return None;
        }
        let disarmed = self.0.compare_exchange(seen, next(seen), Ordering::SeqCst, Ordering::Relaxed).is_ok();
        disarmed.then_some(if seen & FOLLOWS == 0 { Sleeper::Plain } else { Sleeper::Follower })
    }

    /// Whether a follower sleeps here.
    pub fn has_follower(&self) -> bool {
        let both = ARMED | FOLLOWS;
        self.0.load(Ordering::SeqCst) & both == both
    }
}

/// Not armed, and not as it ever was.
fn next(seen: u32) -> u32 {
    (seen & !(ARMED | FOLLOWS)).wrapping_add(COUNT)
}

/// The places that a completion of one of these status words has to wake.
pub struct Mask(AtomicU64);

impl Mask {
    #[cfg(not(loom))]
    pub const fn new() -> Mask {
        Mask(AtomicU64::new(0))
    }

    #[cfg(loom)]
    pub fn new() -> Mask {
        Mask(AtomicU64::new(0))
    }

    /// To be called after `arm`, and before a fence and the last look at the words.
    pub fn register(&self, place: u32) {
        // Left over from last time: good enough, whoever takes it now finds the place armed.
        if self.0.load(Ordering::SeqCst) & 1 << place == 0 {
            self.0.fetch_or(1 << place, Ordering::SeqCst);
        }
    }

    /// To be called after the status was stored, and a fence.
    pub fn take(&self) -> u64 {
        if self.0.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mask = self.0.swap(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        mask
    }
}
