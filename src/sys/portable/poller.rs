//! Waits for streams with poll. A pair of sockets ends the wait. Not a pipe: the program may close the library's descriptors
//! at any time and open files of its own under their numbers, and send, unlike write, puts no byte into a file.

use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, pollfd};
use parking_lot::Mutex;

use super::page_vec::PageVec;
use crate::sys::cancellation::put_off;
use crate::sys::clock::{self, Nanos};
use crate::sys::descriptor;
use crate::sys::errno::{Result, check};
use crate::sys::inode::{self, Fields, Inode};
use crate::sys::poller_base::{LONGEST_WAIT, OwnPair};

pub use crate::sys::poller_base::{EVENTS, Event};

/// The longest wait if there were no descriptors for the sockets.
const LONGEST_WITHOUT_SOCKETS: Nanos = 10 * clock::MILLISECOND;

/// The streams that the process waits for. `arm` asks for one report of a descriptor.
pub struct Poller {
    /// The sockets: the end for reading, and the one for writing.
    ends: OwnPair,
    /// The inode numbers of the two ends: tell whether their descriptors are still the poller's.
    inodes: [AtomicU64; 2],
    /// Only the waiting thread takes this lock.
    armed: Mutex<PageVec<pollfd>>,
}

impl Poller {
    pub const fn new() -> Poller {
        Poller { ends: OwnPair::new(), inodes: [const { AtomicU64::new(0) }; 2], armed: Mutex::new(PageVec::new()) }
    }

    /// Creates the descriptors, unless they exist. To be called in a thread of the program: for a moment they have the lowest
    /// free numbers, which the next `open` of that thread expects to get. Errors: EMFILE, ENFILE.
    pub fn open(&self) -> Result<()> {
        self.ends.make(|| {
            let ends = pair()?.map(descriptor::out_of_the_way);
            remember(ends, &self.inodes);
            Ok(ends)
        })
    }

    /// To be called by the waiting thread before it reads the table. False: the descriptors were lost and have been made anew.
    pub fn begin_turn(&self) -> bool {
        !self.replace()
    }

    /// Whether the descriptors exist and are still the poller's.
    pub fn is_open(&self) -> bool {
        are_ours([self.ends.first(), self.ends.second()], &self.inodes)
    }

    /// Has `wait` report `fd` once, when it is ready. Error: ENOMEM.
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
        // One more for the sockets' end, which `wait` adds.
        armed.reserve(2)?;
        armed.push(pollfd { fd, events, revents: 0 })
    }

    /// Waits until a stream is ready, `wake` is called or the time is up (`Nanos::MAX`: never), but not longer than
    /// `LONGEST_WAIT`. Returns the number of events in `found`; what finds no room there is reported by the next call.
    pub fn wait(&self, patience: Nanos, found: &mut [Event; EVENTS]) -> usize {
        let mut entries = std::mem::take(&mut *self.armed.lock());
        let own = self.ends.first();
        let wakes = entries.push(pollfd { fd: own, events: libc::POLLIN, revents: 0 }).is_ok() && own >= 0;
        // Without sockets nothing can end the wait.
        let longest = if wakes { LONGEST_WAIT } else { LONGEST_WITHOUT_SOCKETS };
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
            // Errors and hang-ups end reads and writes alike.
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
        if self.ends.is_made() && !self.is_open() {
            return false;
        }
        let own = self.ends.second();
        // SAFETY: sends one byte of a constant. (If the buffer is full, the waiter wakes anyway.)
        put_off(|| unsafe { libc::send(own, c"".as_ptr().cast(), 1, AT_ONCE) });
        true
    }

    /// Makes the descriptors anew if they were lost. False: they were not, or another thread has done it.
    pub fn replace(&self) -> bool {
        let mine = self.ends.forget_lost(|| !self.is_open());
        if mine {
            let _ = self.open();
        }
        mine
    }

    fn drain(&self) {
        let mut bytes = [0u8; 64];
        let own = self.ends.first();
        // SAFETY: the buffer has room.
        while unsafe { libc::recv(own, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) } > 0 {}
    }

    /// Only the kernel's AIO, which is not there, needs such a descriptor.
    pub fn always_ready(&self) -> c_int {
        -1
    }

    /// Whether a descriptor is one of the poller's own.
    pub fn owns(&self, fd: c_int) -> bool {
        self.ends.has(fd) && self.is_open()
    }

    /// Moves the poller's descriptor `fd` to another number, because the program is about to use this one. If there is no free
    /// number, the descriptor is lost.
    pub fn make_way(&self, fd: c_int) {
        let Ok(moved) = descriptor::duplicate(fd) else { return };
        if !self.ends.exchange(fd, moved) {
            descriptor::close_quietly(moved);
        }
    }

    /// The lowest of the poller's own descriptors that is not below `first`.
    #[cfg(target_os = "linux")]
    pub fn lowest_own(&self, first: c_int) -> Option<c_int> {
        self.ends.lowest(first).filter(|_| self.is_open())
    }

    /// Closes the descriptors. To be called in a child of fork: the sockets are the parent's.
    pub fn close(&self) {
        self.ends.close(self.is_open());
    }
}

/// Flags of send: neither wait nor raise SIGPIPE. (QNX has no flag for the latter.)
#[cfg(not(target_os = "nto"))]
pub(super) const AT_ONCE: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
#[cfg(target_os = "nto")]
pub(super) const AT_ONCE: c_int = libc::MSG_DONTWAIT;

/// Stores the inode numbers of two sockets.
pub(super) fn remember(ends: [c_int; 2], inodes: &[AtomicU64; 2]) {
    for (own, end) in inodes.iter().zip(ends) {
        own.store(inode::inode(end, Fields::Identity).map_or(0, |found| found.number), Ordering::Relaxed);
    }
}

/// Whether two descriptors are still the sockets with these inode numbers.
pub(super) fn are_ours(ends: [c_int; 2], inodes: &[AtomicU64; 2]) -> bool {
    inodes.iter().zip(ends).all(|(own, end)| {
        let found = if end < 0 { None } else { inode::inode(end, Fields::Identity).ok() };
        let is_socket = |found: &Inode| found.mode & libc::S_IFMT == libc::S_IFSOCK;
        found.is_some_and(|found| is_socket(&found) && found.number == own.load(Ordering::Relaxed))
    })
}

/// Two connected sockets, closed on exec.
pub(super) fn pair() -> Result<[c_int; 2]> {
    // QNX has no SOCK_CLOEXEC: a program that another thread executes before the fcntl inherits the ends.
    #[cfg(target_os = "nto")]
    const KIND: c_int = libc::SOCK_STREAM;
    #[cfg(not(target_os = "nto"))]
    const KIND: c_int = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, KIND, 0, ends.as_mut_ptr()) })?;
    #[cfg(target_os = "nto")]
    for end in ends {
        // SAFETY: passes numbers only.
        unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(ends)
}
