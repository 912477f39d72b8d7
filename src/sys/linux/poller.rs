//! Waits for streams with epoll. An eventfd, the bell, ends the wait.

use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, epoll_event};

use crate::sys::clock::{self, Nanos};
use crate::sys::errno::{Errno, Result, check};
use crate::sys::poller_base::{LONGEST_WAIT, OwnPair};
use crate::sys::{descriptor, thread};

pub use crate::sys::poller_base::{EVENTS, Event};

/// The streams that the process waits for. `arm` asks for one report of a descriptor.
///
/// The program may close the poller's own two descriptors at any time, by a system call that the library does not see, and open
/// files of its own under their numbers. So nothing is ever written to them, and they are used only by epoll_ctl of the bell,
/// which fails unless both are still the poller's.
pub struct Poller {
    /// The descriptor of epoll, and the bell: an eventfd that is always readable. Arming it ends the wait.
    own: OwnPair,
    /// The bell was armed after the last `begin_turn`.
    rung: AtomicBool,
}

/// The token of the bell; that of a stream is its descriptor.
const BELL: u64 = u64::MAX;

impl Poller {
    pub const fn new() -> Poller {
        Poller { own: OwnPair::new(), rung: AtomicBool::new(false) }
    }

    /// Creates the descriptors, unless they exist. To be called in a thread of the program: for a moment they have the lowest
    /// free numbers, which the next `open` of that thread expects to get. Errors: EMFILE, ENFILE, ENOMEM.
    pub fn open(&self) -> Result<()> {
        self.own.make(create)
    }

    /// To be called by the waiting thread before it reads the table: from now on `wake` ends its next wait. False: the
    /// descriptors were lost and have been made anew, and every stream has to be armed again.
    pub fn begin_turn(&self) -> bool {
        let fine = self.set_bell(SILENT).is_ok();
        // SeqCst: pairs with `wake`. A caller that still finds it true has stored its news before this thread reads the table.
        self.rung.store(false, Ordering::SeqCst);
        fine || !self.replace()
    }

    /// Makes the descriptors anew if they were lost. False: they were not, or another thread has done it.
    pub fn replace(&self) -> bool {
        let mine = self.own.forget_lost(|| !self.is_open());
        if mine {
            let _ = self.open();
        }
        mine
    }

    /// Has `wait` report `fd` once, when it is ready. Errors: EPERM (epoll does not support it), ENOMEM, ENOSPC.
    pub fn arm(&self, fd: c_int, read: bool, write: bool) -> Result<()> {
        let mut events = libc::EPOLLONESHOT;
        if read {
            events |= libc::EPOLLIN | libc::EPOLLRDHUP;
        }
        if write {
            events |= libc::EPOLLOUT;
        }
        let event = epoll_event { events: events.cast_unsigned(), u64: u64::from(fd.cast_unsigned()) };
        self.control(libc::EPOLL_CTL_MOD, fd, event).or_else(|error| match error.0 {
            libc::ENOENT => self.control(libc::EPOLL_CTL_ADD, fd, event),
            _ => Err(error),
        })
    }

    fn control(&self, operation: c_int, fd: c_int, event: epoll_event) -> Result<()> {
        control(self.own.first(), operation, fd, event)
    }

    /// Error: a descriptor was lost. Nothing has happened then to the file that has its number.
    fn set_bell(&self, event: epoll_event) -> Result<()> {
        self.control(libc::EPOLL_CTL_MOD, self.own.second(), event)
    }

    /// Whether the descriptors exist and are still the poller's.
    pub fn is_open(&self) -> bool {
        self.set_bell(RING).is_ok()
    }

