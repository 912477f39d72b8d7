//! Sleeping until a status word changes, with poll and a pair of sockets per waiting thread (not a pipe, see `poller`).
//!
//! POSIX has no wait that is tied to an address, ends with EINTR and is a cancellation point; poll does the last two. A
//! thread that waits takes one of the `SLOTS`, and every completion sends a byte to the sockets of all threads that wait at
//! that time. Without a slot or sockets (too many threads, no descriptors) the thread tests its words every millisecond.
//!
//! Slots, not pthread keys: pthread_setspecific may allocate, and a signal handler that waits may have interrupted malloc. A
//! slot's sockets stay open for its next owner.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use libc::c_int;

use crate::sys::cancellation::{put_off, with_cleanup};
use crate::sys::clock::{self, Nanos};
use crate::sys::errno::{Result, check, thread_identity};
use crate::sys::{descriptor, poller};

struct Slot {
    /// How many waits are under way here; 0: the slot is free. More than one: a signal handler waits inside a wait. A handler
    /// that jumps out of a wait leaves the slot with its thread.
    waiting: AtomicU32,
    /// The thread whose further waits, in signal handlers, use this slot too; or 0.
    owner: AtomicUsize,
    sockets: [AtomicI32; 2],
    inodes: [AtomicU64; 2],
}

const MOST_SLOTS: usize = 256;
const LONGEST_WAIT: Nanos = 500 * clock::MILLISECOND;

static SLOTS: [Slot; MOST_SLOTS] = [const {
    let (sockets, inodes) = ([const { AtomicI32::new(-1) }; 2], [const { AtomicU64::new(0) }; 2]);
    Slot { waiting: AtomicU32::new(0), owner: AtomicUsize::new(0), sockets, inodes }
}; MOST_SLOTS];
/// No slot from this index on was ever taken.
static UNUSED_FROM: AtomicUsize = AtomicUsize::new(0);
static WAITING: AtomicU32 = AtomicU32::new(0);

/// How a thread sleeps. Here all do it in the same way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WaitMode {
    Plain,
    Spins,
    StandsBy,
}

/// No thread ever stands by here.
pub fn may_stand_by() -> bool {
    false
}

pub fn has_standby() -> bool {
    false
}

pub fn wake_standby() {}

/// How many threads sleep.
pub fn sleepers() -> u32 {
    WAITING.load(Ordering::SeqCst)
}

/// Sleeps until `over`; may return early. Only Linux uses the words, `mode` and `before`. A cancellation point.
///
/// Errors: EINTR (a signal handler ran), ETIMEDOUT (the deadline has passed).
pub fn sleep(
    _words: impl Iterator<Item = *const u32>,
    _seen: u32,
    over: impl Fn() -> bool,
    deadline: Option<Nanos>,
    _mode: WaitMode,
    _before: impl FnOnce(bool) -> bool,
) -> Result<()> {
    let now = clock::now();
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Err(crate::sys::errno::Errno(libc::ETIMEDOUT));
    }
    let left = deadline.map(|deadline| deadline - now);
    let stay = Stay::new();
    // The cleanup handler is registered before anything is taken and stays until all is given back: a signal handler that
    // interrupts this may wait itself, and be cancelled there.
    with_cleanup(end_cancelled, ptr::from_ref(&stay).cast_mut().cast(), || {
        put_off(|| stay.begin());
        let result = match stay.slot.get() {
            None => poll(-1, left.unwrap_or(clock::MILLISECOND).min(clock::MILLISECOND)),
            // Tested again, now that completions see this thread.
            Some(_) if over() => Ok(()),
            // Not for ever: the program may close the sockets meanwhile, and then nobody can wake this thread.
            Some(slot) => poll(slot.socket(0), left.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)),
        };
        stay.end();
        result
    })
}

/// Wakes everybody who waits.
pub fn wake(_word: *const u32) {
    // SeqCst: between the store of the status and the load of `WAITING`; pairs with the fence in `Stay::begin`.
    fence(Ordering::SeqCst);
    if WAITING.load(Ordering::Relaxed) == 0 {
        return;
    }
    for slot in used().filter(|slot| slot.waiting.load(Ordering::Relaxed) != 0) {
        slot.wake();
    }
}

/// A child process has one thread: the waiters of the parent do not exist here, and their sockets are the parent's.
pub fn reset_in_child() {
    for slot in used() {
        slot.forget();
    }
    WAITING.store(0, Ordering::Relaxed);
}

fn used() -> impl Iterator<Item = &'static Slot> {
    SLOTS.iter().take(UNUSED_FROM.load(Ordering::Relaxed))
}

