//! Which aiocbs may be in flight, by a hash of their address. A caller that finds no other of the same hash submits without
//! asking the table.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::hash::mix;

const PLACES: usize = 4096;

/// For each hash the number of requests in flight, in the low bits; above them the key of the one that its caller serves, or 0.
/// All zeroes: none.
///
/// A caller whose signal handler jumps out of the call in the middle leaves its entry behind: that aiocb counts as in flight for ever,
/// and others of its hash go through the lock.
pub struct InFlight([AtomicU64; PLACES]);

/// More than a million requests of one hash do not fit into memory.
const COUNT_BITS: u32 = 20;
/// Keys are addresses of aligned structures, of 47 bits.
const KEY_SHIFT: u32 = 3;

fn served(key: u64) -> u64 {
    (key >> KEY_SHIFT) << COUNT_BITS
}

/// What there was of a hash before.
#[derive(Clone, Copy)]
pub struct Others(u64);

impl Others {
    pub fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether a caller serves this very aiocb.
    pub fn serve(self, key: u64) -> bool {
        self.0 >> COUNT_BITS == served(key) >> COUNT_BITS
    }
}

impl InFlight {
    /// Counts the request, if no other has this hash. False: one has; the table or the submission queue knows which.
    pub fn claim(&self, key: u64) -> bool {
        // AcqRel, here and in `add`: whoever comes second sees what the first one did before.
        self.place(key).compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Counts a request, whether or not others have the hash.
    pub fn add(&self, key: u64) -> Others {
        Others(self.place(key).fetch_add(1, Ordering::AcqRel))
    }

    /// As `claim`, for a request that its caller serves itself: it can be found by its key until `end_serving`.
    pub fn begin_serving(&self, key: u64) -> bool {
        self.place(key).compare_exchange(0, served(key) + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub fn end_serving(&self, key: u64) {
        // Release: as in `end`.
        self.place(key).fetch_sub(served(key) + 1, Ordering::Release);
    }

    /// Whether a caller serves this very aiocb.
    pub fn is_served(&self, key: u64) -> bool {
        Others(self.place(key).load(Ordering::Acquire)).serve(key)
    }

    /// The request has ended, or was not handed in after all.
    pub fn end(&self, key: u64) {
        // Release: whoever in_flight it next finds the status stored.
        self.place(key).fetch_sub(1, Ordering::Release);
    }

    fn place(&self, key: u64) -> &AtomicU64 {
        let [first, ..] = &self.0;
        self.0.get(mix(key) % PLACES).unwrap_or(first)
    }
}
