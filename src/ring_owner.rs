//! Who owns the completion ring of the kernel's AIO: at most one thread reaps at a time. Lock-free.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::sys::errno::thread_identity;
use crate::worker_slot::WorkerSlot;

/// The ownership, and what the reaper's thread and callers tell each other about it. All zeroes: nobody owns the ring.
pub struct RingOwner {
    /// Odd while somebody owns the ring. Each change of owner adds to it.
    generation: AtomicU64,
    /// The identity of the owner's thread, if a caller owns it; or 0.
    thread: AtomicUsize,
    /// Requests that the kernel has. Changed under the table's lock only.
    in_kernel: AtomicU32,
    /// The reaper's slot while it sleeps and leaves the results to callers.
    resting: AtomicPtr<WorkerSlot>,
    /// The reaper wants to own the ring as soon as it is free.
    wanted: AtomicBool,
    /// How often a caller has become the owner.
    taken_by_callers: AtomicU32,
}

/// Proof of ownership, until it is given up or somebody takes over: the generation of that time.
#[derive(Clone, Copy)]
pub struct Token(pub u64);

impl RingOwner {
    /// Makes the calling thread the owner, if nobody is or this very thread (a signal handler may have interrupted it there).
    pub fn take_by_caller(&self) -> Option<Token> {
        let me = thread_identity();
        let now = self.generation.load(Ordering::Relaxed);
        if now % 2 == 1 && self.thread.load(Ordering::Relaxed) != me {
            return None;
        }
        let token = self.take_from(now)?;
        self.thread.store(me, Ordering::Relaxed);
        self.taken_by_callers.fetch_add(1, Ordering::Relaxed);
        Some(token)
    }

    /// How often a caller has become the owner so far.
    pub fn times_taken_by_callers(&self) -> u32 {
        self.taken_by_callers.load(Ordering::Relaxed)
    }

    /// Makes the reaper the owner. None: a caller is, and will call the reaper when it gives up the ring.
    pub fn take_by_reaper(&self) -> Option<Token> {
        let taken = self.take().or_else(|| {
            // SeqCst: pairs with `leave`. Either the ring is seen to be free now, or its owner sees that it is wanted.
            self.wanted.store(true, Ordering::SeqCst);
            self.take()
        })?;
        self.wanted.store(false, Ordering::Relaxed);
        Some(taken)
    }

    fn take(&self) -> Option<Token> {
        let now = self.generation.load(Ordering::SeqCst);
        if now % 2 == 1 { None } else { self.take_from(now) }
    }

    /// Takes the ring from whoever owns it.
    pub fn take_over(&self) -> Option<Token> {
        self.take_from(self.generation.load(Ordering::Relaxed))
    }

    fn take_from(&self, now: u64) -> Option<Token> {
        let next = (now + 1) | 1;
        let taken = self.generation.compare_exchange(now, next, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        taken.then(|| {
            self.thread.store(0, Ordering::Relaxed);
            Token(next)
        })
    }

    /// Gives up the ring, unless somebody has taken over. True: the reaper was called, and will see to the ring.
    pub fn leave(&self, token: Token) -> bool {
        if self.is_held(token) {
            // Before it is free: the next owner is another thread, until it says which.
            self.thread.store(0, Ordering::Relaxed);
        }
        let _ = self.generation.compare_exchange(token.0, token.0 + 1, Ordering::SeqCst, Ordering::Relaxed);
        let wanted = self.wanted.load(Ordering::SeqCst) && self.wanted.swap(false, Ordering::SeqCst);
        wanted && self.call_reaper()
    }

    /// Whether somebody owns the ring.
    pub fn is_taken(&self) -> bool {
        self.generation.load(Ordering::SeqCst) % 2 == 1
    }

    /// Whether the one with this token owns it still.
    pub fn is_held(&self, token: Token) -> bool {
        self.generation.load(Ordering::Relaxed) == token.0
    }

    pub fn in_kernel(&self) -> u32 {
        self.in_kernel.load(Ordering::SeqCst)
    }

    /// Under the table's lock.
    pub fn enters_kernel(&self) {
        // SeqCst: pairs with the load in `caller_reap::before_sleep`, see there.
        self.in_kernel.fetch_add(1, Ordering::SeqCst);
    }

    /// Under the table's lock.
    pub fn leaves_kernel(&self) {
        self.in_kernel.fetch_sub(1, Ordering::SeqCst);
    }

    /// The reaper sleeps in this slot from now on, and can be called there (None: it is awake).
    pub fn rest(&self, reaper: Option<&'static WorkerSlot>) {
        self.resting.store(reaper.map_or(ptr::null_mut(), |slot| ptr::from_ref(slot).cast_mut()), Ordering::SeqCst);
    }

    /// Whether the reaper will be called when the owner gives up the ring.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Wakes the reaper. False: it does not sleep.
    pub fn call_reaper(&self) -> bool {
        // SAFETY: slots are never freed.
        let resting = unsafe { self.resting.swap(ptr::null_mut(), Ordering::SeqCst).as_ref() };
        resting.inspect(|slot| slot.call()).is_some()
    }
}