    /// Waits until a stream is ready, `wake` is called or the time is up (`Nanos::MAX`: never), but not longer than
    /// `LONGEST_WAIT`. Returns the number of events in `found`.
    pub fn wait(&self, patience: Nanos, found: &mut [Event; EVENTS]) -> usize {
        let mut events = [epoll_event { events: 0, u64: 0 }; EVENTS];
        let room = c_int::try_from(EVENTS).unwrap_or(1);
        let epoll = self.own.first();
        let milliseconds = clock::to_milliseconds(patience.min(LONGEST_WAIT));
        // SAFETY: the array has room for that many events.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), room, milliseconds) };
        if count < 0 && Errno::last() != Errno::INTR {
            // epoll is lost. Do not spin, and do not sleep long: requests may be waiting.
            thread::sleep_a_millisecond();
        }
        let mut places = found.iter_mut();
        for event in events.iter().take(usize::try_from(count).unwrap_or(0)) {
            let (flags, token) = (event.events.cast_signed(), event.u64);
            if token == BELL {
                continue;
            }
            // Errors and hang-ups end reads and writes alike.
            let both = flags & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            let Some(place) = places.next() else { break };
            *place = Event {
                fd: c_int::try_from(token).unwrap_or(-1),
                readable: both || flags & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0,
                writable: both || flags & libc::EPOLLOUT != 0,
            };
        }
        EVENTS - places.len()
    }

    /// Ends the wait that is under way, or the next one. Safe in a signal handler, and no cancellation point. False: the
    /// descriptors were lost.
    pub fn wake(&self) -> bool {
        let opened = self.own.is_made();
        self.rung.swap(true, Ordering::SeqCst) || self.set_bell(RING).is_ok() || !opened
    }

    /// A descriptor that poll always reports as writable; -1 if the poller is not open.
    pub fn always_ready(&self) -> c_int {
        if self.is_open() { self.own.second() } else { -1 }
    }

    /// Whether a descriptor is one of the poller's own.
    pub fn owns(&self, fd: c_int) -> bool {
        self.own.has(fd) && self.is_open()
    }

    /// Moves the poller's descriptor `fd` to another number, because the program is about to use this one. If there is no free
    /// number, the descriptor is lost.
    pub fn make_way(&self, fd: c_int) {
        let Ok(moved) = descriptor::duplicate(fd) else { return };
        let known = fd != self.own.second() || self.control(libc::EPOLL_CTL_ADD, moved, RING).is_ok();
        if !known || !self.own.exchange(fd, moved) {
            descriptor::close_quietly(moved);
        }
    }

    /// The lowest of the poller's own descriptors that is not below `first`.
    pub fn lowest_own(&self, first: c_int) -> Option<c_int> {
        self.own.lowest(first).filter(|_| self.is_open())
    }

    /// Closes the descriptors. To be called in a child of fork, which must not touch the parent's set.
    pub fn close(&self) {
        self.own.close(self.is_open());
    }
}

/// Reports the bell, which is always readable: ends a wait.
const RING: epoll_event = epoll_event { events: (libc::EPOLLIN | libc::EPOLLONESHOT).cast_unsigned(), u64: BELL };
/// Does not report the bell.
const SILENT: epoll_event = epoll_event { events: libc::EPOLLONESHOT.cast_unsigned(), u64: BELL };

/// The descriptor of epoll, and the bell.
fn create() -> Result<[c_int; 2]> {
    // SAFETY: passes numbers only.
    let bell = check(unsafe { libc::eventfd(1, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: passes a number only.
    let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).inspect_err(|_| {
        descriptor::close_quietly(bell);
    })?;
    let (bell, epoll) = (descriptor::out_of_the_way(bell), descriptor::out_of_the_way(epoll));
    control(epoll, libc::EPOLL_CTL_ADD, bell, SILENT).inspect_err(|_| {
        descriptor::close_quietly(bell);
        descriptor::close_quietly(epoll);
    })?;
    Ok([epoll, bell])
}

fn control(epoll: c_int, operation: c_int, fd: c_int, mut event: epoll_event) -> Result<()> {
    // SAFETY: the kernel reads one event.
    check(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) }).map(|_| ())
}
