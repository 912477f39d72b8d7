//! The table's lock: a pthread mutex, which allocates nothing and which a thread with all signals blocked may take.

use std::cell::UnsafeCell;

use libc::pthread_mutex_t;

pub struct RawLock(UnsafeCell<pthread_mutex_t>);

impl RawLock {
    /// For a condition.
    pub fn mutex(&self) -> *mut pthread_mutex_t {
        self.0.get()
    }
}

// SAFETY: a pthread mutex is made to be shared.
unsafe impl Send for RawLock {}
// SAFETY: as above.
unsafe impl Sync for RawLock {}

// SAFETY: a pthread mutex excludes; it is in memory that never moves (the engine's).
unsafe impl lock_api::RawMutex for RawLock {
    // The trait asks for a constant to start from; each use makes a new lock, as meant.
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: RawLock = RawLock(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        // SAFETY: an initialised mutex, never taken twice by one thread.
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
    }

    fn try_lock(&self) -> bool {
        // SAFETY: as in `lock`.
        unsafe { libc::pthread_mutex_trylock(self.0.get()) == 0 }
    }

    unsafe fn unlock(&self) {
        // SAFETY: the caller holds the mutex.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}
