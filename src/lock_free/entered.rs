//! Which requests' threads have reached the system call that transfers: nothing that takes time lies between the mark and the call.
//! `close` goes by it to tell who holds its file already, without looking into another thread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::slab::Id;
use crate::sys::clock::Nanos;

const PLACES: usize = 1024;

/// The number of a request, by its slot, and the time in microseconds, both as far as they fit. A request whose place another
/// one has taken is not known to have come there. Starts from all zeroes.
pub struct Entered([AtomicU64; PLACES]);

impl Entered {
    pub fn mark(&self, id: Id, seq: u64, now: Nanos) {
        if let Some(place) = self.place(id) {
            // Relaxed: whoever sees it late waits longer.
            place.store(low(seq) << u32::BITS | low(now / 1_000), Ordering::Relaxed);
        }
    }

    /// A thread is going to use the request's number, again perhaps: that it has been at the call before says nothing any more.
    pub fn forget(&self, id: Id, seq: u64) {
        if let Some(place) = self.place(id)
            && place.load(Ordering::Relaxed) >> u32::BITS == low(seq)
        {
            // Another request's that comes between is not known to have come there, either.
            place.store(0, Ordering::Relaxed);
        }
    }

    /// How long ago it was. None: not yet, or another request has the place.
    pub fn since(&self, id: Id, seq: u64, now: Nanos) -> Option<Nanos> {
        let word = self.place(id)?.load(Ordering::Relaxed);
        (word >> u32::BITS == low(seq)).then(|| low((now / 1_000).wrapping_sub(word)) * 1_000)
    }

    fn place(&self, id: Id) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(id).ok()? % PLACES)
    }
}

fn low(number: u64) -> u64 {
    number & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_way_to_the_call_counts() {
        let entered = Entered([const { AtomicU64::new(0) }; PLACES]);
        let other = Id::try_from(PLACES).unwrap();
        entered.mark(0, 7, 5_000);
        assert_eq!(entered.since(0, 7, 9_000), Some(4_000));
        assert_eq!(entered.since(0, 8, 9_000), None);
        entered.forget(0, 8);
        assert_eq!(entered.since(0, 7, 9_000), Some(4_000));
        entered.forget(0, 7);
        assert_eq!(entered.since(0, 7, 9_000), None);
        entered.mark(0, 7, 5_000);
        entered.mark(other, 9, 6_000);
        assert_eq!(entered.since(0, 7, 9_000), None);
    }
}
