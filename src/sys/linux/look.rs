//! Looking awake for a moment before sleeping, where that has paid lately: whoever is waited for then needs no system call to
//! wake anybody, and the waiter no context switch.

use std::hint;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys::clock::{self, Nanos};
use crate::sys::environment;

pub struct Look {
    /// Times in a row that were in vain.
    misses: AtomicU32,
    /// Until then somebody looks here: a second one would only take a processor from those that work.
    taken: AtomicU64,
}

/// How long: about what it costs to be woken.
const TIME: Nanos = 8_000;

/// After this many misses it is tried only now and then.
const MISSES: u32 = 4;
const NOW_AND_THEN: u32 = 32;

impl Look {
    pub const fn new() -> Look {
        Look { misses: AtomicU32::new(0), taken: AtomicU64::new(0) }
    }

    /// Looks whether `done` becomes true. False: it was in vain, or not worth while.
    pub fn until(&self, mut done: impl FnMut() -> bool) -> bool {
        let misses = self.misses.load(Ordering::Relaxed);
        if environment::processors() < 2 || (misses >= MISSES && !misses.is_multiple_of(NOW_AND_THEN)) {
            self.misses.store(misses.wrapping_add(1), Ordering::Relaxed);
            return false;
        }
        let begin = clock::now();
        if begin < self.taken.load(Ordering::Relaxed) {
            return false;
        }
        let end = begin + TIME;
        self.taken.store(end, Ordering::Relaxed);
        let mut seen = false;
        while !seen && clock::now() < end {
            for _ in 0..16 {
                hint::spin_loop();
            }
            seen = done();
        }
        self.taken.store(0, Ordering::Relaxed);
        self.misses.store(if seen { 0 } else { misses.wrapping_add(1) }, Ordering::Relaxed);
        seen
    }
}
