//! Shadow iocbs: copies in the library's memory by which deferred syncs are submitted, as the program may reuse or free its iocb when
//! io_submit has returned. The kernel's events name the shadow; io_getevents puts the program's iocb in its place.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering};

use super::in_flight::{self, InFlight};
use crate::sys::aio_abi::{io_event, iocb};
use crate::sys::errno::Errno;
use crate::sys::memory;

/// All zeroes is one without shadows. They are taken under the lock, looked up and given back without.
pub struct Shadows {
    chunks: [AtomicPtr<Shadow>; CHUNKS],
    /// Those that are free. Only the lock's holder takes one off, so that a link it has read cannot change meanwhile.
    free: AtomicPtr<Shadow>,
}

/// Chunks of 64, 128, 256, …: never unmapped.
const CHUNKS: usize = 20;
const FIRST_CHUNK: usize = 64;

#[repr(C)]
pub struct Shadow {
    copy: UnsafeCell<MaybeUninit<iocb>>,
    /// The program's, or 0: this one is free.
    block: AtomicU64,
    /// The event's result, whatever the kernel says; 0: what it says.
    result: AtomicI64,
    /// Of the sync.
    seq: AtomicU64,
    in_flight: AtomicPtr<InFlight>,
    next: AtomicPtr<Shadow>,
}

// SAFETY: the cell is written under the lock only, while it is free; the kernel reads it.
unsafe impl Sync for Shadow {}

/// What a shadow stands for.
#[derive(Clone, Copy)]
pub struct StandsFor {
    pub block: *mut iocb,
    pub seq: u64,
    pub in_flight: &'static InFlight,
    /// What its event is to say if the kernel is asked to do something else.
    pub result: Option<Errno>,
}

/// A shadow that stands for a sync in the kernel.
pub struct InUse {
    shadow: &'static Shadow,
    block: u64,
    pub in_flight: &'static InFlight,
    /// The sync's record, if that has not ended.
    pub object: u64,
    pub seq: u64,
}

impl Shadow {
    /// What the sync is in flight as. Under the lock.
    fn object(&self) -> u64 {
        let place = self.copy.get().cast::<iocb>();
        // SAFETY: it was written when the shadow was made.
        in_flight::name(place, unsafe { (*place).data })
    }
}

impl Shadows {
    fn chunks(&self) -> impl Iterator<Item = &'static [Shadow]> {
        self.chunks.iter().enumerate().filter_map(|(index, first)| {
            let first = first.load(Ordering::Acquire);
            // SAFETY: `grow` has mapped so many, never to be unmapped; all zeroes is a free one.
            (!first.is_null()).then(|| unsafe { std::slice::from_raw_parts(first, FIRST_CHUNK << index) })
        })
    }

    /// An iocb that says `copy`. Under the lock. None: none is free; see `in_use` and `grow`.
    pub fn make(&self, copy: &iocb, sync: StandsFor) -> Option<*mut iocb> {
        let shadow = self.take()?;
        let place = shadow.copy.get().cast::<iocb>();
        // SAFETY: it is free, so nobody reads it; it lies in a cell.
        unsafe { place.write(*copy) };
        shadow.seq.store(sync.seq, Ordering::Relaxed);
        shadow.result.store(sync.result.map_or(0, |error| -i64::from(error.0)), Ordering::Relaxed);
        shadow.in_flight.store(ptr::from_ref(sync.in_flight).cast_mut(), Ordering::Relaxed);
        shadow.block.store(u64::try_from(sync.block.expose_provenance()).unwrap_or(0), Ordering::Release);
        Some(place)
    }

    fn take(&self) -> Option<&'static Shadow> {
        let mut first = self.free.load(Ordering::Acquire);
        loop {
            // SAFETY: never unmapped.
            let shadow = unsafe { first.as_ref() }?;
            let next = shadow.next.load(Ordering::Relaxed);
            match self.free.compare_exchange_weak(first, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(shadow),
                Err(now) => first = now,
            }
        }
    }

    fn give(&self, shadow: &'static Shadow) {
        let mut first = self.free.load(Ordering::Relaxed);
        loop {
            shadow.next.store(first, Ordering::Relaxed);
            let new = ptr::from_ref(shadow).cast_mut();
            match self.free.compare_exchange_weak(first, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Those whose events were not translated: for the caller to `free` if they will never be. Under the lock.
    pub fn in_use(&self) -> impl Iterator<Item = InUse> {
        self.chunks().flatten().filter_map(|shadow| {
            let block = shadow.block.load(Ordering::Acquire);
            // SAFETY: in-flight records are never freed.
            let in_flight = unsafe { shadow.in_flight.load(Ordering::Relaxed).as_ref() }?;
            let (object, seq) = (shadow.object(), shadow.seq.load(Ordering::Relaxed));
            (block != 0).then_some(InUse { shadow, block, in_flight, object, seq })
        })
    }

    /// No event will name it. False: its event has been translated in the meantime.
    pub fn free(&self, in_use: &InUse) -> bool {
        let freed = in_use.shadow.block.compare_exchange(in_use.block, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if freed {
            self.give(in_use.shadow);
        }
        freed
    }

    /// How many there are, free ones included.
    pub fn count(&self) -> usize {
        self.chunks().map(<[Shadow]>::len).sum()
    }

    /// Makes more, if there is memory. Under the lock.
    pub fn grow(&self) {
        let places = self.chunks.iter().enumerate();
        let Some((index, place)) = places.into_iter().find(|(_, first)| first.load(Ordering::Relaxed).is_null()) else {
            return;
        };
        let count = FIRST_CHUNK << index;
        let Ok(pages) = memory::map(count * size_of::<Shadow>()) else { return };
        place.store(pages.cast().as_ptr(), Ordering::Release);
        // SAFETY: just mapped; all zeroes is a free one.
        let made: &'static [Shadow] = unsafe { std::slice::from_raw_parts(pages.cast().as_ptr(), count) };
        made.iter().rev().for_each(|shadow| self.give(shadow));
    }

    /// It was not handed in after all.
    pub fn give_back(&self, copy: *mut iocb) {
        if let Some(shadow) = self.find(copy) {
            shadow.block.store(0, Ordering::Relaxed);
            self.give(shadow);
        }
    }

    fn find(&self, copy: *const iocb) -> Option<&'static Shadow> {
        self.chunks().find_map(|chunk| {
            let distance = copy.addr().checked_sub(chunk.as_ptr().addr())?;
            chunk.get(distance / size_of::<Shadow>())
        })
    }

    /// Puts the program's iocbs into events that name one of these.
    pub fn translate(&self, events: &mut [io_event]) {
        if self.chunks().next().is_none() {
            return;
        }
        for event in events {
            if let Some(shadow) = self.find(event.obj) {
                let block = shadow.block.load(Ordering::Acquire);
                if block == 0 {
                    continue;
                }
                event.obj = ptr::with_exposed_provenance_mut(usize::try_from(block).unwrap_or(0));
                let result = shadow.result.load(Ordering::Relaxed);
                if result != 0 {
                    event.res = result.cast_unsigned();
                }
                shadow.block.store(0, Ordering::Relaxed);
                self.give(shadow);
            }
        }
    }
}
