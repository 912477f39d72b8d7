//! The reaper: a role of a worker. It makes sure that somebody reaps, a caller that waits for its results (`caller_reap`) or
//! itself. A worker takes the role when something is to be handed to the kernel, and gives it back when nothing has been there
//! for the idle time.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::dispatch::caller_reap;
use crate::dispatch::complete::Rest;
use crate::dispatch::kernel_reap::{RESULTS, complete_all, take_results};
use crate::engine::Engine;
use crate::ring_owner::Token;
use crate::sys::errno::Errno;
use crate::sys::kaio::Event;
use crate::sys::{clock, thread};
use crate::table::roles::ReaperState;
use crate::threads::run_inline;
use crate::worker_slot::WorkerSlot;

/// Runs the role until nothing has been in the kernel for the idle time.
pub fn run(engine: &'static Engine, slot: &'static WorkerSlot, thread: i32) {
    thread::set_name(c"aio_rs/reaper");
    if !engine.kernel.open() {
        engine.lock().reaper = ReaperState::Off;
        return;
    }
    // By trying: the kernel, or a sandbox, may know requests but not this one.
    let can_wake = engine.poller.is_open() && engine.kernel.wake(engine.poller.always_ready()).is_ok();
    if can_wake {
        engine.kernel.try_watching();
    }
    let mut oversight = Oversight::default();
    loop {
        run_inline::run_inline(engine, thread);
        match next_turn(engine, slot, &mut oversight) {
            Turn::Reap(patience) => {
                let patience = if can_wake { patience } else { UNWAKEABLE };
                if !reap(engine, patience) && end_role(engine) {
                    return;
                }
            }
            Turn::Own(token, patience) => {
                extern "C" fn nothing(_: *mut c_void) {}
                match engine.kernel.watch(patience, nothing, ptr::null_mut()) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => engine.kernel.give_up(),
                }
                take_results(engine, Rest::Mine);
                engine.ring_owner.leave(token);
            }
            Turn::TakeOver(token) => {
                take_results(engine, Rest::Mine);
                engine.ring_owner.leave(token);
                // If that caller comes only now, it finds no result, but this.
                let _ = engine.kernel.wake(engine.poller.always_ready());
            }
            Turn::Rest(patience, may_end) => {
                // The standby reaper that was promoted may not have come.
                caller_reap::promote_standby();
                let called = slot.rest(Duration::from_nanos(patience));
                engine.ring_owner.rest(None);
                if !called && may_end && end_role(engine) {
                    return;
                }
            }
        }
    }
}

/// What the reaper does next.
enum Turn {
    /// Wait for results, so long, where callers cannot.
    Reap(clock::Nanos),
    /// Own the ring and wait for them there.
    Own(Token, clock::Nanos),
    /// Take what the owner, a caller, has left there for too long.
    TakeOver(Token),
    /// Leave them to callers, for so long. The role may end if it was not called.
    Rest(clock::Nanos, bool),
}

/// How the reaper sees whether callers take the results.
#[derive(Default)]
struct Oversight {
    /// The time of the last look.
    looked: clock::Nanos,
    /// What there was in the ring then, if it was not empty.
    waiting: Option<u32>,
    /// The last request that was submitted when the reaper decided last.
    newest: u64,
    /// How often callers had come for results by then.
    taken_by_callers: u32,
    /// How often results stood there for too long, and no caller has come since.
    neglected: u32,
    /// Nobody comes: so often it takes them without being asked.
    eager: u32,
}

impl Oversight {
    /// A caller that lost its processor may come late.
    const NEGLECTED: u32 = 3;
    const EAGER: u32 = 1_000;

    /// Whether results have been waiting since the last look. (Not if that was just now: whoever was woken is on its way.)
    fn nobody_takes(&mut self, engine: &Engine) -> bool {
        let now = clock::now();
        if now < self.looked + LOOK / 2 {
            return false;
        }
        self.looked = now;
        let waiting = engine.kernel.has_results().then(|| engine.kernel.taken());
        let stands_still = waiting.is_some() && waiting == self.waiting;
        self.waiting = waiting;
        let taken_by_callers = engine.ring_owner.times_taken_by_callers();
        if taken_by_callers != self.taken_by_callers {
            (self.taken_by_callers, self.neglected) = (taken_by_callers, 0);
        }
        if stands_still {
            self.neglected += 1;
            self.eager = if self.neglected >= Self::NEGLECTED { Self::EAGER } else { 0 };
        }
        stands_still
    }
}

/// How often the reaper looks whether callers take the results.
const LOOK: clock::Nanos = 2 * clock::MILLISECOND;

fn next_turn(engine: &'static Engine, slot: &'static WorkerSlot, oversight: &mut Oversight) -> Turn {
    let idle = clock::MILLISECOND.saturating_mul(engine.idle_ms.load(Ordering::Relaxed));
    let mut table = engine.lock();
    table.reaper = ReaperState::On;
    let busy = engine.ring_owner.in_kernel() > 0;
    if !engine.kernel.can_be_watched() {
        return Turn::Reap(if busy { idle.max(BUSY) } else { idle });
    }
    let results = engine.kernel.has_results();
    if (busy || results)
        && oversight.nobody_takes(engine)
        && let Some(token) = engine.ring_owner.take_over()
    {
        // Or it is only what was to wake somebody.
        return if busy { Turn::TakeOver(token) } else { Turn::Own(token, 0) };
    }
    // Since the last time that it stood in for the workers.
    if table.needs_inline_run() {
        return Turn::Rest(if table.order.ready_count() > 0 { 0 } else { LOOK }, false);
    }
    let newest = table.order.newest_seq();
    let active = busy || results || newest != oversight.newest;
    oversight.newest = newest;
    // From here on it can be called, and what it is needed for either sees that or is seen.
    table.reaper = if active { ReaperState::Rests } else { ReaperState::Sleeps };
    engine.ring_owner.rest(Some(slot));
    let wants = busy && (oversight.eager > 0 || table.needs_reaper());
    if wants && let Some(token) = engine.ring_owner.take_by_reaper() {
        engine.ring_owner.rest(None);
        table.reaper = ReaperState::On;
        oversight.eager = oversight.eager.saturating_sub(1);
        return Turn::Own(token, idle.max(BUSY));
    }
    if active { Turn::Rest(LOOK, false) } else { Turn::Rest(idle, true) }
}

/// Not for ever: what seemed to be in the kernel may have been refused by it just then.
const BUSY: clock::Nanos = 1_000 * clock::MILLISECOND;

/// How often it has to look whether other work needs it, where it cannot be woken.
const UNWAKEABLE: clock::Nanos = 10 * clock::MILLISECOND;

/// Waits for results and takes them. False: there was none.
fn reap(engine: &'static Engine, patience: clock::Nanos) -> bool {
    if engine.kernel.is_ring_ours() {
        // A sandbox that came later forbids to wait for them, or to hand over more.
        thread::sleep_a_millisecond();
        return take_results(engine, Rest::Mine);
    }
    let mut events = [Event::NONE; RESULTS];
    let got = match engine.kernel.reap(&mut events, patience) {
        Ok(got) => got,
        Err(Errno::INTR) => 0,
        Err(_) => {
            engine.kernel.give_up();
            0
        }
    };
    got > 0
        && complete_all(engine, Rest::Mine, |taken| {
            *taken = events;
            got
        }) > 0
}

fn end_role(engine: &'static Engine) -> bool {
    let mut table = engine.lock();
    let done = engine.ring_owner.in_kernel() == 0 && !table.order.has_direct_work();
    if done {
        table.reaper = ReaperState::Off;
    }
    done
}
