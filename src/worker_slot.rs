//! Where a worker waits for its next job, and what others know of it.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use crate::batch::Batch;
use crate::mailbox::{Mailbox, Woken};
use crate::stack::Linked;
use crate::sys::errno::{Errno, Result};
use crate::sys::{memory, thread};
use crate::task::Task;

/// What a worker can be given to do.
#[derive(Clone, Copy)]
pub enum Job {
    Request(Task),
    /// The transfers in the worker's slot.
    Batch,
    /// A transfer of a stream that may block for ever. It counts towards no maximum.
    Block(Task),
    /// The poller's role: wait for streams. The number tells this poller from those before and after it.
    Poll(u32),
    /// The reaper's role: see that somebody takes the results of the kernel's AIO.
    Reap,
    /// Deliver pending notifications.
    Deliver,
    /// The watchdog's role: see that work left to the running workers does not wait for one that is blocked.
    Watchdog,
}

/// A job, and what its worker has to do before it.
#[derive(Clone, Copy)]
pub struct Assignment {
    pub job: Job,
    /// A spare worker is wanted, and there is no starter to make it: this worker makes the starter.
    pub make_starter: bool,
    /// There may be more ready work than was given to workers: this worker wakes further ones.
    pub chain: bool,
}

/// A worker's place in the pool. Slots are never freed: whoever gives a job may still use the mailbox when the worker has ended.
/// The next worker takes the slot.
pub struct WorkerSlot {
    pub mailbox: Mailbox<Assignment>,
    /// The next idle worker, or the next free slot. Under the table's lock.
    pub next: AtomicPtr<WorkerSlot>,
    /// Among the idle. Under the table's lock.
    pub idle: AtomicBool,
    /// The worker's thread. Under the table's lock.
    pub thread: AtomicI32,
    pub sleeps: Sleeps,
    /// It need not be awake when the next request comes. Only the worker's own.
    pub may_sleep: AtomicBool,
    pub batch: Batch,
}

/// How often a worker's thread had slept when it was last looked at. Only the worker's own.
pub struct Sleeps(AtomicU64);

impl Sleeps {
    const UNKNOWN: u64 = u64::MAX;

    /// The worker sleeps for want of work: that does not count.
    pub fn forget(&self) {
        self.0.store(Sleeps::UNKNOWN, Ordering::Relaxed);
    }

    /// Whether the thread has certainly not slept since the last look.
    pub fn none_since(&self) -> bool {
        let now = thread::times_slept().unwrap_or(Sleeps::UNKNOWN);
        self.0.swap(now, Ordering::Relaxed) == now && now != Sleeps::UNKNOWN
    }
}

impl Linked for WorkerSlot {
    fn next(&self) -> &AtomicPtr<WorkerSlot> {
        &self.next
    }
}

impl WorkerSlot {
    /// Error: EAGAIN, no memory.
    pub fn make() -> Result<&'static WorkerSlot> {
        // Not a Box: without memory that would end the process.
        let place = memory::map(size_of::<WorkerSlot>()).map_err(|_| Errno::AGAIN)?.cast::<WorkerSlot>();
        let (next, idle) = (AtomicPtr::new(ptr::null_mut()), AtomicBool::new(false));
        let slot = WorkerSlot {
            mailbox: Mailbox::new(),
            next,
            idle,
            thread: AtomicI32::new(0),
            sleeps: Sleeps(AtomicU64::new(Sleeps::UNKNOWN)),
            may_sleep: AtomicBool::new(false),
            batch: Batch::new(),
        };
        // SAFETY: the mapping is large enough, begins at a page and is never unmapped.
        unsafe {
            place.write(slot);
            Ok(place.as_ref())
        }
    }

    /// Its worker's thread.
    pub fn thread(&self) -> i32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Has the worker look into the submission queue, or end its rest.
    pub fn call(&self) {
        self.mailbox.call();
    }

    /// For a worker with a role: waits until it is called. False: the time is up.
    pub fn rest(&self, patience: Duration) -> bool {
        matches!(self.mailbox.wait(patience, true), Woken::Called)
    }
}
