//! Workers: an elastic pool of threads that run what may block for a while, but not for ever.
//!
//! Work that is ready stays in the table, where it can still be cancelled and overtaken by a higher priority, until a
//! worker is free to take it. A worker takes its next request in the lock section that ends the last one. An idle worker
//! sleeps on a mailbox of its own, and gets a job put there by whoever made it ready; the worker that went idle last gets
//! the first one, so that the others can leave.
//!
//! Workers are made by the starter (`starter`), ahead of time: when one takes a job and nobody is idle any more, a spare is
//! wanted. So a caller makes a thread only when there is none at all, and every other call is safe in a signal handler. The
//! spare is not counted among the maximum: it runs no request while that many run. Nor is a worker that a stream may block for
//! ever.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use libc::off_t;

use crate::calls::submit;
use crate::dispatch::attend;
use crate::dispatch::complete::{self, Rest};
use crate::dispatch::number;
use crate::engine::{Caller, Engine, Locked};
use crate::errno::{Errno, Result};
use crate::mailbox::{Mailbox, Woken};
use crate::order::{FileKey, Kind, Run};
use crate::reception::inbox::Attendant;
use crate::request::{Buffer, Handle};
use crate::slab::Id;
use crate::stack::{Linked, Stack};
use crate::sys::clock::{self, Nanos};
use crate::sys::descriptor::Nature;
use crate::sys::{io, memory, thread};
use crate::table::burst::Burst;
use crate::table::pace::Pace;
use crate::table::{PollerState, Table};
use crate::threads::poller;
use crate::threads::reaper::{self, ReaperState};
use crate::threads::starter::{self, StarterState};
use crate::threads::watchdog;

/// What a worker can be given to do.
#[derive(Clone, Copy)]
enum Job {
    Request(Task),
    /// The transfers that lie in the worker's seat (`burst`).
    Burst,
    /// A transfer of a stream that may block for ever: it counts among no maximum.
    Block(Task),
    /// Wait for streams (`stream`), this turn.
    Poll(u32),
    /// Wait for what the kernel's AIO has (`reaper`).
    Reap,
    /// Deliver notifications (`complete`).
    Deliver,
    /// See to it that work left to the running workers does not wait for one that is blocked (`watch`).
    Watch,
}

/// A request as a worker needs it: nothing of the table is looked at while it runs.
#[derive(Clone, Copy)]
pub struct Task {
    pub id: Id,
    pub seq: u64,
    pub handle: Handle,
    pub fd: i32,
    pub identity: FileKey,
    pub kind: Kind,
    pub nature: Nature,
    pub asked: Nanos,
    pub buffer: Buffer,
    pub count: usize,
    /// Stream writes: bytes already out.
    pub progress: usize,
    pub nonblocking: bool,
    pub unbuffered: bool,
    /// No other of its class runs (`pace`).
    pub alone: bool,
    pub position: u64,
    preset: i32,
}

/// A job, and what its worker has to see to first.
#[derive(Clone, Copy)]
pub struct Handed {
    job: Job,
    /// A spare is wanted, and nobody is there to make it.
    make_starter: bool,
    /// There may be more work than was handed out: its worker hands out the rest first.
    go_on: bool,
}

/// A worker's mailbox. Seats are never freed, as whoever sends may still be at it when the worker has gone; the next worker
/// takes the seat.
pub struct Seat {
    engine: &'static Engine,
    mailbox: Mailbox<Handed>,
    /// The next idle worker, or the next free seat. Under the table's lock.
    next: AtomicPtr<Seat>,
    /// Among the idle. Under the table's lock.
    idle: AtomicBool,
    /// The worker's thread. Under the table's lock.
    thread: AtomicI32,
    sleeps: Sleeps,
    /// It need not be awake when the next request comes. Only the worker's own.
    may_sleep: AtomicBool,
    pub burst: Burst,
}

/// How often a worker's thread had slept when it was last looked at. Only the worker's own.
struct Sleeps(AtomicU64);

impl Sleeps {
    const UNKNOWN: u64 = u64::MAX;

    /// The worker sleeps for want of work: that does not count.
    fn forget(&self) {
        self.0.store(Sleeps::UNKNOWN, Ordering::Relaxed);
    }

