//! A lock that knows which thread holds it: an interposed function (a sanitizer's memcpy) may call the library again from
//! within a section of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use lock_api::RawMutex;

use super::lock::RawLock;
use crate::errno::thread_identity;

pub struct OwnedLock {
    raw: RawLock,
    owner: AtomicUsize,
}

impl OwnedLock {
    /// Whether the calling thread holds it.
    pub fn is_mine(&self) -> bool {
        // Relaxed: only the thread itself stores its own name.
        self.owner.load(Ordering::Relaxed) == thread_identity()
    }
}

// SAFETY: as the lock inside.
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
        // SAFETY: the caller's promise.
        unsafe { self.raw.unlock() };
    }
}
