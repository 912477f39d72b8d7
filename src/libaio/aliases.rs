//! Iocbs of the library's own, for syncs whose iocb the program has changed or freed while they were held, or whose descriptor
//! it has closed. The kernel puts their addresses into the events; io_getevents puts the program's back.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::abi::{io_event, iocb};
use crate::sys::memory;

/// Starts from all zeroes. Made under the lock, looked up without.
pub struct Aliases(AtomicPtr<Alias>);

#[repr(C)]
pub struct Alias {
    copy: UnsafeCell<MaybeUninit<iocb>>,
    /// The program's, or 0.
    block: AtomicU64,
    /// The sync.
    seq: AtomicU64,
}

// SAFETY: the cell is written under the lock only, while it is free; the kernel reads it.
unsafe impl Sync for Alias {}

const ALIASES: usize = 1024;

impl Aliases {
    fn all(&self) -> &'static [Alias] {
        let first = self.0.load(Ordering::Acquire);
        // SAFETY: `make` has mapped so many, never to be unmapped; all zeroes is an unused one.
        if first.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(first, ALIASES) } }
    }

    /// An iocb that says `copy` and stands for the program's `block`. Under the lock. None: no memory, or all are in use.
    pub fn make(&self, block: *mut iocb, copy: &iocb, seq: u64, in_flight: impl Fn(u64) -> bool) -> Option<*mut iocb> {
        if self.all().is_empty() {
            let pages = memory::map(ALIASES * size_of::<Alias>()).ok()?;
            self.0.store(pages.cast().as_ptr(), Ordering::Release);
        }
        let free = self.all().iter().find(|alias| alias.block.load(Ordering::Acquire) == 0);
        // A program that takes its events out of the ring itself gives none back: the oldest has been taken long since.
        let oldest = || self.all().iter().min_by_key(|alias| alias.seq.load(Ordering::Relaxed));
        let alias = free.or_else(|| oldest().filter(|alias| !in_flight(alias.seq.load(Ordering::Relaxed))))?;
        let place = alias.copy.get().cast::<iocb>();
        // SAFETY: it is free, so nobody reads it; it lies in a cell.
        unsafe { place.write(*copy) };
        alias.seq.store(seq, Ordering::Relaxed);
        alias.block.store(u64::try_from(block.expose_provenance()).unwrap_or(0), Ordering::Release);
        Some(place)
    }

    /// It was not handed in after all.
    pub fn give_back(&self, copy: *mut iocb) {
        if let Some(alias) = self.find(copy) {
            alias.block.store(0, Ordering::Release);
        }
    }

    fn find(&self, copy: *const iocb) -> Option<&'static Alias> {
        let distance = copy.addr().checked_sub(self.0.load(Ordering::Acquire).addr())?;
        self.all().get(distance / size_of::<Alias>())
    }

    /// Puts the program's iocbs into events that name one of these.
    pub fn translate(&self, events: &mut [io_event]) {
        if self.all().is_empty() {
            return;
        }
        for event in events {
            if let Some(alias) = self.find(event.obj) {
                let block = alias.block.swap(0, Ordering::AcqRel);
                event.obj = ptr::with_exposed_provenance_mut(usize::try_from(block).unwrap_or(0));
            }
        }
    }
}
