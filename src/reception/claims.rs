//! Which aiocbs may be in flight, by a hash of their address: what lets a caller hand one in without asking the table.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::slab::mix;

const PLACES: usize = 4096;

/// Requests in flight for each hash. Starts from all zeroes.
pub struct Claims([AtomicU32; PLACES]);

impl Claims {
    /// Counts the request, if no other has this hash. False: one has; the table or the inbox knows which.
    pub fn claim(&self, key: u64) -> bool {
        // AcqRel, here and in `add`: whoever comes second sees what the first one did before.
        self.place(key).compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Counts a request, whether or not others have the hash. True: one has.
    pub fn add(&self, key: u64) -> bool {
        self.place(key).fetch_add(1, Ordering::AcqRel) != 0
    }

    /// The request has ended, or was not handed in after all.
    pub fn end(&self, key: u64) {
        // Release: whoever claims it next finds the status stored.
        self.place(key).fetch_sub(1, Ordering::Release);
    }

    fn place(&self, key: u64) -> &AtomicU32 {
        let [first, ..] = &self.0;
        self.0.get(mix(key) % PLACES).unwrap_or(first)
    }
}
