//! Waiting for streams: poll, with a pair of sockets to wake the waiter. Not a pipe: the program may close all descriptors
//! there are at any time and open others, and what is sent to a socket goes into no file that has its number now.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use libc::{c_int, pollfd};
use parking_lot::Mutex;

use super::page_vec::PageVec;
use crate::errno::{Result, check};
use crate::sys::cancellation::put_off;
use crate::sys::clock::{self, Nanos};
use crate::sys::inode::{self, Fields, Inode};
use crate::sys::signals::Blocked;
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

/// Between looks when there was no descriptor for the sockets.
const LOOK_AGAIN: Nanos = 10 * clock::MILLISECOND;

/// Nobody can end the wait when the sockets are lost. So often it is looked whether they are.
const LONGEST_WAIT: Nanos = 500 * clock::MILLISECOND;

/// Instead of the end for reading.
const NONE: c_int = -1;
const BEING_OPENED: c_int = -2;

/// One process-wide set of descriptors that are waited for. Each arming reports once.
pub struct Poller {
    read_end: AtomicI32,
    write_end: AtomicI32,
    /// To know them by.
    inodes: [AtomicU64; 2],
    /// Only the thread in the poller's role takes this lock.
    armed: Mutex<PageVec<pollfd>>,
}

impl Poller {
    pub const fn new() -> Poller {
        let [read_end, write_end] = [AtomicI32::new(NONE), AtomicI32::new(NONE)];
        Poller { read_end, write_end, inodes: [const { AtomicU64::new(0) }; 2], armed: Mutex::new(PageVec::new()) }
    }

    /// Creates the descriptors, if they are not there yet. They have the lowest free numbers for a moment: so callers do it,
    /// whose own `open` cannot come in between. Errors: EMFILE, ENFILE.
    pub fn open(&self) -> Result<()> {
        // Acquire: with the end for reading there is the other one.
        if self.read_end.load(Ordering::Acquire) >= 0 {
            return Ok(());
        }
        // A handler must not find them half made by its own thread.
        let _blocked = Blocked::all();
        let mut pause = thread::Pause::new();
        loop {
            match self.read_end.compare_exchange(NONE, BEING_OPENED, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => break,
                Err(BEING_OPENED) => pause.once(),
                Err(_) => return Ok(()),
            }
        }
        let opened = self.create();
        self.read_end.store(*opened.as_ref().unwrap_or(&NONE), Ordering::Release);
        opened.map(|_| ())
    }

    /// The end for reading; the other one is in its place.
    fn create(&self) -> Result<c_int> {
        let ends = pair()?.map(descriptor::out_of_the_way);
        remember(ends, &self.inodes);
        let [read_end, write_end] = ends;
        self.write_end.store(write_end, Ordering::Relaxed);
        Ok(read_end)
    }

    /// Before the thread in the poller's role looks at the table. False: the descriptors were lost, and made anew.
    pub fn begin_turn(&self) -> bool {
        !self.replace()
    }

