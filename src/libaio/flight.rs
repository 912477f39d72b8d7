//! What one context has in flight, as far as the library was told: which iocb, on which file, since when.
//!
//! A record is made before io_submit and ends when the iocb's event has been seen in the ring, where it stands whoever takes
//! it: the program by io_getevents, by a raw system call or by moving the ring's head. Every submission looks first, from where
//! the last one left off to the tail. There are never more records than the ring has places, and an event needs a record
//! before it: so the tail never gets round to an event that was not looked at.
//!
//! No lock: a signal handler may submit in the middle of a submission. A record belongs to whoever claims a free place for it,
//! and is ended by whoever moves the cursor over its event.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::abi::iocb;
use crate::errno::Result;
use crate::order::FileKey;
use crate::slab::mix;
use crate::sys::memory;

/// A ring of completions, as far as it matters here.
pub trait Ring {
    fn id(&self) -> u32;
    /// Places of the ring.
    fn size(&self) -> u32;
    /// The place of the next event. Those before it are stored (Acquire).
    fn tail(&self) -> u32;
    /// What names the iocb of the event at a place (`name`). It may be a torn or a later one if the tail has gone round since.
    fn object(&self, place: u32) -> u64;
    /// Whether neither an event nor a mark was ever stored at a place.
    fn is_blank(&self, place: u32) -> bool;
    /// Marks a place, if it is blank.
    fn mark(&self, place: u32);
}

/// Starts from all zeroes: no room.
pub struct Flight {
    /// The context's number, and the kernel's for the ring, which stays when the program moves it.
    address: AtomicU64,
    id: AtomicU32,
    places: AtomicPtr<Place>,
    /// A power of two, at least twice `most`.
    capacity: AtomicU32,
    /// Records at a time.
    most: AtomicU32,
    count: AtomicU32,
    /// Events seen since the ring was made; modulo its size, the place of the next one.
    cursor: AtomicU64,
    /// How far a record is from its place at most.
    reach: AtomicU32,
    /// How often somebody was about to end a record.
    ends: AtomicU64,
}

/// One record. It is told from a later one at the same place by `seq`.
pub struct Place {
    object: AtomicU64,
    seq: AtomicU64,
    /// The descriptor; `CLOSED`: it was given up since, and `device` and `inode` say what it was.
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// What an iocb is known by: its address, and what it says of itself, for programs that use one for several requests.
pub fn name(block: *const iocb, data: *const c_void) -> u64 {
    let part = |pointer: usize| u64::try_from(pointer).unwrap_or(0);
    let name = part(block.addr()) ^ part(data.addr()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if name <= CLAIMED { u64::MAX } else { name }
}

const FREE: u64 = 0;
/// Somebody is writing it; no iocb is at that address.
const CLAIMED: u64 = 1;
const ENDED: u64 = 0;
const CLOSED: i32 = -1;
const CLOSING: i32 = -2;

/// Whose file a request is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Descriptor(i32),
    File(FileKey),
    /// Its descriptor is being closed right now: on any.
    Unknown,
}

/// A record, as long as it is that one: what a sync waits for.
#[derive(Clone, Copy)]
pub struct Covered {
    place: &'static Place,
    seq: u64,
}

impl Covered {
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether it is of this iocb.
    pub fn names(&self, object: u64) -> bool {
        self.place.object.load(Ordering::Relaxed) == object
    }

