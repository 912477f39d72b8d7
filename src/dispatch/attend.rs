//! Who takes the results of the kernel's AIO. A caller that waits for nothing else waits in the kernel and takes them itself:
//! no other thread has to run for it. Others that wait meanwhile follow: they sleep until it has taken their results, or, when
//! it leaves, one of them is woken to take its place. The reaper's thread (`reaper`) sees to all that nobody waits for, and
//! looks now and then whether those who wait do their part: they may be in a signal handler, or have left by one.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::dispatch::complete::Rest;
use crate::engine::{Caller, Engine};
use crate::errno::{Errno, Result, thread_identity};
use crate::sys::clock::{self, Nanos};
use crate::sys::signals::{self, Blocked};
use crate::sys::wait;
use crate::threads::reaper;
use crate::threads::worker::Seat;

/// The post of the one that takes results. Without the table's lock. All zeroes: nobody has it.
pub struct Post {
    /// Odd: somebody has it. Each change of hands counts.
    hands: AtomicU64,
    /// The thread that has it, if a caller's.
    thread: AtomicUsize,
    /// Requests that the kernel has. Changed under the table's lock only.
    in_kernel: AtomicU32,
    /// The reaper, while it leaves the results to callers.
    resting: AtomicPtr<Seat>,
    /// The reaper wants the post when it is free.
    wanted: AtomicBool,
    /// How often a caller has taken the post.
    attended: AtomicU32,
}

/// Whoever holds it has the post, until it leaves or is relieved.
#[derive(Clone, Copy)]
pub struct Ticket(u64);

/// How long a caller waits at a time: should its request end elsewhere because it was relieved, it sees that then.
const LEASE: Nanos = 10 * clock::MILLISECOND;