    /// Whether the thread has certainly not slept since the last look.
    fn none_since(&self) -> bool {
        let now = thread::times_slept().unwrap_or(Sleeps::UNKNOWN);
        self.0.swap(now, Ordering::Relaxed) == now && now != Sleeps::UNKNOWN
    }
}

/// The pool, in the table.
pub struct Workers {
    /// Threads that exist, are being started or are wanted (`starter`).
    total: u32,
    /// Those of them that have not asked for work yet.
    coming: u32,
    /// Those of them of which a caller does not know yet whether they can be had.
    unconfirmed: u32,
    /// Those that run a request, of a stream not counted.
    pub running: u32,
    /// Those that may be blocked by a stream for ever.
    pub blocking: u32,
    idle: Stack<Seat>,
    idle_count: u32,
    free: Stack<Seat>,
    pub pace: Pace,
    /// The worker that has several transfers.
    pub burst: Option<&'static Seat>,
    /// How far it was at the watch's last tick.
    pub burst_seen: usize,
}

impl Linked for Seat {
    fn next(&self) -> &AtomicPtr<Seat> {
        &self.next
    }
}

/// Idle workers that were given jobs, to be called when the lock is released.
pub struct HandOuts {
    seats: [Option<&'static Seat>; HandOuts::MOST],
    /// The poller has to look at the table.
    wake_poller: bool,
    /// The reaper has to take results, if it leaves that to callers.
    call_reaper: bool,
    /// The reaper has to look at the table, whatever it does.
    wake_reaper: bool,
    /// There is a thread to be made.
    call_starter: bool,
}

impl HandOuts {
    const MOST: usize = 4;

    pub const NONE: HandOuts = HandOuts {
        seats: [None; HandOuts::MOST],
        wake_poller: false,
        call_reaper: false,
        wake_reaper: false,
        call_starter: false,
    };

    /// Gives ready work to idle workers, as long as there are both. The last one goes on where this has to stop.
    pub fn prepare(table: &mut Table) -> HandOuts {
        let mut seats = [None; HandOuts::MOST];
        let mut places = seats.iter_mut();
        loop {
            while places.len() > 0
                && let Some(seat) = table.hand_out_one(places.len() == 1)
                && let Some(place) = places.next()
            {
                *place = Some(seat);
            }
            if table.settle_inbox() {
                break;
            }
        }
        HandOuts { seats, ..HandOuts::for_others(table) }
    }

    /// Only what is not for workers.
    fn for_others(table: &mut Table) -> HandOuts {
        let stand_in = table.needs_stand_in();
        let polls = table.poller == PollerState::On;
        HandOuts {
            wake_poller: polls && (table.order.has_stream_work() || table.streams_moved || stand_in),
            call_reaper: table.calls_reaper(),
            wake_reaper: !polls && stand_in && table.reaper != ReaperState::Off,
            call_starter: table.calls_starter(),
            ..HandOuts::NONE
        }
    }

    /// Releases the lock, then wakes.
    pub fn send_after(self, table: Locked, engine: &'static Engine) {
        drop(table);
        self.send(engine);
    }

    /// Calls the workers, the poller and the reaper.
    pub fn send(self, engine: &'static Engine) {
        if self.wake_poller {
            poller::wake(engine);
        }
        if self.wake_reaper {
            reaper::wake(engine);
        } else if self.call_reaper {
            engine.post.call_reaper();
        }
        self.seats.iter().flatten().for_each(|seat| seat.call());
        if self.call_starter {
            engine.starter.call();
        }
    }
}

impl Workers {
    pub fn new() -> Workers {
        Workers {
            total: 0,
            coming: 0,
            unconfirmed: 0,
            running: 0,
            blocking: 0,
            idle: Stack::new(),
            idle_count: 0,
            free: Stack::new(),
            pace: Pace::new(),
            burst: None,
            burst_seen: 0,
        }
    }

    /// Whether there is no thread that is sure to run, of so many that are wanted.
    fn is_empty(&self, wanted: u32) -> bool {
        self.total <= self.unconfirmed + wanted
    }

    /// Whether none exists or is wanted.
    pub fn is_without_thread(&self) -> bool {
        self.total == 0
    }

