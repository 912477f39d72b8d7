//! What one context has in flight, as far as the library was told: which iocb, on which file, since when.
//!
//! A record is made before io_submit and ends when the iocb's event has been seen in the ring, where it stands whoever takes
//! it: the program by io_getevents, by a raw system call or by moving the ring's head. Every submission looks afterwards, from
//! where the last one left off to the tail, and one for which there is no room looks first. There are never more records than
//! the ring has places, and an event needs a record before it: so the tail never gets round to an event that was not looked at.
//!
//! Records lie where their iocb's hash says, in the first few slots of a table that is used as far as needed; a bit map says which
//! slots have one, so that a scan costs a bit for each of those slots and otherwise only what is in flight.
//!
//! No lock: a signal handler may submit in the middle of a submission. A record belongs to whoever claims a free place for it,
//! and is ended by whoever moves the cursor over its event.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use self::slot::{CLAIMED, ENDED, FREE, Slot, probe};
pub use self::slot::{Record, Target, name};
use super::reaping::Reaping;
use crate::order::FileKey;

/// A ring of completions: the kernel's, or a test's.
pub trait Ring {
    fn id(&self) -> u32;
    /// Places of the ring.
    fn size(&self) -> u32;
    /// The place of the next event. Those before it are stored (Acquire).
    fn tail(&self) -> u32;
    /// The `name` of the iocb of the event at a place: of another event, or of none, if the tail has gone round since.
    fn object(&self, place: u32) -> u64;
    /// Events that were not taken.
    fn filled(&self) -> u32;
    /// Whether `mark` was called for this ring, not for one that was at its address before.
    fn is_marked(&self) -> bool;
    fn mark(&self);
}

/// The records of one context. Never freed, and given to another context only when no thread uses it (`Submitters::may_use`); its
/// slots never move, so that a scan needs no lock.
pub struct InFlight {
    /// The context's number.
    address: AtomicU64,
    /// `Ring::id`, which stays when the program moves the ring and with it the context's number.
    id: AtomicU32,
    /// A power of two, at least twice `most`.
    places: &'static [Slot],
    /// A bit for each place, set while a record is there. Changed by whoever has claimed or ends the record.
    occupied: &'static [AtomicU64],
    /// Records at a time. 0: the context is gone.
    most: AtomicU32,
    /// As `most`, while a sync of the context is deferred (`limit()`); otherwise `NO_LIMIT`.
    limit: AtomicU32,
    /// Records in use, or reserved.
    count: AtomicU32,
    /// Events seen since the ring was made; modulo its size, the place of the next one.
    cursor: AtomicU64,
    /// Records are hashed into so many slots, the first ones: a power of two that grows with what is in flight.
    window: AtomicU32,
    /// The window at the last moment when nothing was in flight: no record was hashed into a smaller one.
    narrowest: AtomicU32,
    /// The longest distance of a record from the slot that it was hashed to.
    reach: AtomicU32,
    /// The next in the pool's list of those that no context has.
    next: AtomicPtr<InFlight>,
    /// Counted up before each attempt to end a record: see `end`.
    ends: AtomicU64,
    pub reaping: Reaping,
}

/// Bits in a word of the map.
const BITS: usize = 64;

const NO_LIMIT: u32 = u32::MAX;
impl InFlight {
    /// The window that a context begins with, unless it has fewer places.
    const NARROW: u32 = 64;

    /// How many places a ring needs.
    pub fn places_for(size: u32) -> u32 {
        size.saturating_mul(2).checked_next_power_of_two().unwrap_or(1 << 31)
    }

    /// Bytes for so many places.
    pub fn bytes(places: u32) -> usize {
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        let bits = places.div_ceil(BITS).saturating_mul(size_of::<AtomicU64>());
        places.saturating_mul(size_of::<Slot>()).saturating_add(size_of::<InFlight>()).saturating_add(bits)
    }

