//! The table's lock: a futex mutex that allocates nothing, so that a signal handler may take it (its holder never runs
//! one: see `files`).
//!
//! | word | meaning |
//! | --- | --- |
//! | 0 | free |
//! | 1 | held |
//! | 2 | held, and somebody may sleep |

use std::hint;
use std::sync::atomic::{AtomicU32, Ordering};

use super::wait;

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// Looks at the word this often before sleeping: the lock is held for well under a microsecond.
const SPINS: u32 = 100;

pub struct RawLock(AtomicU32);

// SAFETY: `lock` returns only after it changed FREE to HELD or CONTENDED, which nobody else can do until `unlock`.
unsafe impl lock_api::RawMutex for RawLock {
    // The trait asks for a constant to start from; each use makes a new lock, as meant.
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawLock = RawLock(AtomicU32::new(FREE));
    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.lock_slow();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        // Acquire: pairs with the Release in `unlock`.
        self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        // Release: pairs with the Acquire of the next `lock`.
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            wait::futex_wake(self.0.as_ptr(), 1);
        }
    }
}

impl RawLock {
    #[cold]
    fn lock_slow(&self) {
        for _ in 0..SPINS {
            if self.0.load(Ordering::Relaxed) == FREE && lock_api::RawMutex::try_lock(self) {
                return;
            }
            hint::spin_loop();
        }
        // Acquire: as in `try_lock`. Whoever has slept keeps CONTENDED: others may sleep still.
        while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
            wait::futex_sleep(&self.0, CONTENDED);
        }
    }
}
