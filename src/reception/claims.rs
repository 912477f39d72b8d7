//! Which aiocbs may be in flight, by a hash of their address: what lets a caller hand one in without asking the table.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::slab::mix;

const PLACES: usize = 4096;

/// Requests in flight for each hash. Starts from all zeroes.
pub struct Claims([AtomicU32; PLACES]);

impl Claims {
    /// Counts the request, if no other has this hash. False: one has; the table knows which.
    pub fn claim(&self, key: u64) -> bool {
        // No order is needed: who claims and who ends a request meet in the table, or in the inbox.
        self.place(key).compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Counts a request, whether or not others have the hash.
    pub fn add(&self, key: u64) {
        self.place(key).fetch_add(1, Ordering::Relaxed);
    }

    /// The request has ended, or was not handed in after all.
    pub fn end(&self, key: u64) {
        self.place(key).fetch_sub(1, Ordering::Relaxed);
    }

    fn place(&self, key: u64) -> &AtomicU32 {
        let [first, ..] = &self.0;
        self.0.get(mix(key) % PLACES).unwrap_or(first)
    }
}
