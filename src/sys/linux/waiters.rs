//! A count of the threads that sleep on a word, so that a completion that nobody waits for makes no system call.
//!
//! | waiter | completion |
//! | --- | --- |
//! | `add` (SeqCst) | store the status |
//! | sleep if the word is unchanged (the kernel compares) | `settle`: fence (SeqCst); `any`: read the count; wake |
//!
//! Either the kernel sees the new status, or the completion sees the count.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering, fence};

pub struct Waiters(AtomicU32);

impl Waiters {
    #[cfg(not(loom))]
    pub const fn new() -> Waiters {
        Waiters(AtomicU32::new(0))
    }

    #[cfg(loom)]
    pub fn new() -> Waiters {
        Waiters(AtomicU32::new(0))
    }

    pub fn add(&self) {
        // SeqCst, with the fence: pairs with the fence in `settle`.
        self.0.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Never below zero: a child of fork resets the count while a signal handler's wait may be under way.
    pub fn remove(&self) {
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |count| count.checked_sub(1));
    }

    /// Whether a thread may be asleep. To be called after the word has changed, and after `settle`.
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// To be called between the store of the status and `any`.
    pub fn settle() {
        // SeqCst: pairs with `add`.
        fence(Ordering::SeqCst);
    }

    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
