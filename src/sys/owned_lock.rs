//! A lock that records which thread holds it, so that a thread can tell that it would wait for itself: a function that the
//! program interposes (a sanitizer's memcpy) may call the library again while the library holds the lock.

use std::sync::atomic::{AtomicUsize, Ordering};

use lock_api::RawMutex;

use super::lock::RawLock;
use crate::sys::errno::thread_identity;

pub struct OwnedLock {
    raw: RawLock,
    owner: AtomicUsize,
}

impl OwnedLock {
    /// Whether the calling thread holds it.
    pub fn is_mine(&self) -> bool {
        // Relaxed: only the calling thread stores its own identity, so it sees its own last store.
        self.owner.load(Ordering::Relaxed) == thread_identity()
    }
}

// SAFETY: the lock inside excludes; the owner is only a record.
unsafe impl RawMutex for OwnedLock {
    // The trait asks for a constant to start from; each use makes a new lock, as meant.
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: OwnedLock = OwnedLock { raw: RawLock::INIT, owner: AtomicUsize::new(0) };
    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        self.raw.lock();
        self.owner.store(thread_identity(), Ordering::Relaxed);
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let locked = self.raw.try_lock();
        if locked {
            self.owner.store(thread_identity(), Ordering::Relaxed);
        }
        locked
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.owner.store(0, Ordering::Relaxed);
        // SAFETY: the caller holds the lock.
        unsafe { self.raw.unlock() };
    }
}