    /// So many of those that were on their way cannot be had.
    pub fn never_started(&mut self, wanted: u32) {
        self.total -= wanted;
        self.coming -= wanted;
    }

    pub fn total(&self) -> u32 {
        self.total
    }

    /// Who looks into the inbox.
    pub fn attendant(&self) -> Attendant<Seat> {
        if self.pace.is_quick() {
            return Attendant::Busy;
        }
        self.idle.first().map_or(Attendant::Nobody, Attendant::Idle)
    }

    /// The worker is through with its burst.
    pub fn burst_left(&mut self, kind: Kind, thread: i32) {
        self.running -= 1;
        self.pace.left(kind, false, thread);
    }

    fn push_idle(&mut self, seat: &'static Seat) {
        seat.idle.store(true, Ordering::Relaxed);
        self.idle.push(seat);
        self.idle_count += 1;
    }

    fn pop_idle(&mut self) -> Option<&'static Seat> {
        let seat = self.idle.pop()?;
        seat.idle.store(false, Ordering::Relaxed);
        self.idle_count -= 1;
        Some(seat)
    }

    fn remove_idle(&mut self, seat: &'static Seat) {
        self.idle.remove(seat);
        seat.idle.store(false, Ordering::Relaxed);
        self.idle_count -= 1;
    }
}

impl Seat {
    /// Error: EAGAIN, no memory.
    fn make(engine: &'static Engine) -> Result<&'static Seat> {
        // Not a Box: without memory that would end the process.
        let place = memory::map(size_of::<Seat>()).map_err(|_| Errno::AGAIN)?.cast::<Seat>();
        let (next, idle) = (AtomicPtr::new(ptr::null_mut()), AtomicBool::new(false));
        let seat = Seat {
            engine,
            mailbox: Mailbox::new(),
            next,
            idle,
            thread: AtomicI32::new(0),
            sleeps: Sleeps(AtomicU64::new(Sleeps::UNKNOWN)),
            may_sleep: AtomicBool::new(false),
            burst: Burst::new(),
        };
        // SAFETY: the mapping is large enough, begins at a page and is never unmapped.
        unsafe {
            place.write(seat);
            Ok(place.as_ref())
        }
    }

    /// Its worker's thread.
    pub fn thread(&self) -> i32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Has the worker look into the inbox, or end its rest.
    pub fn call(&self) {
        self.mailbox.call();
    }

    /// For a worker with a role: waits until it is called. False: the time is up.
    pub fn rest(&self, patience: Duration) -> bool {
        matches!(self.mailbox.wait(patience, true), Woken::Called)
    }
}

impl Table {
    fn hand_out_one(&mut self, go_on: bool) -> Option<&'static Seat> {
        if self.workers.idle_count == 0 {
            return None;
        }
        let job = self.next_job()?;
        let seat = self.workers.pop_idle()?;
        let handed = self.handed(job, seat);
        seat.mailbox.put(Handed { go_on, ..handed });
        Some(seat)
    }

    /// A request, if that wants one more worker; or, if the running ones will do, the watch over them.
    fn next_request_if_due(&mut self) -> Option<Job> {
        let Some(id) = self.order.first_ready() else { return self.watch_line() };
        let (kind, unbuffered) = (self.order.kind(id), self.order.payload(id).unbuffered);
        let due = self.workers.pace.wants_worker(kind, unbuffered, self.order.ready_count());
        if due {
            return self.next_request();
        }
        self.workers.pace.start_watch().then_some(Job::Watch)
    }

    /// Writes that stand in line are left to the one that writes, too.
    fn watch_line(&mut self) -> Option<Job> {
        let waits = self.order.ready_count() > 0 && self.workers.pace.is_quick_writing();
        (waits && self.workers.pace.start_watch()).then_some(Job::Watch)
    }

    /// The most urgent thing to do: roles first, then requests. A worker that has ended one is treated like any other: too
    /// many that once were needed would otherwise go on getting in each other's way.
    fn next_job(&mut self) -> Option<Job> {
        self.next_role().or_else(|| self.next_request_if_due())
    }

