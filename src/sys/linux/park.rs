//! How an idle thread of the library sleeps: on a futex word of its own.
//!
//! | word | meaning |
//! | --- | --- |
//! | 0 | awake, nothing for it |
//! | 1 | asleep, or about to |
//! | 2 | called; not noticed yet |
//!
//! Before it sleeps it may spin (`spin`), so that a caller that submits at a high rate finds it awake.
//!
//! Not std::thread::park or a channel: those yield the processor before they sleep, which costs a time slice on a busy machine.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::spin::Spin;
use super::syscalls;
use super::wait;
use crate::sys::clock;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const CALLED: u32 = 2;

/// Whether a signal handler that interrupts `Parker::call` may call too. Yes: it is a swap and a system call.
pub const CALL_MAY_BE_INTERRUPTED: bool = true;

pub struct Parker {
    word: AtomicU32,
    spin: Spin,
}

impl Parker {
    pub const fn new() -> Parker {
        Parker { word: AtomicU32::new(AWAKE), spin: Spin::new() }
    }

    /// Ends the owner's `wait`, the one under way or the next.
    pub fn call(&self) {
        // AcqRel: the owner sees what the caller has stored before; pairs with the swap in `wait`.
        if self.word.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            wait::futex_wake(&self.word, 1);
        }
    }

    /// Waits for a `call`. False: the time was up. `spins`: does not sleep for the first few microseconds.
    pub fn wait(&self, patience: Duration, spins: bool) -> bool {
        if spins {
            self.spin.until(|| self.word.load(Ordering::Relaxed) == CALLED);
        }
        if self.word.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.sleep(patience);
        }
        // AcqRel: pairs with `call`.
        self.word.swap(AWAKE, Ordering::AcqRel) == CALLED
    }

    fn sleep(&self, patience: Duration) {
        let patience = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let deadline = clock::now().saturating_add(patience);
        while self.word.load(Ordering::Relaxed) == ASLEEP && clock::now() < deadline {
            let timeout = clock::to_timespec(deadline);
            let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
            syscalls::futex(self.word.as_ptr(), operation, ASLEEP, Some(&timeout));
        }
    }
}
