//! A futex mutex that allocates nothing, so that a signal handler may take it. Whoever locks it has blocked all signals in its
//! thread: else a handler could wait for the lock that its own thread holds.
//!
//! | word | meaning |
//! | --- | --- |
//! | 0 | free |
//! | 1 | held |
//! | 2 | held, and a thread may be asleep |

#[cfg(loom)]
use loom::{
    hint,
    sync::atomic::{AtomicU32, Ordering},
};
#[cfg(not(loom))]
use std::{
    hint,
    sync::atomic::{AtomicU32, Ordering},
};

use super::wait;

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// How often to test the word before sleeping: the lock is held for well under a microsecond.
const SPINS: u32 = if cfg!(loom) { 1 } else { 100 };

pub struct RawLock(AtomicU32);

#[cfg(not(loom))]
// SAFETY: `lock` returns only after it changed FREE to HELD or CONTENDED, which nobody else can do until `unlock`.
unsafe impl lock_api::RawMutex for RawLock {
    // The trait asks for a constant to start from; each use makes a new lock, as meant.
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawLock = RawLock(AtomicU32::new(FREE));
    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        self.acquire();
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.try_acquire()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.release();
    }
}

impl RawLock {
    #[cfg(loom)]
    pub fn new() -> RawLock {
        RawLock(AtomicU32::new(FREE))
    }

    #[inline]
    pub fn acquire(&self) {
        if !self.try_acquire() {
            self.acquire_slowly();
        }
    }

    #[inline]
    pub fn try_acquire(&self) -> bool {
        // Acquire: pairs with the Release in `release`.
        self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub fn release(&self) {
        // Release: pairs with the Acquire of the next `acquire`.
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            wait::futex_wake(&self.0, 1);
        }
    }

    #[cold]
    fn acquire_slowly(&self) {
        for _ in 0..SPINS {
            if self.0.load(Ordering::Relaxed) == FREE && self.try_acquire() {
                return;
            }
            hint::spin_loop();
        }
        // Acquire: as in `try_acquire`. A thread that has slept takes the lock as CONTENDED, because others may be asleep
        // still.
        while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
            wait::futex_sleep(&self.0, CONTENDED);
        }
    }
}
