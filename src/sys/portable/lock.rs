//! A pthread mutex, which allocates nothing. Whoever locks it has blocked all signals in its thread: else a handler could
//! wait for the lock that its own thread holds.

use std::cell::UnsafeCell;

use libc::pthread_mutex_t;

pub struct RawLock(UnsafeCell<pthread_mutex_t>);

impl RawLock {
    /// For pthread_cond_timedwait.
    pub fn mutex(&self) -> *mut pthread_mutex_t {
        self.0.get()
    }
}

// SAFETY: threads share a pthread mutex by its address.
unsafe impl Send for RawLock {}
// SAFETY: as above.
unsafe impl Sync for RawLock {}

// SAFETY: a pthread mutex excludes. It must not move once it is used: locks lie in statics and in memory that is never freed.
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
        // SAFETY: the caller holds the lock.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}