    fn next_role(&mut self) -> Option<Job> {
        if self.poller == PollerState::Off && self.order.has_stream_work() {
            self.poller = PollerState::On;
            return Some(Job::Poll(self.poller_turn));
        }
        if self.reaper == ReaperState::Off && self.order.has_direct_work() {
            self.reaper = ReaperState::Starts;
            return Some(Job::Reap);
        }
        if self.owes() {
            self.notices.claimed = true;
            return Some(Job::Deliver);
        }
        let run = self.order.next_blocking()?;
        self.workers.blocking += 1;
        Some(Job::Block(self.task(run)))
    }

    /// The next request, if no more than the maximum run already.
    fn next_request(&mut self) -> Option<Job> {
        if self.workers.running >= self.config.threads {
            return None;
        }
        let run = self.order.next_ready()?;
        self.workers.running += 1;
        let mut task = self.task(run);
        task.alone = self.workers.pace.started(task.kind, task.unbuffered);
        Some(Job::Request(task))
    }

    pub fn task(&self, run: Run) -> Task {
        let request = self.order.payload(run.id);
        Task {
            id: run.id,
            seq: run.seq,
            handle: request.handle,
            fd: run.fd,
            identity: self.order.identity(run.id),
            kind: run.kind,
            nature: request.nature,
            asked: request.asked,
            buffer: request.buffer,
            count: request.count,
            progress: usize::try_from(request.progress).unwrap_or(0),
            nonblocking: request.nonblocking,
            unbuffered: request.unbuffered,
            alone: false,
            position: run.position,
            preset: request.preset,
        }
    }

    /// Decides on the spare.
    fn handed(&mut self, job: Job, seat: &Seat) -> Handed {
        match &job {
            Job::Request(task) => self.runs(task, seat.thread()),
            Job::Block(task) => self.run_again(task.id, seat.thread()),
            _ => {}
        }
        let (polls, reaps) = (self.poller == PollerState::On, self.reaper != ReaperState::Off);
        let roles = [polls, reaps, self.notices.claimed, self.workers.pace.watched()];
        let roles = roles.into_iter().map(u32::from).sum::<u32>() + self.workers.blocking;
        let mut make_starter = false;
        // One that is on its way will be idle, or take work and see to the next spare.
        let has_spare = self.workers.idle_count + self.workers.coming > 0;
        if !has_spare && self.workers.total <= self.config.threads + roles {
            make_starter = self.starting.state == StarterState::Absent;
            self.want_worker();
        }
        Handed { job, make_starter, go_on: false }
    }

    /// One more, from the starter.
    fn want_worker(&mut self) {
        self.thread_starts();
        self.starting.wanted += 1;
    }

    /// Whether a worker has notifications to deliver.
    fn owes(&self) -> bool {
        let absent = self.starting.state == StarterState::Absent;
        !self.notices.claimed && (!self.notices.is_empty() || absent && self.notices.has_functions())
    }

    /// The same, with further transfers if that is worth while.
    fn with_burst(&mut self, handed: Handed, seat: &'static Seat) -> Handed {
        match &handed.job {
            Job::Request(task) if self.take_along(task, seat) => Handed { job: Job::Burst, ..handed },
            _ => handed,
        }
    }

    /// Something is to be done, and every thread has a role: one of those has to help out (`stand_in`).
    pub fn needs_stand_in(&self) -> bool {
        let owed = self.owes() || self.order.has_blocking_work();
        self.workers.idle_count == 0 && self.workers.running == 0 && (owed || self.order.ready_count() > 0)
    }

    /// No thread is left that could take what comes next, but those that have a role.
    pub fn all_blocked(&self) -> bool {
        self.workers.blocking > 0 && self.workers.idle_count == 0 && self.workers.running == 0
    }

    /// Notes which thread runs a request. Of a group the other members' numbers are not used yet.
    fn runs(&mut self, task: &Task, thread: i32) {
        self.workers.pace.runs_in(task.kind, task.unbuffered, thread);
        self.order.payload_mut(task.id).run_by(thread);
    }

    fn thread_starts(&mut self) {
        self.workers.total += 1;
        self.workers.coming += 1;
        self.stats.threads(self.workers.total);
    }
}

// ---- starting and ending ----

