//! Sleeping until a status word changes, with poll and a pair of sockets per waiting thread (not a pipe, see `poller`).
//!
//! POSIX has no wait that is tied to an address, ends with EINTR and is a cancellation point; poll has the last two. A
//! thread that waits takes one of the `SLOTS`, keeps it for its life, and every completion sends a byte to the pairs of
//! all threads that wait right now. Without a slot or a pair (too many threads, no descriptors) it looks every millisecond.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering, fence};

use libc::c_int;
use once_cell::race::OnceNonZeroUsize;

use crate::errno::{Result, check};
use crate::sys::cancellation::put_off;
use crate::sys::clock::{self, Nanos};
use crate::sys::{descriptor, poller};

struct Slot {
    taken: AtomicBool,
    /// How many waits are under way: a signal handler may wait inside a wait.
    waiting: AtomicU32,
    pipe: [AtomicI32; 2],
    inodes: [AtomicU64; 2],
}

const MOST_SLOTS: usize = 256;
const MILLISECOND: u64 = 1_000_000;
const LONGEST_WAIT: u64 = 500 * MILLISECOND;

static SLOTS: [Slot; MOST_SLOTS] = [const {
    let (pipe, inodes) = ([const { AtomicI32::new(-1) }; 2], [const { AtomicU64::new(0) }; 2]);
    Slot { taken: AtomicBool::new(false), waiting: AtomicU32::new(0), pipe, inodes }
}; MOST_SLOTS];
static WAITING: AtomicU32 = AtomicU32::new(0);

/// How a thread sleeps. Here there is one way only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Plain,
    Looks,
    Follows,
}

/// Nobody does.
pub fn may_follow() -> bool {
    false
}

pub fn has_followers() -> bool {
    false
}

pub fn wake_follower() {}

/// How many threads sleep.
pub fn sleepers() -> u32 {
    WAITING.load(Ordering::SeqCst)
}

/// Sleeps until `over`; may return early. The words, `manner` and `before` are for Linux. A cancellation point.
///
/// Errors: EINTR (a signal handler ran), ETIMEDOUT (the deadline has passed).
pub fn sleep(
    _words: impl Iterator<Item = *const u32>,
    _seen: u32,
    over: impl Fn() -> bool,
    deadline: Option<Nanos>,
    _manner: Manner,
    _before: impl FnOnce(bool) -> bool,
) -> Result<()> {
    let now = clock::now();
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Err(crate::errno::Errno(libc::ETIMEDOUT));
    }
    let left = deadline.map(|deadline| deadline - now);
    let Some(slot) = slot_of_thread() else {
        return poll(-1, left.map_or(MILLISECOND, |left| left.min(MILLISECOND)).into());
    };
    slot.begin();
    // SeqCst: pairs with the fence in `wake`. Once more, now that completions see this thread.
    fence(Ordering::SeqCst);
    if over() {
        slot.end();
        return Ok(());
    }
    // Should the sockets be lost while it sleeps, nobody can wake it.
    let result = poll(slot.pipe_end(0), left.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT).into());
    slot.drain();
    slot.end();
    result
}

/// Wakes everybody who waits.
pub fn wake(_word: *const u32) {
    // SeqCst: between the store of the status and the reading of the flags; pairs with `begin`.
    fence(Ordering::SeqCst);
    if WAITING.load(Ordering::Relaxed) == 0 {
        return;
    }
    for slot in SLOTS.iter().filter(|slot| slot.waiting.load(Ordering::Relaxed) != 0) {
        slot.wake();
    }
}

/// A child process has one thread: whoever waited in the parent does not wait here, and pipes are not shared.
pub fn reset_in_child() {
    for slot in &SLOTS {
        if slot.taken.load(Ordering::Relaxed) {
            slot.release();
        }
    }
    WAITING.store(0, Ordering::Relaxed);
    if let Some(key) = key() {
        // SAFETY: the key exists. This is the child's only thread; it claims a slot anew.
        unsafe { libc::pthread_setspecific(key, std::ptr::null()) };
    }
}