fn poll(fd: c_int, patience: Nanos) -> Result<()> {
    let milliseconds = clock::to_milliseconds(patience);
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry; an fd of -1 is skipped.
    check(unsafe { libc::poll(&raw mut entry, 1, milliseconds) }).map(|_| ())
}

impl Slot {
    fn wake(&self) {
        // SAFETY: sends one byte of a constant. (If the buffer is full, the thread wakes anyway.)
        put_off(|| unsafe { libc::send(self.socket(1), c"".as_ptr().cast::<c_void>(), 1, poller::AT_ONCE) });
    }

    fn socket(&self, end: usize) -> c_int {
        self.sockets.get(end).map_or(-1, |fd| fd.load(Ordering::Relaxed))
    }

    fn drain(&self) {
        let mut bytes = [0u8; 64];
        let own = self.socket(0);
        // SAFETY: the buffer has room.
        let mut more = || unsafe { libc::recv(own, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) } > 0;
        while more() {}
    }

    fn open(&self) -> Result<()> {
        let ends = poller::pair()?.map(descriptor::out_of_the_way);
        poller::remember(ends, &self.inodes);
        self.sockets.iter().zip(ends).for_each(|(end, fd)| end.store(fd, Ordering::Relaxed));
        Ok(())
    }

    fn is_ours(&self) -> bool {
        poller::are_ours([self.socket(0), self.socket(1)], &self.inodes)
    }

    /// In a child: the slot was the parent's.
    fn forget(&self) {
        let ours = self.is_ours();
        for end in &self.sockets {
            let fd = end.swap(-1, Ordering::Relaxed);
            if ours && fd != -1 {
                let _ = descriptor::close(fd);
            }
        }
        self.owner.store(0, Ordering::Relaxed);
        self.waiting.store(0, Ordering::Relaxed);
    }
}

/// A wait, in the frame of `sleep`.
struct Stay {
    /// None: not taken yet, given back already, or there is no slot or no sockets.
    slot: Cell<Option<&'static Slot>>,
    /// This wait, in a signal handler, uses the slot of the wait that it interrupted.
    joins: Cell<bool>,
}

impl Stay {
    fn new() -> Stay {
        Stay { slot: Cell::new(None), joins: Cell::new(false) }
    }

    /// To be called with cancellation put off.
    fn begin(&self) {
        if !self.take() {
            return;
        }
        WAITING.fetch_add(1, Ordering::SeqCst);
        // The program may have closed the slot's sockets, by a system call that the library does not see.
        if !self.slot.get().is_some_and(|slot| slot.is_ours() || slot.open().is_ok()) {
            self.end();
        }
        // SeqCst: pairs with the fence in `wake`.
        fence(Ordering::SeqCst);
    }

    fn take(&self) -> bool {
        let me = thread_identity();
        if let Some(slot) = used().find(|slot| slot.owner.load(Ordering::Relaxed) == me) {
            slot.waiting.fetch_add(1, Ordering::SeqCst);
            self.joins.set(true);
            self.slot.set(Some(slot));
            return true;
        }
        // Acquire: pairs with `one_less`.
        let free = |slot: &&Slot| slot.waiting.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let Some((place, slot)) = SLOTS.iter().enumerate().find(|(_, slot)| free(slot)) else { return false };
        self.slot.set(Some(slot));
        UNUSED_FROM.fetch_max(place + 1, Ordering::SeqCst);
        slot.owner.store(me, Ordering::Relaxed);
        true
    }

    fn end(&self) {
        put_off(|| {
            let Some(slot) = self.slot.take() else { return };
            // Their numbers may be the program's by now.
            if slot.is_ours() {
                slot.drain();
            }
            one_less(&WAITING);
            if self.joins.get() {
                one_less(&slot.waiting);
                // `drain` may have taken the byte that was sent to the wait that this one interrupted.
                slot.wake();
                return;
            }
            // A signal handler that waits from here on takes another slot.
            slot.owner.store(0, Ordering::Relaxed);
            // Release: the next owner sees the sockets.
            one_less(&slot.waiting);
        });
    }
}

/// Never below zero: a signal handler may have forked inside a wait, and the child counts from zero.
fn one_less(count: &AtomicU32) {
    // SeqCst: of `WAITING` as in `Stay::begin`; of a slot Release would do, pairs with `Stay::take`.
    let _ = count.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |count| count.checked_sub(1));
}

/// Runs in a thread that is cancelled in its wait, or whose signal handler jumps out of it. (A system without cleanup
/// handlers loses the slot.)
extern "C" fn end_cancelled(stay: *mut c_void) {
    // SAFETY: `sleep` passes the `Stay` of its frame, which is still there.
    if let Some(stay) = unsafe { stay.cast::<Stay>().as_ref() } {
        stay.end();
    }
}