/// Makes sure that there is a worker, if that is the way of this process. Error: EAGAIN, none can be started.
pub fn ensure(caller: &Caller) -> Result<Locked> {
    let mut table = caller.lock();
    if caller.engine.threadless {
        return Ok(table);
    }
    while table.workers.is_empty(table.starting.wanted) {
        // Another caller must not rely on a thread that perhaps cannot be had.
        table.workers.unconfirmed += 1;
        table.thread_starts();
        let makes_starter = table.starting.claim();
        drop(table);
        let started = start(caller.engine);
        if makes_starter {
            starter::make(caller.engine, started.is_ok());
        }
        table = caller.lock();
        table.workers.unconfirmed -= 1;
        started?;
    }
    Ok(table)
}

/// Has all idle workers look at the configuration again.
pub fn rouse(caller: &Caller) {
    let table = caller.lock();
    let mut seat = table.workers.idle.first();
    while let Some(idle) = seat {
        idle.call();
        // SAFETY: seats are never freed, and their links are only changed under the lock.
        seat = unsafe { idle.next.load(Ordering::Relaxed).as_ref() };
    }
    submit::hand_over(caller, table);
}

/// Starts a worker that `thread_starts` has counted. For the starter, and for the call that finds none.
pub fn start(engine: &'static Engine) -> Result<()> {
    spawn(engine).inspect_err(|_| engine.lock().workers.never_started(1))
}

fn spawn(engine: &'static Engine) -> Result<()> {
    let known = engine.lock().workers.free.pop();
    let seat = known.map_or_else(|| Seat::make(engine), Ok)?;
    thread::spawn(main, ptr::from_ref(seat).cast_mut().cast()).map_err(|_| {
        engine.lock().workers.free.push(seat);
        Errno::AGAIN
    })
}

