//! Which threads are inside io_submit, or end records of events that have come, and in the middle of what: so that a signal handler
//! does not wait for what it has interrupted, that in-flight records are not given to another context while a thread uses them,
//! and that a ring is not unmapped while a thread reads it.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use super::in_flight::{InFlight, Record};
use crate::sys::clock::{self, Nanos};
use crate::sys::errno::thread_identity;
use crate::sys::thread::Pause;

/// All zeroes is one without threads.
pub struct Submitters {
    slots: [Slot; SLOTS],
    /// Threads that found no slot free.
    without_slot: AtomicU32,
}

const SLOTS: usize = 64;
/// A thread that reads a ring for longer is stopped by a signal handler, which may be waiting for the reader of the ring.
const LONGEST_READ: Nanos = 1_000 * clock::MILLISECOND;

/// Written by its thread only, while `thread` is not 0.
struct Slot {
    /// 0: free.
    thread: AtomicUsize,
    /// Requests with numbers from `first` up to `end` have records, but may not be submitted yet.
    first: AtomicU64,
    end: AtomicU64,
    /// The object of an event that was seen, and whose record may not have ended yet; 0: none.
    ending: AtomicU64,
    /// What the thread uses.
    in_flight: AtomicPtr<InFlight>,
    /// The thread reads the ring of `in_flight`.
    reads: AtomicBool,
}

/// A thread that is inside, until this is dropped.
pub struct Submitter {
    all: &'static Submitters,
    /// None: more threads are inside than there are slots. Then nothing is reused while they are, and only a signal handler that
    /// waits for its own sync may have to wait for ever.
    slot: Option<&'static Slot>,
    ending_without_slot: AtomicU64,
}

/// Who reads the ring of a context that is to be destroyed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    None,
    /// The calling thread, below a signal handler; or one that has not come on for so long that it cannot be waited for.
    Stuck,
}

impl Submitters {
    pub fn enter(&'static self) -> Submitter {
        let me = thread_identity();
        let take = |slot: &&Slot| slot.thread.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let slot = self.slots.iter().find(take);
        if slot.is_none() {
            // SeqCst: as in `uses`.
            self.without_slot.fetch_add(1, Ordering::SeqCst);
        }
        Submitter { all: self, slot, ending_without_slot: AtomicU64::new(0) }
    }

    /// Whether a thread may be using these records.
    pub fn may_use(&self, in_flight: &InFlight) -> bool {
        self.without_slot.load(Ordering::SeqCst) > 0 || self.slots.iter().any(|slot| slot.uses(in_flight))
    }

    /// Whether the calling thread, being in a signal handler, has interrupted the submission of this request or the end of its
    /// record.
    pub fn is_under_way_here(&self, record: &Record) -> bool {
        let me = thread_identity();
        self.slots.iter().filter(|slot| slot.thread.load(Ordering::Relaxed) == me).any(|slot| {
            let numbers = slot.first.load(Ordering::Relaxed)..slot.end.load(Ordering::Relaxed);
            let ending = slot.ending.load(Ordering::Relaxed);
            numbers.contains(&record.seq()) || ending != 0 && record.names(ending)
        })
    }

    /// Waits until no thread reads the ring at this address, whose context is closed. (By the address, as records that were replaced by
    /// others of the same context may still be used for reading it.)
    pub fn wait_for_readers(&self, address: u64) -> Readers {
        let me = thread_identity();
        let patience = clock::now().saturating_add(LONGEST_READ);
        let reads = |slot: &&Slot| slot.reads.load(Ordering::SeqCst) && slot.uses_ring_at(address);
        let mut pause = Pause::new();
        while let Some(slot) = self.slots.iter().find(reads) {
            if slot.thread.load(Ordering::Relaxed) == me || clock::now() >= patience {
                return Readers::Stuck;
            }
            pause.once();
        }
        Readers::None
    }

    /// For a thread without a slot, under the lock of the deferred syncs: whether a signal handler has forked, and this is the
    /// child, in which nobody is inside.
    pub fn are_forgotten(&self) -> bool {
        self.without_slot.load(Ordering::Relaxed) == 0
    }
}

impl Slot {
    fn uses_ring_at(&self, address: u64) -> bool {
        // SAFETY: in-flight records are never freed.
        let in_flight = unsafe { self.in_flight.load(Ordering::SeqCst).as_ref() };
        in_flight.is_some_and(|in_flight| in_flight.address() == address)
    }

    fn uses(&self, in_flight: &InFlight) -> bool {
        ptr::eq(self.in_flight.load(Ordering::SeqCst), in_flight)
    }
}

impl Submitter {
    /// Requests with these numbers are being submitted.
    pub fn submits(&self, first: u64, count: u64) {
        if let Some(slot) = self.slot {
            // A signal handler that interrupts this sees an empty range, the old one or the new one.
            slot.first.store(u64::MAX, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            slot.end.store(first.saturating_add(count), Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            slot.first.store(first, Ordering::Relaxed);
        }
    }

    /// Where to put the object of an event whose record is about to be ended.
    pub fn ending(&self) -> &AtomicU64 {
        self.slot.map_or(&self.ending_without_slot, |slot| &slot.ending)
    }

    /// Announces that the thread uses these records. The caller looks afterwards whether they are still what it has found. False:
    /// no need to look, as the records of no context are given to another one meanwhile.
    pub fn uses(&self, in_flight: &InFlight) -> bool {
        if let Some(slot) = self.slot {
            // SeqCst: pairs with `may_use`, which is called after the context was made impossible to find.
            slot.in_flight.store(ptr::from_ref(in_flight).cast_mut(), Ordering::SeqCst);
        }
        self.slot.is_some()
    }

    /// Announces that the thread reads the ring of what it uses. The caller looks afterwards whether the context is closed. None: there
    /// is no slot to say so.
    pub fn reads_ring(&self) -> Option<RingReader<'_>> {
        let slot = self.slot?;
        // In the child of a fork by a signal handler the slots are all zeroes.
        let is_forgotten = slot.thread.load(Ordering::Relaxed) != thread_identity();
        if !is_forgotten {
            // SeqCst: pairs with `wait_for_readers`, which is called after the context was closed.
            slot.reads.store(true, Ordering::SeqCst);
        }
        Some(RingReader { slot, is_forgotten })
    }
}

/// Reads the ring until it is dropped.
pub struct RingReader<'a> {
    slot: &'a Slot,
    /// This is a child of fork: the context does not exist here.
    pub is_forgotten: bool,
}

impl Drop for RingReader<'_> {
    fn drop(&mut self) {
        if !self.is_forgotten {
            self.slot.reads.store(false, Ordering::Release);
        }
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        let Some(slot) = self.slot else {
            let one_less = |without_slot: u32| without_slot.checked_sub(1);
            // In the child of a fork by a signal handler it is 0.
            let _ = self.all.without_slot.fetch_update(Ordering::Release, Ordering::Relaxed, one_less);
            return;
        };
        slot.first.store(0, Ordering::Relaxed);
        slot.end.store(0, Ordering::Relaxed);
        slot.in_flight.store(ptr::null_mut(), Ordering::Release);
        slot.thread.store(0, Ordering::Release);
    }
}