impl Post {
    /// Takes the post if nobody has it, or a frame below in this very thread.
    fn take_by_caller(&self) -> Option<Ticket> {
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
    fn is_taken(&self) -> bool {
        self.hands.load(Ordering::SeqCst) % 2 == 1
    }

    /// Whether the one with this ticket has it still.
    fn is_held(&self, ticket: Ticket) -> bool {
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
    pub fn rest(&self, reaper: Option<&'static Seat>) {
        self.resting.store(reaper.map_or(ptr::null_mut(), |seat| ptr::from_ref(seat).cast_mut()), Ordering::SeqCst);
    }

    /// Whether the reaper knows that it is needed: it will be called when the post is left.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Calls the reaper. False: it does not rest.
    pub fn call_reaper(&self) -> bool {
        // SAFETY: seats are never freed.
        let resting = unsafe { self.resting.swap(ptr::null_mut(), Ordering::SeqCst).as_ref() };
        resting.inspect(|seat| seat.call()).is_some()
    }
}

/// To be called by a thread that is counted among the sleepers, or the followers (`sys::wait`): it may wait for something that
/// the kernel has. False: it must not sleep, but try to attend.
///
/// SeqCst on both sides: either this thread sees what was handed to the kernel, or whoever hands it over sees the sleeper;
/// either a follower sees that the post is free, or whoever leaves it sees the follower.
pub fn before_sleep(follows: bool) -> bool {
    let Some(engine) = Engine::current().filter(|engine| engine.post.in_kernel() > 0) else { return true };
    if follows {
        return engine.post.is_taken();
    }
    if !engine.post.is_wanted() {
        engine.post.call_reaper();
    }
    true
}

/// Leaves the post to the reaper, if it wants it, or to a caller.
fn leave(engine: &Engine, ticket: Ticket) {
    if !engine.post.leave(ticket) {
        hand_on();
    }
}

/// Has a caller that sleeps, and waits for what the kernel has, attend if nobody does.
pub fn hand_on() {
    let vacant = |engine: &Engine| engine.post.in_kernel() > 0 && !engine.post.is_taken();
    if wait::has_followers() && Engine::current().is_some_and(vacant) {
        // A handler that jumps away in the middle would leave one asleep that nobody else wakes any more.
        let _blocked = Blocked::all();
        wait::wake_follower();
    }
}

/// How a caller has waited for what the kernel has.
pub enum Attended {
    /// In the kernel, as `wait` says.
    Waited(Result<()>),
    /// Not: somebody else does. It follows.
    ByAnother,
    /// Not: that is not for callers.
    No,
}

/// Waits in the kernel until it has results, and takes them; until `over`, or no longer all is `in_kernel`.
///
/// Errors: EINTR (a signal handler ran), ETIMEDOUT (the deadline has passed). A cancellation point.
pub fn wait(deadline: Option<Nanos>, in_kernel: impl Fn() -> bool, over: impl Fn() -> bool) -> Attended {
    let may_attend = |engine: &&Engine| engine.kernel.can_be_watched() && engine.post.in_kernel() > 0;
    let Some(engine) = Engine::current().filter(may_attend) else { return Attended::No };
    let Some(ticket) = engine.post.take_by_caller() else {
        return if wait::may_follow() { Attended::ByAnother } else { Attended::No };
    };
    // Whoever had the post before may have ended it. The reaper may want the post, or have taken it. A handler may have forked:
    // what the kernel has, and its results, are the parent's.
    let mine = || engine.is_current() && engine.post.is_held(ticket) && !engine.post.is_wanted();
    let goes_on = || mine() && !over() && in_kernel();
    let mut outcome = Ok(());
    while outcome.is_ok() && goes_on() {
        outcome = attend(engine, ticket, deadline);
    }
    leave(engine, ticket);
    match outcome {
        // A sandbox that came later: the reaper will find out, too.
        Err(error) if error != Errno::INTR && error.0 != libc::ETIMEDOUT => Attended::No,
        outcome => Attended::Waited(outcome),
    }
}

/// Waits for results once, for a while, and takes them.
fn attend(engine: &'static Engine, ticket: Ticket, deadline: Option<Nanos>) -> Result<()> {
    let now = clock::now();
    let patience = deadline.map_or(LEASE, |deadline| deadline.saturating_sub(now).min(LEASE));
    let argument = ptr::without_provenance_mut(usize::try_from(ticket.0).unwrap_or(0));
    let ready = engine.kernel.has_results();
    let waited = if ready { Ok(true) } else { engine.kernel.watch(patience, leave_when_cancelled, argument) };
    if waited == Ok(true) {
        take_results(engine);
    }
    match waited {
        Ok(_) if deadline.is_some_and(|deadline| clock::now() >= deadline) => Err(Errno(libc::ETIMEDOUT)),
        Ok(_) => Ok(()),
        // As with a sleep on a futex, which begins again.
        Err(Errno::INTR) if deadline.is_none() && signals::all_handlers_restart() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether all that is unfinished is in the kernel: then whoever waits waits for that.
pub fn is_all_in_kernel(unfinished: impl Fn() -> usize) -> bool {
    let in_kernel = || Engine::current().map_or(0, |engine| engine.post.in_kernel());
    // It may change while the other is looked at.
    let before = in_kernel();
    before > 0 && usize::try_from(before) == Ok(unfinished()) && in_kernel() == before
}

/// For a caller that asks for the status of a request in the kernel: takes results if there are any.
pub fn poll() {
    let is_ours = |engine: &&Engine| engine.kernel.has_results() && engine.kernel.is_ring_ours();
    let Some(engine) = Engine::current().filter(is_ours) else { return };
    if let Some(ticket) = engine.post.take_by_caller() {
        take_results(engine);
        leave(engine, ticket);
    }
}

fn take_results(engine: &'static Engine) {
    // In a child that a handler has forked nothing is in the kernel.
    if let Some(caller) = Caller::enter(engine) {
        reaper::take_results(caller.engine, Rest::Others);
    }
}

extern "C" fn leave_when_cancelled(ticket: *mut c_void) {
    if let (Some(engine), Ok(ticket)) = (Engine::current(), u64::try_from(ticket.addr())) {
        leave(engine, Ticket(ticket));
    }
}
