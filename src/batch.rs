//! A batch: several quick transfers that a worker takes in one lock section, runs one after another, and ends in one.
//!
//! No transfer may wait long behind another. A worker that meets a slow one starts no more of its batch; and the watchdog breaks up the
//! batch of a worker that makes no progress: what is done ends, and what has not been started goes to other workers. `next` decides
//! between the two: the worker starts a transfer by a compare-and-swap, the watchdog takes away the rest by a swap.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};

use crate::sys::clock::Nanos;
use crate::sys::errno::{Errno, Result};
use crate::task::Task;

/// Transfers in a batch at most. Measured (2 processors, depth 32, cached reads of 4 KiB): batches of 4 take 0.92 of the
/// processor time of single reads, and go at 1.1 times their rate; 8 are not better.
pub const MOST: usize = 4;

/// One in so many of those that are ready goes along: who waits for one of few wants it soon (depth 8: 1.02 of glibc's rate;
/// with as many as there are 0.97, with none 0.91).
pub const SHARE: usize = 4;

/// What a worker has taken.
pub struct Batch {
    /// The transfer to be started next, or `TAKEN_AWAY`.
    pub next: AtomicUsize,
    /// How many there are, and how many of them have ended. Under the table's lock.
    pub total: AtomicUsize,
    pub ended: AtomicUsize,
    pub transfers: [Transfer; MOST],
}

pub struct Transfer {
    /// Written under the table's lock before `next` is opened, and from then on only read.
    pub task: UnsafeCell<MaybeUninit<Task>>,
    /// As the kernel puts it: bytes, or the error as a negative number.
    pub result: AtomicIsize,
    /// How long it took, or `SAYS_NOTHING`.
    pub time: AtomicU64,
}

// SAFETY: see `Transfer::task`; the rest are atomics.
unsafe impl Sync for Batch {}

const TAKEN_AWAY: usize = usize::MAX;
pub const UNSEEN: usize = usize::MAX - 1;
const SAYS_NOTHING: Nanos = Nanos::MAX;

impl Batch {
    pub const fn new() -> Batch {
        Batch {
            next: AtomicUsize::new(TAKEN_AWAY),
            total: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            transfers: [const { Transfer::new() }; MOST],
        }
    }

    /// For the worker, which starts them in turn. None: there is no further one, or it was taken away.
    pub fn start(&self, index: usize) -> Option<&Transfer> {
        if index >= self.total.load(Ordering::Relaxed) {
            return None;
        }
        // Release: owner over the result of the one before. Acquire: this one's task.
        self.next.compare_exchange(index, index + 1, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        self.transfers.get(index)
    }

    /// How many were started; no further one will be.
    pub fn take_away(&self) -> usize {
        // Acquire: pairs with `start`.
        self.next.swap(TAKEN_AWAY, Ordering::AcqRel)
    }
}

impl Transfer {
    const fn new() -> Transfer {
        Transfer {
            task: UnsafeCell::new(MaybeUninit::uninit()),
            result: AtomicIsize::new(0),
            time: AtomicU64::new(SAYS_NOTHING),
        }
    }

    pub fn task(&self) -> Task {
        // SAFETY: whoever finds it has found `next` open, or taken it away, after it was written.
        unsafe { (*self.task.get()).assume_init() }
    }

    /// `time`: if it says something about others.
    pub fn done(&self, result: Result<isize>, time: Option<Nanos>) {
        let result = result.unwrap_or_else(|error| isize::try_from(-error.0).unwrap_or(-1));
        self.result.store(result, Ordering::Relaxed);
        self.time.store(time.unwrap_or(SAYS_NOTHING), Ordering::Relaxed);
    }

    pub fn result(&self) -> Result<isize> {
        let result = self.result.load(Ordering::Relaxed);
        if result >= 0 { Ok(result) } else { Err(Errno(i32::try_from(-result).unwrap_or(libc::EIO))) }
    }

    pub fn time(&self) -> Option<Nanos> {
        Some(self.time.load(Ordering::Relaxed)).filter(|time| *time != SAYS_NOTHING)
    }
}