    /// Whether the descriptors are there, and ours still: a program may close all there are, and open others.
    pub fn is_open(&self) -> bool {
        let ends = [self.read_end.load(Ordering::Acquire), self.write_end.load(Ordering::Relaxed)];
        are_ours(ends, &self.inodes)
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

    /// Waits until a descriptor is ready, `wake` was called or the time is up (`Nanos::MAX`: never). Returns how many it
    /// reports; the others are reported next time.
    pub fn wait(&self, patience: Nanos, found: &mut [Event; EVENTS]) -> usize {
        let mut entries = std::mem::take(&mut *self.armed.lock());
        let own = self.read_end.load(Ordering::Relaxed);
        let wakes = entries.push(pollfd { fd: own, events: libc::POLLIN, revents: 0 }).is_ok() && own >= 0;
        // Without sockets nobody can end the wait.
        let longest = if wakes { LONGEST_WAIT } else { LOOK_AGAIN };
        let milliseconds = clock::to_milliseconds(patience.min(longest));
        // SAFETY: the vector holds that many entries.
        unsafe { libc::poll(entries.as_mut_ptr(), entries.len().try_into().unwrap_or(1), milliseconds) };
        entries.retain(|entry| entry.fd != own);
        if self.is_open() {
            self.drain();
        }
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

    /// Ends the wait that is under way, or the next one. Safe in a signal handler. False: the descriptors were lost.
    pub fn wake(&self) -> bool {
        let opened = self.read_end.load(Ordering::Acquire) >= 0;
        if opened && !self.is_open() {
            return false;
        }
        let own = self.write_end.load(Ordering::Relaxed);
        // SAFETY: one byte. Full buffers wake just as well.
        put_off(|| unsafe { libc::send(own, c"".as_ptr().cast(), 1, AT_ONCE) });
        true
    }

    /// For whoever found that the descriptors were lost: makes them anew. False: somebody else has done so.
    pub fn replace(&self) -> bool {
        let lost = self.read_end.load(Ordering::Acquire);
        let mine = lost >= 0
            && !self.is_open()
            && self.read_end.compare_exchange(lost, NONE, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if mine {
            let _ = self.open();
        }
        mine
    }

    fn drain(&self) {
        let mut bytes = [0u8; 64];
        let own = self.read_end.load(Ordering::Relaxed);
        // SAFETY: the buffer has room.
        while unsafe { libc::recv(own, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) } > 0 {}
    }

    /// A descriptor that can be written to at any time: not needed here.
    pub fn always_ready(&self) -> c_int {
        -1
    }

    /// Whether a descriptor is one of the poller's own.
    pub fn owns(&self, fd: c_int) -> bool {
        let has_number = fd == self.read_end.load(Ordering::Relaxed) || fd == self.write_end.load(Ordering::Relaxed);
        fd >= 0 && has_number && self.is_open()
    }

    /// Leaves a number to the program. If there is no other, the descriptor is lost.
    pub fn make_way(&self, fd: c_int) {
        let Ok(moved) = descriptor::duplicate(fd) else { return };
        let exchange = |own: &AtomicI32| own.compare_exchange(fd, moved, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if ![&self.read_end, &self.write_end].into_iter().any(exchange) {
            descriptor::close_quietly(moved);
        }
    }

    /// The poller's own descriptors from `first` on, the lowest.
    #[cfg(target_os = "linux")]
    pub fn lowest_own(&self, first: c_int) -> Option<c_int> {
        let own = [self.read_end.load(Ordering::Relaxed), self.write_end.load(Ordering::Relaxed)];
        own.into_iter().filter(|fd| *fd >= first.max(0)).min().filter(|_| self.is_open())
    }

    /// Closes the descriptors: in a child, which must not disturb the parent's.
    pub fn close(&self) {
        let ours = self.is_open();
        for own in [&self.read_end, &self.write_end] {
            let fd = own.swap(NONE, Ordering::Relaxed);
            if ours && fd >= 0 {
                descriptor::close_quietly(fd);
            }
        }
    }
}

/// Neither wait nor raise SIGPIPE. (QNX has no flag for the latter.)
#[cfg(not(target_os = "nto"))]
pub(super) const AT_ONCE: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
#[cfg(target_os = "nto")]
pub(super) const AT_ONCE: c_int = libc::MSG_DONTWAIT;

/// Notes what two sockets are known by.
pub(super) fn remember(ends: [c_int; 2], inodes: &[AtomicU64; 2]) {
    for (own, end) in inodes.iter().zip(ends) {
        own.store(inode::inode(end, Fields::Identity).map_or(0, |found| found.number), Ordering::Relaxed);
    }
}

/// Whether two numbers still stand for those sockets.
pub(super) fn are_ours(ends: [c_int; 2], inodes: &[AtomicU64; 2]) -> bool {
    inodes.iter().zip(ends).all(|(own, end)| {
        let found = if end < 0 { None } else { inode::inode(end, Fields::Identity).ok() };
        let is_socket = |found: &Inode| found.mode & libc::S_IFMT == libc::S_IFSOCK;
        found.is_some_and(|found| is_socket(&found) && found.number == own.load(Ordering::Relaxed))
    })
}

/// Two connected sockets, closed on exec.
pub(super) fn pair() -> Result<[c_int; 2]> {
    // QNX has no flag for it: what another thread executes in between keeps the ends open.
    #[cfg(target_os = "nto")]
    const KIND: c_int = libc::SOCK_STREAM;
    #[cfg(not(target_os = "nto"))]
    const KIND: c_int = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, KIND, 0, ends.as_mut_ptr()) })?;
    #[cfg(target_os = "nto")]
    for end in ends {
        // SAFETY: F_SETFD takes an int.
        unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(ends)
}
