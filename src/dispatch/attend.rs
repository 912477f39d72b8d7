//! Who takes the results of the kernel's AIO. A caller that waits for nothing else waits in the kernel and takes them itself:
//! no other thread has to run for it. Others that wait meanwhile follow: they sleep until it has taken their results, or, when
//! it leaves, one of them is woken to take its place. The reaper's thread (`reaper`) sees to all that nobody waits for, and
//! looks now and then whether those who wait do their part: they may be in a signal handler, or have left by one.

use std::ffi::c_void;
use std::ptr;

use crate::dispatch::complete::Rest;
use crate::dispatch::kernel_reap;
use crate::engine::{Caller, Engine};
use crate::errno::{Errno, Result};
use crate::ring_owner::Ticket;
use crate::sys::clock::{self, Nanos};
use crate::sys::signals::{self, Blocked};
use crate::sys::wait;

/// How long a caller waits at a time: should its request end elsewhere because it was relieved, it sees that then.
const LEASE: Nanos = 10 * clock::MILLISECOND;

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
        kernel_reap::take_results(caller.engine, Rest::Others);
    }
}

extern "C" fn leave_when_cancelled(ticket: *mut c_void) {
    if let (Some(engine), Ok(ticket)) = (Engine::current(), u64::try_from(ticket.addr())) {
        leave(engine, Ticket(ticket));
    }
}
