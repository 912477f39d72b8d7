//! Waiting for streams: poll, with a pipe to wake the waiter.

use std::sync::atomic::{AtomicI32, Ordering};

use libc::{c_int, pollfd};
use parking_lot::Mutex;

use super::page_vec::PageVec;
use crate::errno::{Result, check};
use crate::sys::cancellation::put_off;
use crate::sys::clock::{self, Nanos};
use crate::sys::descriptor;

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

/// Milliseconds between looks when there was no descriptor for the pipe.
const LOOK_AGAIN: c_int = 10;

/// One process-wide set of descriptors that are waited for. Each arming reports once.
pub struct Poller {
    read_end: AtomicI32,
    write_end: AtomicI32,
    /// Only the thread in the poller's role takes this lock.
    armed: Mutex<PageVec<pollfd>>,
}

impl Poller {
    pub const fn new() -> Poller {
        Poller { read_end: AtomicI32::new(-1), write_end: AtomicI32::new(-1), armed: Mutex::new(PageVec::new()) }
    }

    /// Creates the descriptors, if they are not there yet. Errors: EMFILE, ENFILE.
    pub fn open(&self) -> Result<()> {
        if self.read_end.load(Ordering::Relaxed) != -1 {
            return Ok(());
        }
        let mut ends = [-1; 2];
        // SAFETY: room for two descriptors.
        check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
        for (own, fd) in [&self.read_end, &self.write_end].into_iter().zip(ends) {
            // SAFETY: F_SETFD takes an int.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
            let fd = descriptor::out_of_the_way(fd);
            descriptor::set_nonblocking(fd);
            own.store(fd, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reports `fd` once when it is ready. Error: ENOMEM.
    pub fn arm(&self, fd: c_int, read: bool, write: bool) -> Result<()> {
        let mut events = 0;
        if read {
            events |= libc::POLLIN;
        }
        if write {
            events |= libc::POLLOUT;
        }
        let mut armed = self.armed.lock();
        armed.retain(|entry| entry.fd != fd);
        // And one for the pipe.
        armed.reserve(2)?;
        armed.push(pollfd { fd, events, revents: 0 })
    }

    /// Forgets a descriptor that is about to be closed: the wake makes the poller look anew.
    pub fn disarm(&self, _fd: c_int) {
        self.wake();
    }

    /// Waits until a descriptor is ready, `wake` was called or the time is up (`Nanos::MAX`: never). Returns how many it
    /// reports; the others are reported next time.
    pub fn wait(&self, patience: Nanos, found: &mut [Event; EVENTS]) -> usize {
        let mut entries = std::mem::take(&mut *self.armed.lock());
        let own = self.read_end.load(Ordering::Relaxed);
        let wakes = entries.push(pollfd { fd: own, events: libc::POLLIN, revents: 0 }).is_ok() && own != -1;
        // Without a pipe nobody can end the wait.
        let milliseconds = if wakes { clock::to_milliseconds(patience) } else { LOOK_AGAIN };
        // SAFETY: the vector holds that many entries.
        unsafe { libc::poll(entries.as_mut_ptr(), entries.len().try_into().unwrap_or(1), milliseconds) };
        entries.retain(|entry| entry.fd != own);
        self.drain();
        let mut places = found.iter_mut();
        entries.retain(|entry| {
            if entry.revents == 0 {
                return true;
            }
            let Some(place) = places.next() else { return true };
            // Errors and hang-ups concern both directions.
            let both = entry.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
            *place = Event {
                fd: entry.fd,
                readable: both || entry.revents & libc::POLLIN != 0,
                writable: both || entry.revents & libc::POLLOUT != 0,
            };
            false
        });
        *self.armed.lock() = entries;
        EVENTS - places.len()
    }

    /// Ends the wait that is under way, or the next one. Safe in a signal handler.
    pub fn wake(&self) {
        // SAFETY: one byte. A full pipe wakes just as well.
        put_off(|| unsafe { libc::write(self.write_end.load(Ordering::Relaxed), c"".as_ptr().cast(), 1) });
    }

    fn drain(&self) {
        let mut bytes = [0u8; 64];
        let own = self.read_end.load(Ordering::Relaxed);
        // SAFETY: the buffer has room; the pipe does not block.
        while unsafe { libc::read(own, bytes.as_mut_ptr().cast(), bytes.len()) } > 0 {}
    }

    /// A descriptor that can be written to at any time: not needed here.
    pub fn always_ready(&self) -> c_int {
        -1
    }

    /// Whether a descriptor is one of the poller's own.
    pub fn owns(&self, fd: c_int) -> bool {
        fd != -1 && (fd == self.read_end.load(Ordering::Relaxed) || fd == self.write_end.load(Ordering::Relaxed))
    }

    /// The poller's own descriptors from `first` on, the lowest.
    #[cfg(target_os = "linux")]
    pub fn lowest_own(&self, first: c_int) -> Option<c_int> {
        let own = [self.read_end.load(Ordering::Relaxed), self.write_end.load(Ordering::Relaxed)];
        own.into_iter().filter(|fd| *fd >= first.max(0)).min()
    }

    /// Closes the descriptors: in a child, which must not disturb the parent's.
    pub fn close(&self) {
        for own in [&self.read_end, &self.write_end] {
            let fd = own.swap(-1, Ordering::Relaxed);
            if fd != -1 {
                let _ = descriptor::close(fd);
            }
        }
    }
}
