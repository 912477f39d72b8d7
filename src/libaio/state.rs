//! All that the library keeps for this interface, in one mapping, which is all zeroes in a child of fork: its contexts are its own.
//! And the steps of a submission that need the lock.

use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use lock_api::{Mutex, MutexGuard};

use super::contexts::{Contexts, Hidden, Seen};
use super::deferred::DeferredSyncs;
use super::in_flight::InFlight;
use super::shadows::Shadows;
use super::submitters::{Readers, Submitter};
use crate::stats;
use crate::sys::aio_ring::Completions;
use crate::sys::errno::{Errno, Result};
use crate::sys::lock::RawLock;
use crate::sys::readable::SteadyPages;
use crate::sys::signals::Blocked;
use crate::sys::{contexts, fork, memory, thread};

/// All zeroes is one in which nothing was submitted.
pub struct State {
    pub contexts: Contexts,
    pub steady: SteadyPages,
    pub shadows: Shadows,
    process: AtomicI32,
    /// Deferred syncs and orphans. What they are is under the lock.
    pub deferred: AtomicU32,
    /// Of the library's descriptors: duplicates for syncs, and orphans'. As it was when the lock was last released.
    pub own_descriptors: AtomicU32,
    /// "The lock": of the deferred syncs, and of what `contexts` says. Taken with all signals blocked.
    syncs: Mutex<RawLock, DeferredSyncs>,
    /// Taken before `syncs`: while descriptors of the program's are duplicated for syncs, and while it closes a range of them.
    duplicating: Mutex<RawLock, ()>,
}

/// The lock, and all signals blocked.
pub struct Locked {
    // Unlocked before signals are let through.
    pub deferred: MutexGuard<'static, RawLock, DeferredSyncs>,
    _blocked: Blocked,
}

/// While this exists the library duplicates no descriptor for a sync.
pub struct NoDuplicates {
    _lock: MutexGuard<'static, RawLock, ()>,
    _blocked: Blocked,
}

static STATE: AtomicPtr<State> = AtomicPtr::new(ptr::null_mut());

/// What there is, if the program has used this interface.
pub fn state() -> Option<&'static State> {
    // SAFETY: never unmapped; all zeroes is a `State`.
    unsafe { STATE.load(Ordering::Acquire).as_ref() }
}

/// The same, made now if there is none. Error: ENOMEM.
pub fn get() -> Result<&'static State> {
    if let Some(state) = state() {
        // In a child of _Fork it is all zeroes.
        if state.process.load(Ordering::Relaxed) == 0 {
            state.process.store(thread::process_id(), Ordering::Relaxed);
            stats::forget_parent();
        }
        return Ok(state);
    }
    let made = memory::map(size_of::<State>())?.cast::<State>();
    fork::forget_in_child(made.cast(), size_of::<State>());
    let first = STATE.compare_exchange(ptr::null_mut(), made.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
    if first.is_ok() {
        thread::at_fork_in_child(forget_parent);
    }
    // SAFETY: as below.
    unsafe { made.as_ref() }.process.store(thread::process_id(), Ordering::Relaxed);
    // SAFETY: mapped, zeroed, never unmapped. (Whoever comes second leaves its own pages unused.)
    Ok(unsafe { &*first.map_or_else(|theirs| theirs, |_| made.as_ptr()) })
}

/// For kernels that do not zero it (MADV_WIPEONFORK, Linux 4.14).
extern "C" fn forget_parent() {
    STATE.store(ptr::null_mut(), Ordering::Release);
}

impl State {
    pub fn lock(&'static self) -> Locked {
        let blocked = Blocked::all();
        Locked { deferred: self.syncs.lock(), _blocked: blocked }
    }

    pub fn try_lock(&'static self) -> Option<Locked> {
        let blocked = Blocked::all();
        Some(Locked { deferred: self.syncs.try_lock()?, _blocked: blocked })
    }

    pub fn forbid_duplicates(&'static self) -> NoDuplicates {
        let blocked = Blocked::all();
        NoDuplicates { _lock: self.duplicating.lock(), _blocked: blocked }
    }

    pub fn has_deferred(&self) -> bool {
        self.deferred.load(Ordering::Acquire) > 0
    }

    /// Whether this is the process that the contexts are of: a child of vfork only shares its memory.
    pub fn is_of_this_process(&self) -> bool {
        self.process.load(Ordering::Relaxed) == thread::process_id()
    }

    /// What a context has in flight; the library meets it now, if it has not. None: the kernel does not know it either. Error:
    /// EAGAIN, no memory.
    pub fn find_or_meet(&'static self, number: u64, submitter: &Submitter) -> Result<Option<&'static InFlight>> {
        if let Some(in_flight) = self.contexts.find_for(number, submitter) {
            return Ok(Some(in_flight));
        }
        let locked = self.lock();
        self.contexts.meet(number)?;
        drop(locked);
        Ok(self.contexts.find_for(number, submitter))
    }

    /// Looks at the ring of a context that the kernel has just known. (A raw io_destroy in another thread at this moment is not
    /// noticed.)
    pub fn look(&'static self, in_flight: &'static InFlight, submitter: &Submitter) -> Seen {
        if let Some(reader) = submitter.reads_ring() {
            return if reader.is_forgotten { Seen::Gone } else { self.contexts.look(in_flight, submitter) };
        }
        // Under the lock nobody unmaps it either.
        let _locked = self.lock();
        if self.contexts.submitters.are_forgotten() { Seen::Gone } else { self.contexts.look(in_flight, submitter) }
    }

    /// What is in flight in a context that may be gone, or another one at the same address, as of now. With the limit if a sync is
    /// to be deferred, or one is. Errors: EINVAL, it is gone; EAGAIN, no memory.
    pub fn look_closely(&'static self, number: u64, submitter: &Submitter, defers: bool) -> Result<&'static InFlight> {
        let _locked = self.lock();
        if !contexts::exists(number) {
            return Err(Errno::INVAL);
        }
        let found = self.contexts.find_for(number, submitter).ok_or(Errno::INVAL)?;
        if self.contexts.look(found, submitter) == Seen::Another {
            self.contexts.replace(number, found, u64::MAX)?;
        }
        let in_flight = self.contexts.find_for(number, submitter).ok_or(Errno::INVAL)?;
        if defers || in_flight.is_limited() && self.has_deferred() {
            // SAFETY: the kernel has just said that it is there, and nobody destroys under the lock what was found under it.
            let ring = unsafe { Completions::of(number) };
            ring.into_iter().for_each(|ring| in_flight.limit(&ring));
        } else {
            in_flight.lift_limit();
        }
        Ok(in_flight)
    }

    /// Requests with numbers from `seq` on were accepted by a context that is not the one of `in_flight`, but another at its
    /// address: their records move there.
    pub fn move_records(&'static self, in_flight: &'static InFlight, seq: u64) {
        let _locked = self.lock();
        // Without memory they stay where they are, and end when the context does.
        let _ = self.contexts.replace(in_flight.address(), in_flight, seq);
    }

    pub fn hide(&'static self, number: u64) -> Option<Hidden> {
        let _locked = self.lock();
        self.contexts.hide(number)
    }

    /// The ring of a hidden context, if a thread still reads it that cannot be waited for: the ring must not be missing when it
    /// is unmapped.
    pub fn ring_still_read(&self, number: u64) -> Option<Completions> {
        if self.contexts.submitters.wait_for_readers(number) == Readers::None {
            return None;
        }
        // SAFETY: the kernel has just said that it is there.
        contexts::exists(number).then(|| unsafe { Completions::of(number) }).flatten()
    }
}
