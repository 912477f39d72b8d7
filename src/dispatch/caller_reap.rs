//! Reaping in the caller: a thread whose requests are all in the kernel waits there for their results and takes them itself, so that
//! no other thread has to run for it. Others that wait meanwhile are standby reapers: they sleep until it has taken their results,
//! or until it leaves and one of them is promoted. The reaper's thread takes what nobody waits for, and checks now and then
//! that the ring's owner does its part: it may be in a signal handler, or may have jumped out of the wait.

use std::ffi::c_void;
use std::ptr;

use crate::dispatch::complete::Rest;
use crate::dispatch::kernel_reap;
use crate::engine::{Caller, Engine};
use crate::ring_owner::Token;
use crate::sys::clock::{self, Nanos};
use crate::sys::errno::{Errno, Result};
use crate::sys::signals::{self, Blocked};
use crate::sys::wait;

/// How long a caller waits at a time: should its request end elsewhere because somebody has taken over, it sees that then.
const LEASE: Nanos = 10 * clock::MILLISECOND;

/// To be called by a thread that is counted among the sleepers, or the standby reapers (`sys::wait`), before it sleeps: it may
/// wait for something that the kernel has. False: it must not sleep, but try to own the ring.
///
/// SeqCst on both sides: either this thread sees what was handed to the kernel, or whoever hands it over sees the sleeper;
/// either a standby reaper sees that the ring is free, or whoever gives it up sees the standby reaper.
pub fn before_sleep(stands_by: bool) -> bool {
    let Some(engine) = Engine::current().filter(|engine| engine.ring_owner.in_kernel() > 0) else { return true };
    if stands_by {
        return engine.ring_owner.is_taken();
    }
    if !engine.ring_owner.is_wanted() {
        engine.ring_owner.call_reaper();
    }
    true
}

/// Gives up the ring: to the reaper if it wants it, or to a standby reaper.
fn leave(engine: &Engine, token: Token) {
    if !engine.ring_owner.leave(token) {
        promote_standby();
    }
}

/// Wakes a standby reaper to own the ring, if nobody does.
pub fn promote_standby() {
    let vacant = |engine: &Engine| engine.ring_owner.in_kernel() > 0 && !engine.ring_owner.is_taken();
    if wait::has_standby() && Engine::current().is_some_and(vacant) {
        // A handler that jumps away in the middle would leave one asleep that nobody else wakes any more.
        let _blocked = Blocked::all();
        wait::wake_standby();
    }
}

/// Who reaps for a caller that waits.
pub enum Reaped {
    /// It has, and has waited in the kernel for that: with this result of `wait`.
    ByCaller(Result<()>),
    /// Another caller does: this one may be a standby reaper.
    Standby,
    /// A library thread.
    No,
}

/// Waits in the kernel for results and takes them, until `over` or until not all is `in_kernel` any more.
///
/// Errors: EINTR (a signal handler ran), ETIMEDOUT (the deadline has passed). A cancellation point.
pub fn wait(deadline: Option<Nanos>, in_kernel: impl Fn() -> bool, over: impl Fn() -> bool) -> Reaped {
    let may_reap = |engine: &&Engine| engine.kernel.can_be_watched() && engine.ring_owner.in_kernel() > 0;
    let Some(engine) = Engine::current().filter(may_reap) else { return Reaped::No };
    let Some(token) = engine.ring_owner.take_by_caller() else {
        return if wait::may_stand_by() { Reaped::Standby } else { Reaped::No };
    };
    // The last owner may have ended the request. The reaper may want the ring, or have taken over. A handler may have forked: what
    // the kernel has is the parent's.
    let mine = || engine.is_current() && engine.ring_owner.is_held(token) && !engine.ring_owner.is_wanted();
    let goes_on = || mine() && !over() && in_kernel();
    let mut outcome = Ok(());
    while outcome.is_ok() && goes_on() {
        outcome = reap_once(engine, token, deadline);
    }
    leave(engine, token);
    match outcome {
        // A sandbox that came later: the reaper will find out, too.
        Err(error) if error != Errno::INTR && error.0 != libc::ETIMEDOUT => Reaped::No,
        outcome => Reaped::ByCaller(outcome),
    }
}

/// Waits for results once, for a while, and takes them.
fn reap_once(engine: &'static Engine, token: Token, deadline: Option<Nanos>) -> Result<()> {
    let now = clock::now();
    let patience = deadline.map_or(LEASE, |deadline| deadline.saturating_sub(now).min(LEASE));
    let argument = ptr::without_provenance_mut(usize::try_from(token.0).unwrap_or(0));
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
    let in_kernel = || Engine::current().map_or(0, |engine| engine.ring_owner.in_kernel());
    // It may change while the other is looked at.
    let before = in_kernel();
    before > 0 && usize::try_from(before) == Ok(unfinished()) && in_kernel() == before
}

/// For a caller that asks for the status of a request in the kernel: takes results if there are any.
pub fn poll() {
    let is_ours = |engine: &&Engine| engine.kernel.has_results() && engine.kernel.is_ring_ours();
    let Some(engine) = Engine::current().filter(is_ours) else { return };
    if let Some(token) = engine.ring_owner.take_by_caller() {
        take_results(engine);
        leave(engine, token);
    }
}

fn take_results(engine: &'static Engine) {
    // In a child that a handler has forked nothing is in the kernel.
    if let Some(caller) = Caller::enter(engine) {
        kernel_reap::take_results(caller.engine, Rest::Others);
    }
}

extern "C" fn leave_when_cancelled(token: *mut c_void) {
    if let (Some(engine), Ok(token)) = (Engine::current(), u64::try_from(token.addr())) {
        leave(engine, Token(token));
    }
}
