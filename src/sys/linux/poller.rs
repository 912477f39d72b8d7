//! Waiting for streams: epoll, with an eventfd to wake the waiter.

use std::sync::atomic::{AtomicI32, Ordering};

use libc::{c_int, c_void, epoll_event};

use crate::errno::{Errno, Result, check};
use crate::sys::clock::{self, Nanos};
use crate::sys::{descriptor, thread};

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

/// Events that are reported at a time.
pub const EVENTS: usize = 64;

/// One process-wide set of descriptors that are waited for. Each arming reports once.
pub struct Poller {
    epoll: AtomicI32,
    wakeup: AtomicI32,
}

const WAKEUP: u64 = u64::MAX;

/// Instead of the descriptor of epoll.
const NONE: c_int = -1;
const BEING_OPENED: c_int = -2;

impl Poller {
    pub const fn new() -> Poller {
        Poller { epoll: AtomicI32::new(NONE), wakeup: AtomicI32::new(NONE) }
    }

    /// Creates the descriptors, if they are not there yet. For library threads. Errors: EMFILE, ENFILE, ENOMEM.
    pub fn open(&self) -> Result<()> {
        let mut pause = thread::Pause::new();
        loop {
            // Acquire: with the descriptor of epoll there is the other one.
            match self.epoll.compare_exchange(NONE, BEING_OPENED, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => break,
                Err(BEING_OPENED) => pause.once(),
                Err(_) => return Ok(()),
            }
        }
        let opened = self.create();
        self.epoll.store(*opened.as_ref().unwrap_or(&NONE), Ordering::Release);
        opened.map(|_| ())
    }

    /// The descriptor of epoll; the other one is in its place.
    fn create(&self) -> Result<c_int> {
        // SAFETY: both take flags only.
        let wakeup = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: as above.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).inspect_err(|_| {
            let _ = descriptor::close(wakeup);
        })?;
        let (wakeup, epoll) = (descriptor::out_of_the_way(wakeup), descriptor::out_of_the_way(epoll));
        let forever = libc::EPOLLIN.cast_unsigned();
        control(epoll, libc::EPOLL_CTL_ADD, wakeup, epoll_event { events: forever, u64: WAKEUP }).inspect_err(
            |_| {
                descriptor::close_quietly(wakeup);
                descriptor::close_quietly(epoll);
            },
        )?;
        self.wakeup.store(wakeup, Ordering::Relaxed);
        Ok(epoll)
    }

    /// Reports `fd` once when it is ready. Errors: EPERM (it cannot be waited for), ENOMEM, ENOSPC.
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

    /// Forgets a descriptor that is about to be closed.
    pub fn disarm(&self, fd: c_int) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, epoll_event { events: 0, u64: 0 });
    }

    fn control(&self, operation: c_int, fd: c_int, event: epoll_event) -> Result<()> {
        control(self.epoll.load(Ordering::Relaxed), operation, fd, event)
    }

    /// Waits until a descriptor is ready, `wake` was called or the time is up (`Nanos::MAX`: never). Returns how many it
    /// reports.
    pub fn wait(&self, patience: Nanos, found: &mut [Event; EVENTS]) -> usize {
        let mut events = [epoll_event { events: 0, u64: 0 }; EVENTS];
        let room = c_int::try_from(EVENTS).unwrap_or(1);
        let epoll = self.epoll.load(Ordering::Relaxed);
        // SAFETY: the array has room for that many events.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), room, clock::to_milliseconds(patience)) };
        if count < 0 && Errno::last() != Errno::INTR {
            // Nothing can be waited for, and nobody may be kept waiting.
            thread::sleep_a_millisecond();
        }
        let mut places = found.iter_mut();
        for event in events.iter().take(usize::try_from(count).unwrap_or(0)) {
            let (flags, token) = (event.events.cast_signed(), event.u64);
            if token == WAKEUP {
                self.drain();
                continue;
            }
            // Errors and hang-ups concern both directions.
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

    /// Ends the wait that is under way, or the next one. Safe in a signal handler.
    pub fn wake(&self) {
        let one = 1u64;
        let wakeup = self.wakeup.load(Ordering::Relaxed);
        // SAFETY: an eventfd takes eight bytes. A full counter wakes just as well. Not libc's write: a caller that was
        // cancelled must not end here.
        unsafe { libc::syscall(libc::SYS_write, wakeup, &raw const one, size_of::<u64>()) };
    }

    fn drain(&self) {
        let mut count = 0u64;
        let wakeup = self.wakeup.load(Ordering::Relaxed);
        // SAFETY: an eventfd gives eight bytes.
        unsafe { libc::read(wakeup, (&raw mut count).cast::<c_void>(), size_of::<u64>()) };
    }

    /// A descriptor that can be written to at any time, if the poller is open.
    pub fn always_ready(&self) -> c_int {
        self.wakeup.load(Ordering::Relaxed)
    }

    /// Whether a descriptor is one of the poller's own.
    pub fn owns(&self, fd: c_int) -> bool {
        fd >= 0 && (fd == self.epoll.load(Ordering::Relaxed) || fd == self.wakeup.load(Ordering::Relaxed))
    }

    /// The poller's own descriptors from `first` on, the lowest.
    pub fn lowest_own(&self, first: c_int) -> Option<c_int> {
        let own = [self.epoll.load(Ordering::Relaxed), self.wakeup.load(Ordering::Relaxed)];
        own.into_iter().filter(|fd| *fd >= first.max(0)).min()
    }

    /// Closes the descriptors: in a child, which must not disturb the parent's.
    pub fn close(&self) {
        for own in [&self.epoll, &self.wakeup] {
            let fd = own.swap(NONE, Ordering::Relaxed);
            if fd >= 0 {
                let _ = descriptor::close(fd);
            }
        }
    }
}

fn control(epoll: c_int, operation: c_int, fd: c_int, mut event: epoll_event) -> Result<()> {
    // SAFETY: the kernel reads one event.
    check(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) }).map(|_| ())
}
