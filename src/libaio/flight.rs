//! What one context has in flight, as far as the library was told: which iocb, on which file, since when.
//!
//! A record is made before io_submit and ends when the iocb's event has been seen in the ring, where it stands whoever takes
//! it: the program by io_getevents, by a raw system call or by moving the ring's head. Every submission looks first, from where
//! the last one left off to the tail. There are never more records than the ring has places, and an event needs a record
//! before it: so the tail never gets round to an event that was not looked at.
//!
//! No lock: a signal handler may submit in the middle of a submission. A record belongs to whoever claims a free place for it,
//! and is ended by whoever moves the cursor over its event.

use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

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
    /// The iocb of the event at a place. It may be a torn or a later one if the tail has gone round since.
    fn object(&self, place: u32) -> u64;
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

const FREE: u64 = 0;
/// Somebody is writing it; no iocb is at that address.
const CLAIMED: u64 = 1;
const ENDED: u64 = 0;
const CLOSED: i32 = -1;

/// Whose file a request is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Descriptor(i32),
    File(FileKey),
}

/// A record that a sync waits for.
#[derive(Clone, Copy)]
pub struct Covered {
    place: &'static Place,
    seq: u64,
}

impl Covered {
    pub fn is(&self, seq: u64) -> bool {
        self.seq == seq
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
        }
        self.clear();
        self.most.store(size - 1, Ordering::Relaxed);
        self.cursor.store(u64::from(ring.tail() % size), Ordering::Relaxed);
        self.id.store(ring.id(), Ordering::Relaxed);
        self.address.store(address, Ordering::Release);
        Ok(())
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

    /// Records, at most; for as long as nobody submits.
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
        let found = self.candidates(object).find(|place| place.seq.load(Ordering::Acquire) == seq);
        if found.is_some_and(|place| place.end_of(seq)) {
            self.release();
        } else {
            // An event of another request with this iocb was taken for its.
            self.end(object);
        }
    }

    /// Ends the records of all events that have come since the last look.
    pub fn look(&self, ring: &impl Ring) {
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
            if self.cursor.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.end(object);
            }
        }
    }

    /// An event of the iocb has come. If it is in flight more than once, the oldest is taken to have ended.
    fn end(&self, object: u64) {
        loop {
            let seq_of = |place: &&Place| place.seq.load(Ordering::Acquire);
            let oldest = self.candidates(object).filter(|place| seq_of(place) != ENDED).min_by_key(seq_of);
            // None: it was not submitted by way of the library.
            let Some(place) = oldest else { return };
            if place.end_of(seq_of(&place)) {
                self.release();
                return;
            }
        }
    }

    fn candidates(&self, object: u64) -> impl Iterator<Item = &'static Place> {
        let reach = usize::try_from(self.reach.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let near = probe(self.places(), object).take(reach.saturating_add(1));
        near.filter(move |place| place.object.load(Ordering::Acquire) == object)
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
            if on == On::Descriptor(fd) {
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
            On::File(FileKey { device, inode }) => {
                self.device.store(device, Ordering::Relaxed);
                self.inode.store(inode, Ordering::Relaxed);
                // Release: whoever finds it closed finds the file.
                self.fd.store(CLOSED, Ordering::Release);
            }
        }
    }

    fn on(&self) -> On {
        match self.fd.load(Ordering::Acquire) {
            CLOSED => {
                let (device, inode) = (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed));
                On::File(FileKey { device, inode })
            }
            fd => On::Descriptor(fd),
        }
    }

    /// Ends this very record. False: somebody else has.
    fn end_of(&self, seq: u64) -> bool {
        let ended = self.seq.compare_exchange(seq, ENDED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if ended {
            self.object.store(FREE, Ordering::Release);
        }
        ended
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
        self.object(place)
    }
}

#[cfg(test)]
mod tests;
