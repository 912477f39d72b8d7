//! What the pollers of Linux and of other systems have in common: the events that they report, and two descriptors of their
//! own.

use std::sync::atomic::{AtomicI32, Ordering};

use libc::c_int;

use super::clock::{self, Nanos};
use super::signals::Blocked;
use super::{descriptor, thread};
use crate::sys::errno::Result;

/// What a stream is ready for.
#[derive(Clone, Copy)]
pub struct Event {
    pub fd: c_int,
    pub readable: bool,
    pub writable: bool,
}

impl Event {
    pub const NONE: Event = Event { fd: -1, readable: false, writable: false };
}

/// How many events one wait reports at most.
pub const EVENTS: usize = 64;

/// The waiter checks at least this often whether its descriptors were lost: nothing can end its wait then.
pub const LONGEST_WAIT: Nanos = 500 * clock::MILLISECOND;

/// Two descriptors that the first thread that needs them makes, together. The program may close them at any time, by a system
/// call that the library does not see, and open files of its own under their numbers: the poller finds out whether they are
/// lost.
pub struct OwnPair {
    /// A descriptor, `NONE` or `BEING_MADE`. While it is a descriptor, so is `second`.
    first: AtomicI32,
    second: AtomicI32,
}

const NONE: c_int = -1;
const BEING_MADE: c_int = -2;

impl OwnPair {
    pub const fn new() -> OwnPair {
        OwnPair { first: AtomicI32::new(NONE), second: AtomicI32::new(NONE) }
    }

    /// Negative: there is none.
    pub fn first(&self) -> c_int {
        // Acquire: pairs with the store in `make`, so that `second` is there too.
        self.first.load(Ordering::Acquire)
    }

    pub fn second(&self) -> c_int {
        self.second.load(Ordering::Relaxed)
    }

    pub fn is_made(&self) -> bool {
        self.first() >= 0
    }

    /// Makes the descriptors, unless they exist. Errors: those of `create`.
    pub fn make(&self, create: impl FnOnce() -> Result<[c_int; 2]>) -> Result<()> {
        if self.is_made() {
            return Ok(());
        }
        // A signal handler would wait for ever if its own thread were making them.
        let _blocked = Blocked::all();
        let mut pause = thread::Pause::new();
        loop {
            match self.first.compare_exchange(NONE, BEING_MADE, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => break,
                Err(BEING_MADE) => pause.once(),
                Err(_) => return Ok(()),
            }
        }
        let made = create();
        let [first, second] = *made.as_ref().unwrap_or(&[NONE; 2]);
        self.second.store(second, Ordering::Relaxed);
        // Release: pairs with the load in `first`.
        self.first.store(first, Ordering::Release);
        made.map(|_| ())
    }

    /// Forgets descriptors that were lost. False: there are none, they are not lost, or another thread has forgotten them.
    pub fn forget_lost(&self, is_lost: impl FnOnce() -> bool) -> bool {
        let lost = self.first();
        lost >= 0 && is_lost() && self.first.compare_exchange(lost, NONE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether a descriptor is one of them, unless they are lost.
    pub fn has(&self, fd: c_int) -> bool {
        fd >= 0 && (fd == self.first.load(Ordering::Relaxed) || fd == self.second())
    }

    /// Puts `moved`, a duplicate, in the place of one of them. False: `fd` is none of them.
    pub fn exchange(&self, fd: c_int, moved: c_int) -> bool {
        let exchange = |own: &AtomicI32| own.compare_exchange(fd, moved, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        exchange(&self.second) || exchange(&self.first)
    }

    /// The lowest of them that is not below `limit`.
    #[cfg(target_os = "linux")]
    pub fn lowest(&self, limit: c_int) -> Option<c_int> {
        let own = [self.first.load(Ordering::Relaxed), self.second()];
        own.into_iter().filter(|fd| *fd >= limit.max(0)).min()
    }

    /// Closes the descriptors, or only forgets them if they are not `ours`.
    pub fn close(&self, ours: bool) {
        for own in [&self.first, &self.second] {
            let fd = own.swap(NONE, Ordering::Relaxed);
            if ours && fd >= 0 {
                descriptor::close_quietly(fd);
            }
        }
    }
}
