//! Memory for what contexts have in flight, many in one mapping: a program may have as many contexts as mappings are allowed.
//! What is no longer in use is kept for the next context. Nothing is unmapped: scans go on without a lock.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use super::in_flight::InFlight;
use crate::sys::errno::{Errno, Result};
use crate::sys::memory;

/// Under a lock. Starts from all zeroes.
pub struct Pool {
    /// Not used so far.
    start: usize,
    left: usize,
    /// What was mapped last.
    mapped: usize,
    /// Memory for in-flight records that no context has, by the power of two of their places.
    free: [*mut InFlight; CLASSES],
}

// SAFETY: the pointers are to in-flight records, which are `Sync` and never freed.
unsafe impl Send for Pool {}

const CLASSES: usize = 32;
const FIRST: usize = 256 << 10;
const LARGEST: usize = 64 << 20;
/// Of cache lines.
const ALIGNMENT: usize = 64;

impl Pool {
    /// Memory for a ring of this size, that nobody uses. Error: ENOMEM.
    pub fn take(&mut self, size: u32, is_used: impl Fn(&InFlight) -> bool) -> Result<&'static InFlight> {
        let places = InFlight::places_for(size);
        if let Some(in_flight) = self.unlink(places, is_used) {
            return Ok(in_flight);
        }
        let memory = self.allocate(InFlight::bytes(places))?;
        // SAFETY: nobody else gets these bytes; they are zeroed, and a cache line is aligned enough.
        Ok(unsafe { InFlight::lay_out(memory, places) })
    }

    /// The first of those with so many places that nobody uses any more.
    fn unlink(&mut self, places: u32, is_used: impl Fn(&InFlight) -> bool) -> Option<&'static InFlight> {
        let first = self.free.get_mut(class(places))?;
        // SAFETY: in-flight records are never freed.
        let look = |in_flight: *mut InFlight| unsafe { in_flight.as_ref::<'static>() };
        let mut before: Option<&'static InFlight> = None;
        let mut next = look(*first);
        while let Some(in_flight) = next {
            let after = in_flight.next().load(Ordering::Relaxed);
            if !is_used(in_flight) {
                match before {
                    Some(before) => before.next().store(after, Ordering::Relaxed),
                    None => *first = after,
                }
                return Some(in_flight);
            }
            (before, next) = (Some(in_flight), look(after));
        }
        None
    }

    /// No context has it any more. Somebody may still use it.
    pub fn give_back(&mut self, in_flight: &'static InFlight) {
        if let Some(first) = self.free.get_mut(class(in_flight.places())) {
            in_flight.next().store(*first, Ordering::Relaxed);
            *first = ptr::from_ref(in_flight).cast_mut();
        }
    }

    /// Zeroed bytes, for ever. Error: ENOMEM.
    pub fn allocate(&mut self, bytes: usize) -> Result<NonNull<c_void>> {
        let bytes = bytes.checked_next_multiple_of(ALIGNMENT).ok_or(Errno(libc::ENOMEM))?;
        if self.left < bytes {
            self.map(bytes)?;
        }
        let memory: *mut c_void = ptr::with_exposed_provenance_mut(self.start);
        (self.start, self.left) = (self.start + bytes, self.left - bytes);
        NonNull::new(memory).ok_or(Errno(libc::ENOMEM))
    }

    /// More each time; as much as is needed, where there is no more.
    fn map(&mut self, bytes: usize) -> Result<()> {
        let more = self.mapped.saturating_mul(2).clamp(FIRST, LARGEST).max(bytes);
        let (mapped, memory) = match memory::map(more) {
            Ok(memory) => (more, memory),
            Err(_) => (bytes, memory::map(bytes)?),
        };
        self.mapped = mapped;
        (self.start, self.left) = (memory.as_ptr().expose_provenance(), mapped);
        Ok(())
    }
}

fn class(places: u32) -> usize {
    usize::try_from(places.trailing_zeros()).unwrap_or(0) % CLASSES
}
