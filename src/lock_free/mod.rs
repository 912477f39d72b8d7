//! What callers and library threads share without the table's lock: a caller that needs nothing else blocks no signals, and callers
//! do not wait for each other.

pub mod entered;
pub mod fd_cache;
pub mod in_flight;
pub mod submission_queue;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::order::{Admission, Kind};
use crate::request::Request;
use crate::ring_owner::RingOwner;
use crate::sys::errno::Result;
use crate::sys::memory;
use crate::worker_slot::WorkerSlot;

use entered::Entered;
use fd_cache::FdCache;
use in_flight::InFlight;
use submission_queue::SubmissionQueue;

pub struct LockFree {
    pub submissions: SubmissionQueue<Admission<Request>, WorkerSlot>,
    pub entered: Entered,
    pub in_flight: InFlight,
    pub fd_cache: FdCache,
    /// Who takes the results of the kernel's AIO.
    pub ring_owner: RingOwner,
    /// A library thread, for what a call cannot do itself.
    pub standby: Standby,
}

/// Whether there is a library thread, and whether callers rely on it. All zeroes: there is none.
pub struct Standby {
    is_there: AtomicBool,
    needed: AtomicBool,
}

impl Standby {
    /// Under the table's lock.
    pub fn set(&self, is_there: bool) {
        // Callers read what lies beside it all the time.
        if self.is_there() != is_there {
            self.is_there.store(is_there, Ordering::Relaxed);
        }
    }

    pub fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// A caller may need it. Returns true.
    pub fn needed(&self) -> bool {
        if !self.needed.load(Ordering::Relaxed) {
            self.needed.store(true, Ordering::Relaxed);
        }
        true
    }

    /// Whether a caller has said so since the last time.
    pub fn was_needed(&self) -> bool {
        self.needed.swap(false, Ordering::Relaxed)
    }
}

impl LockFree {
    /// A request is not handed in after all.
    pub fn refuse(&self, new: &Admission<Request>) {
        if matches!(new.kind, Kind::Write | Kind::Append) {
            self.fd_cache.paths.write_ends(new.payload.submitted_on);
        }
    }

    /// An empty one, closed. It stays for ever. Error: ENOMEM.
    pub fn new() -> Result<&'static LockFree> {
        let place = memory::map(size_of::<LockFree>())?.cast::<LockFree>();
        // SAFETY: the mapping is large enough, begins at a page and is never unmapped; each part says that all zeroes is
        // what it starts from.
        Ok(unsafe { place.as_ref() })
    }
}