extern "C-unwind" fn main(seat: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` passes a seat, which is never freed.
    let Some(seat) = (unsafe { seat.cast::<Seat>().as_ref() }) else {
        return ptr::null_mut();
    };
    let engine = seat.engine;
    thread::set_name(NAME);
    seat.thread.store(thread::current_id(), Ordering::Relaxed);
    let mut table = engine.lock();
    table.workers.coming -= 1;
    let (mut handed, others) = next_or_idle(&mut table, seat);
    others.send_after(table, engine);
    while let Some(next) = handed.or_else(|| wait_for_job(engine, seat)) {
        handed = work(engine, seat, next);
    }
    ptr::null_mut()
}

/// What `ps -L` shows.
pub const NAME: &std::ffi::CStr = c"aio_rs/worker";

/// A worker's next job, or none, and then the worker is among the idle; and jobs for others.
pub type Next = (Option<Handed>, HandOuts);

/// What a worker does that finds no job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Idle,
    End,
}

fn next_or_idle(table: &mut Table, seat: &'static Seat) -> Next {
    next_or(table, seat, Otherwise::Idle)
}

fn next_or(table: &mut Table, seat: &'static Seat, otherwise: Otherwise) -> Next {
    loop {
        table.take_in();
        if let Some(job) = table.next_job() {
            let handed = table.handed(job, seat);
            let handed = table.with_burst(handed, seat);
            return (Some(handed), HandOuts::prepare(table));
        }
        let workers = &mut table.workers;
        match otherwise {
            Otherwise::Idle => workers.push_idle(seat),
            Otherwise::End => workers.total -= 1,
        }
        table.reception.standby.set(table.workers.total > 0);
        if table.settle_inbox() {
            if otherwise == Otherwise::End {
                table.workers.free.push(seat);
            }
            return (None, HandOuts::for_others(table));
        }
        // Something was put into the inbox at the last moment.
        match otherwise {
            Otherwise::Idle => table.workers.remove_idle(seat),
            Otherwise::End => table.workers.total += 1,
        }
        table.reception.standby.set(true);
    }
}

/// The same for a worker that has nothing to end.
fn next_job_of(engine: &'static Engine, seat: &'static Seat) -> Option<Handed> {
    let mut table = engine.lock();
    let (handed, others) = next_or_idle(&mut table, seat);
    drop(table);
    others.send(engine);
    handed
}

/// Waits in the mailbox. None: nothing came for so long that the worker ends.
fn wait_for_job(engine: &'static Engine, seat: &'static Seat) -> Option<Handed> {
    let mut at_least = Duration::ZERO;
    loop {
        let patience = Duration::from_millis(engine.idle_ms.load(Ordering::Relaxed)).max(at_least);
        let woken = seat.mailbox.wait(patience, !seat.may_sleep.load(Ordering::Relaxed));
        seat.sleeps.forget();
        if let Woken::Given(handed) = woken {
            return Some(handed);
        }
        let mut table = engine.lock();
        table.take_in();
        // The last idle one stays while others work: it is their spare; and while callers rely on it.
        let time_up = matches!(woken, Woken::TimeUp);
        let last = table.workers.total == 1;
        let is_spare = table.workers.idle_count == 1 && (!last || time_up && table.reception.standby.was_needed());
        at_least = if time_up && is_spare { Duration::from_secs(1) } else { Duration::ZERO };
        // One that was taken off the idle ones has a job on its way.
        if time_up && !is_spare && seat.idle.load(Ordering::Relaxed) {
            table.workers.remove_idle(seat);
            let (handed, others) = next_or(&mut table, seat, Otherwise::End);
            others.send_after(table, engine);
            return handed;
        }
        // Whoever is idle gets what there is; that may be this worker.
        HandOuts::prepare(&mut table).send_after(table, engine);
    }
}

// ---- working ----

/// Does one job and returns the next one that is at hand.
fn work(engine: &'static Engine, seat: &'static Seat, handed: Handed) -> Option<Handed> {
    if handed.make_starter {
        // Without a spare the work waits for this worker.
        starter::make_if_absent(engine);
    }
    if handed.go_on {
        let others = HandOuts::prepare(&mut engine.lock());
        others.send(engine);
    }
    match handed.job {
        Job::Request(task) => {
            let thread = seat.thread();
            run_request(engine, &task, thread, Some(seat), |table| next_or_idle(table, seat))
        }
        Job::Burst => run_burst(engine, seat),
        Job::Block(task) => run_blocking(engine, seat, &task),
        Job::Poll(turn) => {
            poller::run(engine, seat.thread(), turn);
            thread::set_name(NAME);
            next_job_of(engine, seat)
        }
        Job::Reap => {
            reaper::run(engine, seat, seat.thread());
            thread::set_name(NAME);
            next_job_of(engine, seat)
        }
        Job::Watch => {
            watchdog::run(engine);
            next_job_of(engine, seat)
        }
        Job::Deliver => {
            complete::deliver_owed(engine, seat.thread());
            next_job_of(engine, seat)
        }
    }
}

/// For threads that have another role: when all have one and no more can be started, requests and notifications would wait
/// for ever.
pub fn stand_in(engine: &'static Engine, thread: i32) {
    loop {
        let mut table = engine.lock();
        table.take_in();
        if !table.needs_stand_in() {
            return;
        }
        if table.starting.wanted == 0 {
            table.want_worker();
        }
        if starter::worker_comes(engine, table) {
            return;
        }
        // This takes a while: whoever waits for what the kernel has sees to it.
        attend::hand_on();
        complete::try_owed(engine);
        if !run_next(engine, thread) {
            return;
        }
    }
}

/// Runs the next request in a thread that is no worker. False: there is none.
pub fn run_next(engine: &'static Engine, thread: i32) -> bool {
    let mut table = engine.lock();
    let Some(Job::Request(task)) = table.next_request() else { return false };
    table.runs(&task, thread);
    drop(table);
    let _ = run_request(engine, &task, thread, None, |table| (None, HandOuts::prepare(table)));
    true
}

/// Runs a request, ends it, and finds what comes next.
fn run_request(
    engine: &'static Engine,
    task: &Task,
    thread: i32,
    seat: Option<&Seat>,
    next: impl FnOnce(&mut Table) -> Next,
) -> Option<Handed> {
    let begin = clock::now();
    let result = perform(engine, task, thread, begin);
    let time = clock::now().saturating_sub(begin);
    // How long it took says nothing if the thread only lost its processor meanwhile.
    let telling = task.alone && !(Pace::is_long(time) && seat.is_some_and(|seat| seat.sleeps.none_since()));
    if let Some(seat) = seat {
        // The caller has set the device to work on it (`inline`): there is time to wake up. Measured for uncached reads at
        // depth 1: 33 µs of processor time instead of 41, at 0.97 of the rate.
        let ahead = engine.inline && task.kind == Kind::Read && !task.unbuffered && Pace::is_long(time);
        seat.may_sleep.store(ahead, Ordering::Relaxed);
    }
    complete::finish_task(engine, task, result, |table| {
        table.workers.running -= 1;
        table.workers.pace.ended(task.kind, task.unbuffered, thread, telling.then_some(time));
        table.stats.counts.route_worker += 1;
        next(table)
    })
}

/// Runs a transfer of a stream, which takes as long as the stream likes.
fn run_blocking(engine: &'static Engine, seat: &'static Seat, task: &Task) -> Option<Handed> {
    let result = poller::transfer(engine, task, seat.thread());
    complete::finish_task(engine, task, result, |table| {
        table.workers.blocking -= 1;
        table.stats.counts.route_worker += 1;
        next_or_idle(table, seat)
    })
}

/// Runs the transfers of a burst, ends them, and finds what comes next.
fn run_burst(engine: &'static Engine, seat: &'static Seat) -> Option<Handed> {
    let (mut begin, mut run) = (clock::now(), 0);
    seat.may_sleep.store(false, Ordering::Relaxed);
    while let Some(transfer) = seat.burst.start(run) {
        run += 1;
        let result = perform(engine, &transfer.task(), seat.thread(), begin);
        let now = clock::now();
        let time = now.saturating_sub(begin);
        begin = now;
        let lost_processor = Pace::is_long(time) && seat.sleeps.none_since();
        complete::touch(&transfer.task());
        transfer.done(result, (!lost_processor).then_some(time));
        if Pace::is_long(time) {
            // The next one may be as slow: what is done need not wait for it.
            break;
        }
    }
    complete::finish_several(engine, Rest::Mine, |table| table.end_burst(seat, run), |table| next_or_idle(table, seat))
}

/// A read from where the page cache had no more of it.
fn read_on(task: &Task, fd: i32, offset: off_t) -> Result<isize> {
    let begun = task.progress.min(task.count);
    let (Ok(so_far), Ok(skipped)) = (isize::try_from(begun), off_t::try_from(begun)) else {
        return Err(Errno::INVAL);
    };
    let rest = io::read_at(fd, task.buffer.0.wrapping_byte_add(begun), task.count - begun, offset + skipped);
    match rest {
        Ok(more) => Ok(so_far + more),
        // As read does: what there is, is there.
        Err(_) if begun > 0 => Ok(so_far),
        Err(error) => Err(error),
    }
}

/// The transfer itself.
fn perform(engine: &'static Engine, task: &Task, thread: i32, now: Nanos) -> Result<isize> {
    if task.preset != 0 {
        return Err(Errno(task.preset));
    }
    if task.kind.is_barrier() {
        return sync(engine, task, thread);
    }
    let fd = match task.nature {
        Nature::File => number::confirm_unless_recent(engine, task, now)?,
        _ => number::confirm(engine, task)?,
    };
    engine.reception.entered.mark(task.id, task.seq, now);
    let (buffer, count) = (task.buffer.0, task.count);
    let offset = off_t::try_from(task.position).unwrap_or(off_t::MAX);
    match task.kind {
        Kind::Read => read_on(task, fd, offset),
        Kind::Append => io::append(fd, buffer, count),
        _ => io::write_at(fd, buffer, count, offset),
    }
}

/// A sync for a group, by the first of its descriptors that is still there. Error: EBADF, none is.
fn sync(engine: &'static Engine, task: &Task, thread: i32) -> Result<isize> {
    let mut member = *task;
    loop {
        let Ok(fd) = number::confirm(engine, &member) else {
            member = next_member(engine, &member, thread).ok_or(Errno::BADF)?;
            continue;
        };
        engine.reception.entered.mark(member.id, member.seq, clock::now());
        return if task.kind == Kind::Sync { io::fsync(fd) } else { io::fdatasync(fd) };
    }
}

/// The next of a group, whose number this thread is about to use.
fn next_member(engine: &'static Engine, last: &Task, thread: i32) -> Option<Task> {
    let mut table = engine.lock();
    let id = table.order.group_next(last.id)?;
    table.order.payload_mut(id).run_by(thread);
    Some(Task { id, seq: table.order.seq(id), fd: table.order.fd(id), ..*last })
}
