//! Where an idle library thread waits for its next job.
//!
//! Whoever gives a job has taken the thread off the idle ones for it, so there is one job and one giver at a time. Calls
//! without a job may come from anybody, at any time.
//!
//! Not a channel: making one allocates, and where memory is short it would end the process instead of failing.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::sys::park::Parker;

pub struct Mailbox<T> {
    full: AtomicBool,
    job: UnsafeCell<Option<T>>,
    parker: Parker,
}

// SAFETY: the cell is the giver's while `full` is not set, and the owner's while it is.
unsafe impl<T: Send> Sync for Mailbox<T> {}

/// How a wait has ended.
pub enum Woken<T> {
    Given(T),
    /// Somebody called; or had, before a job was taken.
    Called,
    TimeUp,
}

impl<T> Mailbox<T> {
    pub const fn new() -> Mailbox<T> {
        Mailbox { full: AtomicBool::new(false), job: UnsafeCell::new(None), parker: Parker::new() }
    }

    /// Gives the owner, which was taken off the idle ones for it, a job.
    pub fn give(&self, job: T) {
        self.put(job);
        self.call();
    }

    /// The same, but the owner may sleep on until it is called.
    pub fn put(&self, job: T) {
        // SAFETY: not full: the owner does not look, and nobody else gives.
        unsafe { *self.job.get() = Some(job) };
        // Release: pairs with `take`.
        self.full.store(true, Ordering::Release);
    }

    /// Has the owner look around, without a job.
    pub fn call(&self) {
        self.parker.call();
    }

    /// To be called by the owner only. `looks`: it may well be called in a moment.
    pub fn wait(&self, patience: Duration, looks: bool) -> Woken<T> {
        let called = self.parker.wait(patience, looks);
        match self.take() {
            Some(job) => Woken::Given(job),
            None if called => Woken::Called,
            None => Woken::TimeUp,
        }
    }

    fn take(&self) -> Option<T> {
        // Acquire: pairs with `give`.
        if !self.full.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: full: nobody gives until the next store.
        let job = unsafe { (*self.job.get()).take() };
        self.full.store(false, Ordering::Release);
        job
    }
}