    /// Without a context.
    ///
    /// # Safety
    /// `memory` is as many bytes as `bytes` says, zeroed, aligned for a `InFlight`, nobody else's and never to be freed.
    pub unsafe fn lay_out(memory: NonNull<c_void>, places: u32) -> &'static InFlight {
        let in_flight = memory.cast::<InFlight>();
        let len = usize::try_from(places).unwrap_or(0);
        // SAFETY: the places follow the header, whose size is a multiple of their alignment; all zeroes are free ones.
        let first = unsafe { in_flight.add(1).cast::<Slot>() };
        // SAFETY: as above.
        let places = unsafe { std::slice::from_raw_parts(first.as_ptr(), len) };
        // SAFETY: the bits follow the places, whose size is a multiple of 8; zeroes are none.
        let occupied =
            unsafe { std::slice::from_raw_parts(first.add(len).cast::<AtomicU64>().as_ptr(), len.div_ceil(BITS)) };
        // SAFETY: the caller's promise.
        unsafe {
            in_flight.write(InFlight {
                address: AtomicU64::new(0),
                id: AtomicU32::new(0),
                places,
                occupied,
                most: AtomicU32::new(0),
                count: AtomicU32::new(0),
                limit: AtomicU32::new(NO_LIMIT),
                cursor: AtomicU64::new(0),
                window: AtomicU32::new(0),
                narrowest: AtomicU32::new(0),
                reach: AtomicU32::new(0),
                next: AtomicPtr::new(std::ptr::null_mut()),
                ends: AtomicU64::new(0),
                reaping: Reaping::new(),
            });
            in_flight.as_ref()
        }
    }

    /// Begins anew, for a context that the library meets for the first time. No other thread uses this, and it has `places_for` the
    /// ring.
    pub fn begin(&self, address: u64, ring: &impl Ring) {
        for index in self.indices(self.used_places().len()) {
            if let Some(place) = self.places.get(index) {
                place.seq.store(ENDED, Ordering::Release);
                self.free(index, place);
            }
        }
        self.count.store(0, Ordering::Relaxed);
        self.limit.store(NO_LIMIT, Ordering::Relaxed);
        self.reach.store(0, Ordering::Relaxed);
        let window = self.places().min(InFlight::NARROW);
        self.window.store(window, Ordering::Relaxed);
        self.narrowest.store(window, Ordering::Relaxed);
        self.cursor.store(u64::from(ring.tail() % ring.size()), Ordering::Relaxed);
        self.id.store(ring.id(), Ordering::Relaxed);
        self.address.store(address, Ordering::Relaxed);
        self.most.store(ring.size() - 1, Ordering::Release);
    }

    /// Takes the records of requests with numbers from `seq` on from `older`: they turned out to be this context's. Their events may
    /// be in the ring already, so the cursor goes back by as many.
    pub fn take_over(&self, older: &InFlight, seq: u64, ring: &impl Ring) {
        let mut taken = 0;
        for (record, on) in older.records().filter(|(record, _)| record.seq >= seq) {
            if self.reserve() {
                self.enter(record.object(), record.seq, on);
                taken += 1;
            }
        }
        let size = u64::from(ring.size());
        let back = taken.min(size - 1);
        self.cursor.store((u64::from(ring.tail()) + size - back) % size, Ordering::Release);
    }

    /// The context is about to be destroyed: there is no room any more, and nobody begins to look at its ring.
    pub fn close(&self) {
        self.most.store(0, Ordering::SeqCst);
    }

    /// Pairs with `close`: whoever has announced that it reads the ring, and sees this false, is waited for.
    pub fn is_closed(&self) -> bool {
        self.most.load(Ordering::SeqCst) == 0
    }

    /// Whether the ring is the one of `begin`, not of another context that the program has made at its address by raw system calls.
    pub fn is_of(&self, ring: &impl Ring) -> bool {
        ring.is_marked()
    }

    /// The context is gone, and what it had in flight has ended, if its number is no higher.
    pub fn end_all_up_to(&self, seq: u64) {
        for (record, _) in self.records().filter(|(record, _)| record.seq <= seq) {
            self.end_one(&record);
        }
    }

    pub fn address(&self) -> u64 {
        self.address.load(Ordering::Acquire)
    }

    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// A bound for the number of records.
    pub fn capacity(&self) -> usize {
        self.places.len()
    }

    /// How many places there are.
    pub fn places(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// How many requests io_submit(2) takes from a list at most.
    pub fn longest_list(&self) -> usize {
        usize::try_from(self.most.load(Ordering::Relaxed)).map_or(usize::MAX, |most| most + 1)
    }

    pub fn next(&self) -> &AtomicPtr<InFlight> {
        &self.next
    }

    pub fn count(&self) -> usize {
        usize::try_from(self.count.load(Ordering::Acquire)).unwrap_or(usize::MAX)
    }

    /// The program has moved the ring (mremap).
    pub fn moved_to(&self, address: u64) {
        self.address.store(address, Ordering::Release);
    }

    /// The slots that records are hashed into.
    fn used_places(&self) -> &'static [Slot] {
        // Acquire: a record that the caller has to see was entered after the window was wide enough for it.
        let window = usize::try_from(self.window.load(Ordering::Acquire)).unwrap_or(usize::MAX);
        self.places.get(..window).unwrap_or(self.places)
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Reserves a record. False: the context has all in flight that it has room for, or is gone.
    pub fn reserve(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed).min(self.limit.load(Ordering::Relaxed));
        // Before: whoever reserves next finds the window no narrower.
        let window = self.window.load(Ordering::Relaxed);
        let one_more = |count: u32| (count < most).then_some(count + 1);
        let Ok(count) = self.count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more) else { return false };
        if count == 0 && self.narrowest.load(Ordering::Relaxed) != window {
            self.narrowest.store(window, Ordering::Relaxed);
        }
        self.widen(count + 1);
        true
    }

    /// Keeps seven in eight slots of the window free, as long as there are more, so that records are near where they are hashed to.
    fn widen(&self, count: u32) {
        let wanted = count.saturating_mul(8);
        if wanted > self.window.load(Ordering::Relaxed) {
            let window = wanted.checked_next_power_of_two().unwrap_or(u32::MAX).min(self.places());
            // Release: pairs with `used_places`.
            self.window.fetch_max(window, Ordering::Release);
        }
    }

    /// From now on there is room for so many that the kernel accepts a sync that is held back, whenever that is. It counts events
    /// that were not taken, too, and leaves places with the processors that had them last: only half of them can be had by each,
    /// but that is more than io_setup was asked for.
    pub fn limit(&self, ring: &impl Ring) {
        let size = u64::from(ring.size());
        let seen = self.cursor.load(Ordering::Acquire) % size;
        // Those that were not looked at have their records.
        let unseen = (u64::from(ring.tail()) + size - seen) % size;
        let untaken = u64::from(ring.filled()).saturating_sub(unseen);
        let limit = ((size - 1) / 2).saturating_sub(untaken);
        self.limit.store(u32::try_from(limit).unwrap_or(0), Ordering::Relaxed);
    }

    pub fn is_limited(&self) -> bool {
        self.limit.load(Ordering::Relaxed) != NO_LIMIT
    }

    /// The kernel says what there is room for.
    pub fn lift_limit(&self) {
        self.limit.store(NO_LIMIT, Ordering::Relaxed);
    }

    /// Reserves the record again that `withdraw` has released. It cannot fail: there was one until now.
    pub fn reserve_again(&self) {
        let count = self.count.fetch_add(1, Ordering::AcqRel);
        self.widen(count + 1);
    }

    /// A reserved record is not needed after all.
    pub fn release(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// Fills a reserved record. (There is a slot for each reserved record: it is never None.)
    pub fn enter(&self, object: u64, seq: u64, on: Target) -> Option<Record> {
        for (distance, (index, place)) in (0u32..).zip(probe(self.used_places(), object)) {
            if place.object.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_err() {
                continue;
            }
            place.set(on);
            // Both before it can be found, and ended.
            self.reach.fetch_max(distance, Ordering::Relaxed);
            if let Some((word, bit)) = self.bit(index) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
            place.seq.store(seq, Ordering::Release);
            place.object.store(object, Ordering::Release);
            return Some(Record { place, seq, index });
        }
        None
    }

    /// A request was not submitted after all.
    pub fn withdraw(&self, object: u64, seq: u64) {
        let mut found = None;
        self.for_each_of(object, |record| found = if record.seq == seq { Some(record) } else { found });
        if !found.is_some_and(|found| self.end_one(&found)) {
            // An event of another request with this iocb was taken for its.
            self.end(object);
        }
    }

    /// The same for one whose iocb cannot be read any more.
    pub fn withdraw_unnamed(&self, seq: u64) {
        let found = self.records().map(|(record, _)| record).find(|record| record.seq == seq);
        found.into_iter().for_each(|found| {
            self.end_one(&found);
        });
    }

    /// Ends the records of all events that have come since the last look. `ending` is told of which iocb one is about to be ended,
    /// and 0 afterwards.
    pub fn look(&self, ring: &impl Ring, ending: &AtomicU64) {
        let size = u64::from(ring.size());
        loop {
            // Acquire: pairs with the exchange below, so that the tail read next is not older than the cursor.
            let seen = self.cursor.load(Ordering::Acquire);
            let place = u32::try_from(seen % size).unwrap_or(0);
            if place == ring.tail() {
                return;
            }
            let object = ring.object(place);
            // Whoever moves the cursor has read the event while it could not be overwritten: the tail gets there only when
            // the cursor has moved on.
            ending.store(object, Ordering::Relaxed);
            if self.cursor.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.end(object);
            }
            ending.store(0, Ordering::Relaxed);
        }
    }

    /// An event of the iocb has come. If it is in flight more than once, the oldest is taken to have ended.
    fn end(&self, object: u64) {
        loop {
            // SeqCst: whoever ends a record counts that first, so that it is seen below or its outcome in the search.
            let ends = self.ends.load(Ordering::SeqCst);
            let mut oldest: Option<Record> = None;
            self.for_each_of(object, |record| {
                if oldest.is_none_or(|oldest| record.seq < oldest.seq) {
                    oldest = Some(record);
                }
            });
            match oldest {
                Some(oldest) if self.end_one(&oldest) => return,
                Some(_) => {}
                // It was not submitted by way of the library; unless, during the search, another one with this iocb was
                // entered behind it, and somebody ended the one before it: then they are counted.
                None if self.ends.load(Ordering::SeqCst) == ends => return,
                None => {}
            }
        }
    }

    fn end_one(&self, record: &Record) -> bool {
        self.ends.fetch_add(1, Ordering::SeqCst);
        let ended = record.end();
        if ended {
            self.free(record.index, record.place);
            self.release();
        }
        ended
    }

    /// Records of an iocb.
    fn for_each_of(&self, object: u64, mut tell: impl FnMut(Record)) {
        let reach = usize::try_from(self.reach.load(Ordering::Relaxed)).unwrap_or(usize::MAX).saturating_add(1);
        let narrowest = usize::try_from(self.narrowest.load(Ordering::Relaxed)).unwrap_or(0).max(1);
        let mut places = self.used_places();
        // A record is near the place that it had by the window of its time.
        while !places.is_empty() {
            for (index, place) in probe(places, object).take(reach) {
                let seq = place.seq.load(Ordering::Acquire);
                let found = Record { place, seq, index };
                // In this order: the number tells whether the place was used again while its iocb was read.
                if seq != ENDED && place.object.load(Ordering::Acquire) == object && !found.has_ended() {
                    tell(found);
                }
            }
            let narrower = if places.len() > narrowest { places.len() / 2 } else { 0 };
            places = places.get(..narrower).unwrap_or_default();
        }
    }

    /// What is in flight, and on what. Whatever was entered before is found; what is entered or ended meanwhile, perhaps.
    pub fn records(&self) -> impl Iterator<Item = (Record, Target)> {
        let all: &'static [Slot] = self.places;
        let used = if self.is_empty() { 0 } else { self.used_places().len() };
        self.indices(used).filter_map(move |index| {
            let place = all.get(index)?;
            let seq = place.seq.load(Ordering::Acquire);
            if seq == ENDED || place.object.load(Ordering::Acquire) <= CLAIMED {
                return None;
            }
            let on = place.on();
            let record = Record { place, seq, index };
            (!record.has_ended()).then_some((record, on))
        })
    }

    /// The indices of those of the first places that have a record.
    fn indices(&self, places: usize) -> impl Iterator<Item = usize> + use<> {
        let words = places.div_ceil(BITS);
        let occupied: &'static [AtomicU64] = self.occupied;
        occupied.iter().take(words).enumerate().flat_map(|(word, bits)| {
            let rest = |bits: &u64| Some(bits & (bits - 1)).filter(|rest| *rest != 0);
            let first = Some(bits.load(Ordering::Acquire)).filter(|bits| *bits != 0);
            let lowest = move |bits: u64| word * BITS + usize::try_from(bits.trailing_zeros()).unwrap_or(0);
            std::iter::successors(first, rest).map(lowest)
        })
    }

    fn bit(&self, index: usize) -> Option<(&AtomicU64, u64)> {
        Some((self.occupied.get(index / BITS)?, 1 << (index % BITS)))
    }

    /// Leaves a place, whose record the caller has ended, to other records.
    fn free(&self, index: usize, place: &Slot) {
        if let Some((word, bit)) = self.bit(index) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
        // Release: whoever claims the place next sets the bit again after this.
        place.object.store(FREE, Ordering::Release);
    }

    /// Whether the request with this number is in flight.
    pub fn has(&self, object: u64, seq: u64) -> bool {
        let mut found = false;
        self.for_each_of(object, |record| found |= record.seq == seq);
        found
    }

    /// Whether anything is, beside records that deferred syncs have reserved.
    pub fn is_idle(&self) -> bool {
        self.count.load(Ordering::Acquire) <= self.reaping.deferred.load(Ordering::Acquire)
    }

    /// Whether something in flight was submitted on this number.
    pub fn uses(&self, fd: i32) -> bool {
        self.records().any(|(_, on)| on == Target::Descriptor(fd))
    }

    /// The number is about to stand for something else.
    pub fn closes(&self, fd: i32, file: FileKey) {
        for (record, on) in self.records() {
            // Or it has ended, and the place is another's.
            if on == Target::Descriptor(fd) && record.place.claim_number(fd) {
                record.place.set(Target::File(file));
            }
        }
    }
}

impl Ring for crate::sys::aio_ring::Completions {
    fn id(&self) -> u32 {
        self.id()
    }

    fn size(&self) -> u32 {
        self.size()
    }

    fn tail(&self) -> u32 {
        self.tail()
    }

    fn object(&self, place: u32) -> u64 {
        let event = self.event(place);
        name(event.obj, event.data)
    }

    fn filled(&self) -> u32 {
        self.filled()
    }

    fn is_marked(&self) -> bool {
        self.is_marked()
    }

    fn mark(&self) {
        self.mark();
    }
}

mod slot;
#[cfg(test)]
mod tests;
