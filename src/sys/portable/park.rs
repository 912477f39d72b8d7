//! How an idle thread of the library sleeps: on a condition variable of its own. Nothing here allocates, as a channel would:
//! the caller may be a signal handler that has interrupted malloc.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::time::Duration;

use libc::{pthread_cond_t, pthread_condattr_t};
use lock_api::RawMutex;

use super::lock::RawLock;
use crate::sys::clock;

/// Whether a signal handler that interrupts `Parker::call` may call too. No: it would wait for the lock that its own thread
/// holds.
pub const CALL_MAY_BE_INTERRUPTED: bool = false;

pub struct Parker {
    lock: RawLock,
    state: UnsafeCell<ParkState>,
    condition: UnsafeCell<pthread_cond_t>,
}

/// Protected by `Parker::lock`.
struct ParkState {
    called: bool,
    asleep: bool,
    /// The condition uses CLOCK_MONOTONIC.
    prepared: bool,
}

// SAFETY: the state is only accessed under the lock; threads share a condition variable by its address.
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
        // SAFETY: the lock is held, so this is the only reference to the state; the condition is initialised.
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
        // SAFETY: the lock is held except inside the waits, across which no reference to the state lives.
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

    /// Initialises the condition for CLOCK_MONOTONIC, the first time.
    ///
    /// # Safety
    /// The calling thread is the owner, the only one that waits, and it holds the lock.
    unsafe fn prepare(&self) {
        let mut attributes = MaybeUninit::<pthread_condattr_t>::uninit();
        // SAFETY: the attributes are initialised first and destroyed last; no thread waits on the condition that is replaced.
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
