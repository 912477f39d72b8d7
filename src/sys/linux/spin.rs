//! Spinning for a moment before sleeping, where that has paid lately: a waiter that is still awake when the event comes saves
//! the other side the system call that wakes it, and itself a context switch.

use std::hint;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys::clock::{self, Nanos};
use crate::sys::environment;

pub struct Spin {
    /// How many spins in a row have ended without the event.
    misses: AtomicU32,
    /// The time at which the spin that is under way here ends. A second spinner would only take a processor from those that
    /// work.
    busy_until: AtomicU64,
}

/// How long to spin: about what it costs to be woken.
const TIME: Nanos = 8_000;

/// After `MISSES` misses in a row only every `RETRY`th call spins.
const MISSES: u32 = 4;
const RETRY: u32 = 32;

impl Spin {
    pub const fn new() -> Spin {
        Spin { misses: AtomicU32::new(0), busy_until: AtomicU64::new(0) }
    }

    /// Spins until `done`. False: it did not come in time, or this was no moment to spin.
    pub fn until(&self, mut done: impl FnMut() -> bool) -> bool {
        let misses = self.misses.load(Ordering::Relaxed);
        if environment::processors() < 2 || (misses >= MISSES && !misses.is_multiple_of(RETRY)) {
            self.misses.store(misses.wrapping_add(1), Ordering::Relaxed);
            return false;
        }
        let begin = clock::now();
        if begin < self.busy_until.load(Ordering::Relaxed) {
            return false;
        }
        let end = begin + TIME;
        self.busy_until.store(end, Ordering::Relaxed);
        let mut seen = false;
        while !seen && clock::now() < end {
            for _ in 0..16 {
                hint::spin_loop();
            }
            seen = done();
        }
        self.busy_until.store(0, Ordering::Relaxed);
        self.misses.store(if seen { 0 } else { misses.wrapping_add(1) }, Ordering::Relaxed);
        seen
    }
}
