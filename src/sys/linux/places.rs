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

/// A place: odd while somebody sleeps there or is about to.
pub struct Place(AtomicU32);

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
    pub fn arm(&self) -> u32 {
        // SeqCst, with the fence: pairs with the second fence of `Mask::take`.
        let armed = self.0.fetch_or(1, Ordering::SeqCst) | 1;
        fence(Ordering::SeqCst);
        armed
    }

    /// The word to sleep on.
    pub fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Whether a system call is needed to wake who sleeps here.
    pub fn disarm(&self) -> bool {
        let seen = self.0.load(Ordering::SeqCst);
        let next = seen.wrapping_add(1);
        seen & 1 != 0 && self.0.compare_exchange(seen, next, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
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
