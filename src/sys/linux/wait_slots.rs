//! Sleeping on several status words at once. A waiter sleeps in a wait slot, which has a word of its own, and sets the slot's
//! bit in the bitmap of each status word that it waits for.
//!
//! | waiter | completion |
//! | --- | --- |
//! | `arm` its slot | store the status |
//! | `register` in the bitmap of each of its words | fence (SeqCst); `take` the bitmap |
//! | fence (SeqCst); sleep if no status has changed and the slot is as it was armed | fence (SeqCst); `disarm` each slot, and wake it |
//!
//! Either the waiter sees the new status, or the completion finds it registered and armed. The first completion disarms the
//! slot, so that others before the waiter runs need no system call. No waiter clears its bits: a bit that is left over costs a
//! completion one load, or the slot's next waiter an early wake-up.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Armed while a thread sleeps in it or is about to. The bits from `COUNT` on count how often the word has changed.
pub struct WaitSlot(AtomicU32);

const ARMED: u32 = 1;
/// Together with `ARMED`: the sleeper is a `Sleeper::Standby`.
const STANDBY: u32 = 2;
const COUNT: u32 = 4;

/// Who sleeps in a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sleeper {
    Plain,
    /// It may be woken for more than a change of its words.
    Standby,
}

impl WaitSlot {
    #[cfg(not(loom))]
    pub const fn new() -> WaitSlot {
        WaitSlot(AtomicU32::new(0))
    }

    #[cfg(loom)]
    pub fn new() -> WaitSlot {
        WaitSlot(AtomicU32::new(0))
    }

    /// Returns the value that the word keeps until the slot is disarmed.
    pub fn arm(&self, sleeper: Sleeper) -> u32 {
        let bits = if sleeper == Sleeper::Standby { ARMED | STANDBY } else { ARMED };
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            // It may still be armed: in a child of fork, or after a jump out of a signal handler.
            let armed = next(seen) | bits;
            // SeqCst, with the fence: pairs with the second fence of `WaiterBitmap::take`.
            match self.0.compare_exchange_weak(seen, armed, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    fence(Ordering::SeqCst);
                    return armed;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// The word to sleep on.
    pub fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Some: the caller, and nobody else, has to wake the sleeper with a system call.
    pub fn disarm(&self) -> Option<Sleeper> {
        let seen = self.0.load(Ordering::SeqCst);
        if seen & ARMED == 0 {
            return None;
        }
        let disarmed = self.0.compare_exchange(seen, next(seen), Ordering::SeqCst, Ordering::Relaxed).is_ok();
        disarmed.then_some(if seen & STANDBY == 0 { Sleeper::Plain } else { Sleeper::Standby })
    }

    /// Whether a standby sleeps here.
    pub fn has_standby(&self) -> bool {
        let both = ARMED | STANDBY;
        self.0.load(Ordering::SeqCst) & both == both
    }
}

/// The word disarmed, with a count that it has not had lately.
fn next(seen: u32) -> u32 {
    (seen & !(ARMED | STANDBY)).wrapping_add(COUNT)
}

/// One bit for each wait slot that a change of these status words has to wake.
pub struct WaiterBitmap(AtomicU64);

impl WaiterBitmap {
    #[cfg(not(loom))]
    pub const fn new() -> WaiterBitmap {
        WaiterBitmap(AtomicU64::new(0))
    }

    #[cfg(loom)]
    pub fn new() -> WaiterBitmap {
        WaiterBitmap(AtomicU64::new(0))
    }

    /// To be called after `arm`, and before a fence and the last test of the words.
    pub fn register(&self, slot: u32) {
        // A bit left over from an earlier wait will do: a completion that takes it now finds the slot armed.
        if self.0.load(Ordering::SeqCst) & 1 << slot == 0 {
            self.0.fetch_or(1 << slot, Ordering::SeqCst);
        }
    }

    /// Returns the bits and clears them. To be called after the status was stored, and a fence.
    pub fn take(&self) -> u64 {
        if self.0.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let bits = self.0.swap(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        bits
    }
}
