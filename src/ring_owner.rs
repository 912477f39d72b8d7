//! Who takes the results of the kernel's AIO.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::errno::thread_identity;
use crate::worker_slot::WorkerSlot;

/// The post of the one that takes results. Without the table's lock. All zeroes: nobody has it.
pub struct Post {
    /// Odd: somebody has it. Each change of hands counts.
    hands: AtomicU64,
    /// The thread that has it, if a caller's.
    thread: AtomicUsize,
    /// Requests that the kernel has. Changed under the table's lock only.
    in_kernel: AtomicU32,
    /// The reaper, while it leaves the results to callers.
    resting: AtomicPtr<WorkerSlot>,
    /// The reaper wants the post when it is free.
    wanted: AtomicBool,
    /// How often a caller has taken the post.
    attended: AtomicU32,
}

/// Whoever holds it has the post, until it leaves or is relieved.
#[derive(Clone, Copy)]
pub struct Ticket(pub u64);

impl Post {
    /// Takes the post if nobody has it, or a frame below in this very thread.
    pub fn take_by_caller(&self) -> Option<Ticket> {
        let me = thread_identity();
        let now = self.hands.load(Ordering::Relaxed);
        if now % 2 == 1 && self.thread.load(Ordering::Relaxed) != me {
            return None;
        }
        let ticket = self.take_from(now)?;
        self.thread.store(me, Ordering::Relaxed);
        self.attended.fetch_add(1, Ordering::Relaxed);
        Some(ticket)
    }

    /// How often a caller has taken the post so far.
    pub fn times_attended(&self) -> u32 {
        self.attended.load(Ordering::Relaxed)
    }

    /// Takes the post for the reaper. None: a caller has it, and will call the reaper when it leaves.
    pub fn take_by_reaper(&self) -> Option<Ticket> {
        let taken = self.take().or_else(|| {
            // SeqCst: pairs with `leave`. Either the post is seen to be free now, or the caller sees that it is wanted.
            self.wanted.store(true, Ordering::SeqCst);
            self.take()
        })?;
        self.wanted.store(false, Ordering::Relaxed);
        Some(taken)
    }

    fn take(&self) -> Option<Ticket> {
        let now = self.hands.load(Ordering::SeqCst);
        if now % 2 == 1 { None } else { self.take_from(now) }
    }

    /// Takes the post from whoever has it.
    pub fn relieve(&self) -> Option<Ticket> {
        self.take_from(self.hands.load(Ordering::Relaxed))
    }

    fn take_from(&self, now: u64) -> Option<Ticket> {
        let next = (now + 1) | 1;
        let taken = self.hands.compare_exchange(now, next, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        taken.then(|| {
            self.thread.store(0, Ordering::Relaxed);
            Ticket(next)
        })
    }

    /// Leaves the post, unless somebody else has it by now. True: the reaper was called, and will see to it.
    pub fn leave(&self, ticket: Ticket) -> bool {
        if self.is_held(ticket) {
            // Whoever takes it next is not taken for this thread before it says who it is.
            self.thread.store(0, Ordering::Relaxed);
        }
        let _ = self.hands.compare_exchange(ticket.0, ticket.0 + 1, Ordering::SeqCst, Ordering::Relaxed);
        let wanted = self.wanted.load(Ordering::SeqCst) && self.wanted.swap(false, Ordering::SeqCst);
        wanted && self.call_reaper()
    }

    /// Whether somebody has the post.
    pub fn is_taken(&self) -> bool {
        self.hands.load(Ordering::SeqCst) % 2 == 1
    }

    /// Whether the one with this ticket has it still.
    pub fn is_held(&self, ticket: Ticket) -> bool {
        self.hands.load(Ordering::Relaxed) == ticket.0
    }

    pub fn in_kernel(&self) -> u32 {
        self.in_kernel.load(Ordering::SeqCst)
    }

    /// Under the table's lock.
    pub fn enters_kernel(&self) {
        // SeqCst: pairs with the load in `rouse_reaper`, see there.
        self.in_kernel.fetch_add(1, Ordering::SeqCst);
    }

    /// Under the table's lock.
    pub fn leaves_kernel(&self) {
        self.in_kernel.fetch_sub(1, Ordering::SeqCst);
    }

    /// The reaper rests from now on (None: it does not), and can be called there.
    pub fn rest(&self, reaper: Option<&'static WorkerSlot>) {
        self.resting.store(reaper.map_or(ptr::null_mut(), |slot| ptr::from_ref(slot).cast_mut()), Ordering::SeqCst);
    }

    /// Whether the reaper knows that it is needed: it will be called when the post is left.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Calls the reaper. False: it does not rest.
    pub fn call_reaper(&self) -> bool {
        // SAFETY: slots are never freed.
        let resting = unsafe { self.resting.swap(ptr::null_mut(), Ordering::SeqCst).as_ref() };
        resting.inspect(|slot| slot.call()).is_some()
    }
}