    /// Ends this very record. False: somebody else has.
    fn end(&self) -> bool {
        let ended = self.place.seq.compare_exchange(self.seq, ENDED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if ended {
            self.place.object.store(FREE, Ordering::Release);
        }
        ended
    }

    pub fn is_older_than(&self, seq: u64) -> bool {
        self.seq < seq
    }

    pub fn has_ended(&self) -> bool {
        // Acquire: whoever sees it ended sees its event.
        self.place.seq.load(Ordering::Acquire) != self.seq
    }
}

impl Flight {
    /// Begins anew, for a context that was just made or is met for the first time. Nobody else uses it. Error: ENOMEM.
    pub fn begin(&self, address: u64, ring: &impl Ring) -> Result<()> {
        let size = ring.size();
        let capacity = size.saturating_mul(2).next_power_of_two();
        if self.capacity.load(Ordering::Relaxed) < capacity {
            // Those that were too small stay: a sync may still look at them.
            let bytes = usize::try_from(capacity).unwrap_or(usize::MAX).saturating_mul(size_of::<Place>());
            self.places.store(memory::map(bytes)?.cast().as_ptr(), Ordering::Relaxed);
            self.capacity.store(capacity, Ordering::Relaxed);
            self.count.store(0, Ordering::Relaxed);
            self.reach.store(0, Ordering::Relaxed);
        } else {
            self.clear();
        }
        self.most.store(size - 1, Ordering::Relaxed);
        let tail = ring.tail() % size;
        self.cursor.store(u64::from(tail), Ordering::Relaxed);
        // See `is_of`.
        ring.mark((tail + size - 1) % size);
        self.id.store(ring.id(), Ordering::Relaxed);
        self.address.store(address, Ordering::Release);
        Ok(())
    }

    /// Whether the ring is the one of `begin`, not another that the program has made at its address, by raw system calls: such a
    /// one is blank before the cursor.
    pub fn is_of(&self, ring: &impl Ring) -> bool {
        let size = u64::from(ring.size());
        let before = (self.cursor.load(Ordering::Acquire) + size - 1) % size;
        !u32::try_from(before).is_ok_and(|before| ring.is_blank(before))
    }

    /// The context is gone, by a raw system call, which waits for all that is in flight: it has ended, if its number is no
    /// higher.
    pub fn end_all_up_to(&self, seq: u64) {
        for (record, _) in self.records().filter(|(record, _)| record.seq <= seq) {
            self.end_one(&record);
        }
    }

    /// The context is gone, and all that it had in flight has ended.
    pub fn clear(&self) {
        for place in self.places() {
            place.end();
        }
        self.count.store(0, Ordering::Relaxed);
        self.reach.store(0, Ordering::Relaxed);
    }

