//! How an idle worker sleeps: on a condition of its own. Nothing here allocates, as a channel's waiting would: whoever calls may
//! have interrupted malloc.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::time::Duration;

use libc::{pthread_cond_t, pthread_condattr_t};
use lock_api::RawMutex;

use super::lock::RawLock;
use crate::sys::clock;

/// The condition has a lock: callers have to block signals.
pub const CALL_MAY_BE_INTERRUPTED: bool = false;

pub struct Parker {
    lock: RawLock,
    state: UnsafeCell<ParkState>,
    condition: UnsafeCell<pthread_cond_t>,
}

/// Under the lock.
struct ParkState {
    called: bool,
    asleep: bool,
    /// The condition goes by CLOCK_MONOTONIC.
    prepared: bool,
}

// SAFETY: the state is only looked at under the lock; a condition is made to be shared.
unsafe impl Send for Parker {}
// SAFETY: as above.
unsafe impl Sync for Parker {}

impl Parker {
    pub const fn new() -> Parker {
        Parker {
            lock: RawLock::INIT,
            state: UnsafeCell::new(ParkState { called: false, asleep: false, prepared: false }),
            condition: UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER),
        }
    }

    /// Ends the owner's `wait`, the one under way or the next.
    pub fn call(&self) {
        self.lock.lock();
        // SAFETY: the lock is held; the owner sleeps on a condition that it has prepared.
        unsafe {
            let state = &mut *self.state.get();
            state.called = true;
            if state.asleep {
                libc::pthread_cond_signal(self.condition.get());
            }
            self.lock.unlock();
        }
    }

    /// Waits for a `call`. False: the time was up.
    pub fn wait(&self, patience: Duration, _spins: bool) -> bool {
        let patience = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let deadline = clock::now().saturating_add(patience);
        self.lock.lock();
        // SAFETY: the lock is held but for the waits, and no reference to the state lives on across one.
        let called = unsafe {
            self.prepare();
            while !(*self.state.get()).called && clock::now() < deadline {
                (*self.state.get()).asleep = true;
                let until = clock::to_timespec(deadline);
                libc::pthread_cond_timedwait(self.condition.get(), self.lock.mutex(), &raw const until);
                (*self.state.get()).asleep = false;
            }
            std::mem::replace(&mut (*self.state.get()).called, false)
        };
        // SAFETY: the lock is held.
        unsafe { self.lock.unlock() };
        called
    }

    /// Has the condition go by CLOCK_MONOTONIC, once.
    ///
    /// # Safety
    /// The lock is held, and this is the owner: nobody waits.
    unsafe fn prepare(&self) {
        let mut attributes = MaybeUninit::<pthread_condattr_t>::uninit();
        // SAFETY: the attributes are initialised first and destroyed last; nobody waits on the condition that is replaced.
        unsafe {
            let state = &mut *self.state.get();
            if !std::mem::replace(&mut state.prepared, true)
                && libc::pthread_condattr_init(attributes.as_mut_ptr()) == 0
            {
                libc::pthread_condattr_setclock(attributes.as_mut_ptr(), libc::CLOCK_MONOTONIC);
                libc::pthread_cond_init(self.condition.get(), attributes.as_ptr());
                libc::pthread_condattr_destroy(attributes.as_mut_ptr());
            }
        }
    }
}