fn poll(fd: c_int, left: Option<u64>) -> Result<()> {
    // Rounded up: never report a time-out too early.
    let milliseconds = left.map_or(-1, |left| c_int::try_from(left.div_ceil(MILLISECOND)).unwrap_or(c_int::MAX));
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry; an fd of -1 is skipped.
    check(unsafe { libc::poll(&raw mut entry, 1, milliseconds) }).map(|_| ())
}

impl Slot {
    fn begin(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        WAITING.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self) {
        WAITING.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.fetch_sub(1, Ordering::SeqCst) > 1 {
            // The wait that this one, in a signal handler, interrupted may have lost its wake-up to it.
            self.wake();
        }
    }

    fn wake(&self) {
        // SAFETY: one byte. A full buffer wakes just as well.
        put_off(|| unsafe { libc::send(self.pipe_end(1), c"".as_ptr().cast::<c_void>(), 1, poller::AT_ONCE) });
    }

    fn pipe_end(&self, end: usize) -> c_int {
        self.pipe.get(end).map_or(-1, |fd| fd.load(Ordering::Relaxed))
    }

    fn drain(&self) {
        let mut bytes = [0u8; 64];
        let own = self.pipe_end(0);
        // SAFETY: the buffer has room.
        let mut more = || unsafe { libc::recv(own, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) } > 0;
        while more() {}
    }

    fn open(&self) -> Result<()> {
        let ends = poller::pair()?.map(descriptor::out_of_the_way);
        poller::remember(ends, &self.inodes);
        self.pipe.iter().zip(ends).for_each(|(end, fd)| end.store(fd, Ordering::Relaxed));
        Ok(())
    }

    fn is_ours(&self) -> bool {
        poller::are_ours([self.pipe_end(0), self.pipe_end(1)], &self.inodes)
    }

    fn release(&self) {
        WAITING.fetch_sub(self.waiting.swap(0, Ordering::SeqCst), Ordering::SeqCst);
        let ours = self.is_ours();
        for end in &self.pipe {
            let fd = end.swap(-1, Ordering::Relaxed);
            if ours && fd != -1 {
                let _ = descriptor::close(fd);
            }
        }
        // Release: pairs with the Acquire in `claim`.
        self.taken.store(false, Ordering::Release);
    }
}

/// This thread's slot, claimed at its first wait and released by the key's destructor when it ends.
fn slot_of_thread() -> Option<&'static Slot> {
    let key = key()?;
    // SAFETY: the key exists; its values are pointers to slots, which are static.
    let known = unsafe { libc::pthread_getspecific(key).cast::<Slot>().as_ref() };
    // The program may have closed its sockets, by a system call that nobody sees.
    if let Some(slot) = known.filter(|slot| slot.pipe_end(0) != -1)
        && (slot.is_ours() || slot.open().is_ok())
    {
        return Some(slot);
    }
    // What it calls may be cancellation points.
    put_off(|| {
        let slot = claim()?;
        // SAFETY: as above.
        let noted = unsafe { libc::pthread_setspecific(key, std::ptr::from_ref(slot).cast()) } == 0;
        if !noted {
            // Nobody would release it when the thread ends.
            slot.release();
        }
        noted.then_some(slot)
    })
}

fn claim() -> Option<&'static Slot> {
    // Acquire: pairs with the Release in `release`.
    let slot = SLOTS
        .iter()
        .find(|slot| slot.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok())?;
    if slot.open().is_err() {
        slot.release();
        return None;
    }
    Some(slot)
}

fn key() -> Option<libc::pthread_key_t> {
    static KEY: OnceNonZeroUsize = OnceNonZeroUsize::new();
    let create = || {
        let mut key = 0;
        // SAFETY: room for one key; the destructor stays mapped.
        let created = unsafe { libc::pthread_key_create(&raw mut key, Some(thread_ends)) } == 0;
        let number = if created { usize::try_from(key).ok().map(|key| key + 1) } else { None };
        number.and_then(std::num::NonZeroUsize::new).ok_or(())
    };
    let number = KEY.get_or_try_init(create).ok()?;
    libc::pthread_key_t::try_from(number.get() - 1).ok()
}

unsafe extern "C" fn thread_ends(slot: *mut c_void) {
    // SAFETY: the key's values are pointers to slots, which are static.
    if let Some(slot) = unsafe { slot.cast::<Slot>().as_ref() } {
        slot.release();
    }
}