    pub fn address(&self) -> u64 {
        self.address.load(Ordering::Acquire)
    }

    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// More records than there can ever be.
    pub fn capacity(&self) -> usize {
        usize::try_from(self.capacity.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    pub fn count(&self) -> usize {
        usize::try_from(self.count.load(Ordering::Acquire)).unwrap_or(usize::MAX)
    }

    /// The program has moved the ring (mremap).
    pub fn moved_to(&self, address: u64) {
        self.address.store(address, Ordering::Release);
    }

    fn places(&self) -> &'static [Place] {
        let first = self.places.load(Ordering::Relaxed);
        let capacity = usize::try_from(self.capacity.load(Ordering::Relaxed)).unwrap_or(0);
        if first.is_null() {
            return &[];
        }
        // SAFETY: `begin` has mapped as many, which are never unmapped; all zeroes are free places.
        unsafe { std::slice::from_raw_parts(first, capacity) }
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Reserves a record. False: the context has all in flight that it has room for.
    pub fn reserve(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let one_more = |count: u32| (count < most).then_some(count + 1);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }

    /// Reserves one where there was one until now.
    pub fn reserve_again(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// A reserved record is not needed after all.
    pub fn release(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// Fills a reserved record. None: there is no place for it, which cannot be.
    pub fn enter(&self, object: u64, seq: u64, on: On) -> Option<Covered> {
        let places = self.places();
        for (distance, place) in (0u32..).zip(probe(places, object)) {
            if place.object.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_err() {
                continue;
            }
            place.set(on);
            // Before it can be found.
            self.reach.fetch_max(distance, Ordering::Relaxed);
            place.seq.store(seq, Ordering::Release);
            place.object.store(object, Ordering::Release);
            return Some(Covered { place, seq });
        }
        None
    }

    /// A request was not submitted after all.
    pub fn withdraw(&self, object: u64, seq: u64) {
        let found = self.candidates(object).find(|found| found.seq == seq);
        if !found.is_some_and(|found| self.end_one(&found)) {
            // An event of another request with this iocb was taken for its.
            self.end(object);
        }
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
            match self.candidates(object).min_by_key(|found| found.seq) {
                Some(oldest) if self.end_one(&oldest) => return,
                Some(_) => {}
                // It was not submitted by way of the library; unless, during the search, another one with this iocb was
                // entered behind it, and somebody ended the one before it: then they are counted.
                None if self.ends.load(Ordering::SeqCst) == ends => return,
                None => {}
            }
        }
    }

    fn end_one(&self, record: &Covered) -> bool {
        self.ends.fetch_add(1, Ordering::SeqCst);
        let ended = record.end();
        if ended {
            self.release();
        }
        ended
    }

    fn candidates(&self, object: u64) -> impl Iterator<Item = Covered> {
        let reach = usize::try_from(self.reach.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let near = probe(self.places(), object).take(reach.saturating_add(1));
        near.filter_map(move |place| {
            let seq = place.seq.load(Ordering::Acquire);
            let found = Covered { place, seq };
            // In this order: the number tells whether the place was used again while its iocb was read.
            let is_it = seq != ENDED && place.object.load(Ordering::Acquire) == object && !found.has_ended();
            is_it.then_some(found)
        })
    }

    /// What is in flight, and on what.
    pub fn records(&self) -> impl Iterator<Item = (Covered, On)> {
        let places = if self.is_empty() { &[] } else { self.places() };
        places.iter().filter_map(|place| {
            let seq = place.seq.load(Ordering::Acquire);
            if seq == ENDED || place.object.load(Ordering::Acquire) <= CLAIMED {
                return None;
            }
            let on = place.on();
            let covered = Covered { place, seq };
            (!covered.has_ended()).then_some((covered, on))
        })
    }

    /// Whether something in flight was submitted on this number.
    pub fn uses(&self, fd: i32) -> bool {
        self.records().any(|(_, on)| on == On::Descriptor(fd))
    }

    /// The number is about to stand for something else.
    pub fn closes(&self, fd: i32, file: FileKey) {
        for (record, on) in self.records() {
            // Or it has ended, and the place is another's.
            if on == On::Descriptor(fd) && record.place.claim_number(fd) {
                record.place.set(On::File(file));
            }
        }
    }
}

/// The places where a record may be, nearest first.
fn probe(places: &'static [Place], object: u64) -> impl Iterator<Item = &'static Place> {
    let start = if places.is_empty() { 0 } else { mix(object) % places.len() };
    let (before, from) = places.split_at(start);
    from.iter().chain(before)
}

impl Place {
    fn set(&self, on: On) {
        match on {
            On::Descriptor(fd) => self.fd.store(fd, Ordering::Relaxed),
            On::Unknown => self.fd.store(CLOSING, Ordering::Relaxed),
            On::File(FileKey { device, inode }) => {
                self.device.store(device, Ordering::Relaxed);
                self.inode.store(inode, Ordering::Relaxed);
                // Release: whoever finds it closed finds the file.
                self.fd.store(CLOSED, Ordering::Release);
            }
        }
    }

    /// Whether this is on the descriptor; then nobody else changes that now.
    fn claim_number(&self, fd: i32) -> bool {
        self.fd.compare_exchange(fd, CLOSING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn on(&self) -> On {
        match self.fd.load(Ordering::Acquire) {
            CLOSING => On::Unknown,
            CLOSED => {
                let (device, inode) = (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed));
                On::File(FileKey { device, inode })
            }
            fd => On::Descriptor(fd),
        }
    }

    fn end(&self) {
        self.seq.store(ENDED, Ordering::Release);
        self.object.store(FREE, Ordering::Release);
    }
}

impl Ring for crate::sys::contexts::Completions {
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
        let (block, data) = self.event(place);
        name(block, data)
    }

    fn is_blank(&self, place: u32) -> bool {
        self.is_blank(place)
    }

    fn mark(&self, place: u32) {
        self.mark(place);
    }
}

#[cfg(test)]
mod tests;
