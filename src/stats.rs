//! Counting what the library does: under the table's lock, or by atomics, in the slot of this process.

use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use crate::figures::{Segment, Slot, aio_rs_stats};
use crate::order::Kind;
use crate::sys::clock::Nanos;
use crate::sys::errno::Errno;
use crate::sys::{environment, shared, thread};

/// For a process that shares its figures with nobody.
static OWN: Slot = Slot::new();
static CURRENT: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
/// What the command that started the program shares with it.
static SEGMENT: AtomicPtr<Segment> = AtomicPtr::new(ptr::null_mut());
/// The process that counts there.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// What this process shares with the command that started it, if anything.
pub fn segment() -> Option<&'static Segment> {
    // SAFETY: attached in `at_load` and never detached.
    unsafe { SEGMENT.load(Ordering::Acquire).as_ref() }
}

/// Before `main`, where nothing of the program can stand in the way (another root, another user, a sandbox). It allocates
/// nothing; without `stats=NUMBER` it does nothing.
pub fn at_load() {
    let Some(text) = environment::variable(c"AIO_RS") else { return };
    let mut items = text.to_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let number = items.rfind(|item| item.starts_with(b"stats="));
    if let Some(number) = number.and_then(|item| str::from_utf8(item.get(6..)?).ok()?.parse().ok()) {
        attach(number);
    }
}

fn attach(number: i32) {
    let Some(place) = shared::attach(number, size_of::<Segment>()) else { return };
    // SAFETY: it is large enough for a `Segment`, which any bits are; if it is none, nothing of it is used any more.
    unsafe {
        let segment = place.cast::<Segment>().as_ref();
        if !segment.is_one() {
            return shared::detach(place);
        }
        segment.loaded.fetch_add(1, Ordering::Relaxed);
    }
    SEGMENT.store(place.cast().as_ptr(), Ordering::Release);
}

/// Where this process has begun to count, if it has.
pub fn current() -> Option<&'static Slot> {
    // SAFETY: a slot is never unmapped.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

/// Where this process counts. It begins no earlier than fork is has_watchdog: a child begins anew.
pub fn slot() -> &'static Slot {
    current().unwrap_or_else(choose)
}

#[cold]
fn choose() -> &'static Slot {
    PROCESS.store(thread::process_id(), Ordering::Relaxed);
    let new = segment().and_then(|segment| segment.claim()).unwrap_or(&OWN);
    let first =
        CURRENT.compare_exchange(ptr::null_mut(), ptr::from_ref(new).cast_mut(), Ordering::AcqRel, Ordering::Acquire);
    // SAFETY: as above.
    first.map_or_else(|theirs| unsafe { &*theirs }, |_| new)
}

/// In a child of fork: its figures begin at zero. (A child of vfork has its parent's memory, and counts for it.)
pub fn forget_parent() {
    let process = thread::process_id();
    if PROCESS.swap(process, Ordering::Relaxed) != process {
        OWN.clear();
        CURRENT.store(ptr::null_mut(), Ordering::Release);
    }
}

/// What the table counts. It is reached by whoever holds the lock only.
pub struct Stats {
    pub counts: Counts,
}

pub struct Counts(&'static Slot);

impl Deref for Counts {
    type Target = aio_rs_stats;

    fn deref(&self) -> &aio_rs_stats {
        // SAFETY: a slot is never unmapped, and only one table counts there, under its lock.
        unsafe { &*self.0.table() }
    }
}

impl DerefMut for Counts {
    fn deref_mut(&mut self) -> &mut aio_rs_stats {
        // SAFETY: as above.
        unsafe { &mut *self.0.table() }
    }
}

impl Stats {
    pub fn new() -> Stats {
        Stats { counts: Counts(slot()) }
    }

    pub fn admitted(&mut self, kind: Kind, depth: usize) {
        match kind {
            Kind::Read => self.counts.reads += 1,
            Kind::Write | Kind::Append => self.counts.writes += 1,
            Kind::DataSync | Kind::Sync => self.counts.fsyncs += 1,
        }
        self.counts.depth_most = self.counts.depth_most.max(u64::try_from(depth).unwrap_or(u64::MAX));
    }

    pub fn barrier_ended(&mut self, time: Nanos) {
        self.counts.barrier_longest_us = self.counts.barrier_longest_us.max(time / 1_000);
    }

    pub fn ended(&mut self, error: Option<Errno>) {
        match error {
            None => {}
            Some(Errno::CANCELED) => self.counts.cancelled += 1,
            Some(_) => self.counts.failed += 1,
        }
    }

    pub fn threads(&mut self, now: u32) {
        self.counts.threads_most = self.counts.threads_most.max(u64::from(now));
    }
}
