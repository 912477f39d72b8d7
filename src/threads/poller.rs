//! Streams: pipes, sockets, terminals. One worker takes the role of the poller, which tries the request at the head of each
//! queue and, when it would have to wait, waits for all of them together. However many wait, it is one thread.
//!
//! The poller itself is never blocked: a transfer that cannot be told not to wait (a write to a terminal or an eventfd, say)
//! gets a thread of its own, and that may be blocked for as long as the stream likes.
//!
//! What waits stands twice: in the table, where a read can be cancelled, and in the poller's own map, by descriptor. A
//! request that the poller takes up again is looked up in the table first.

use std::sync::atomic::Ordering;

use crate::dispatch::stream::{at, number_for_next_step, so_far, total, transfer};
use crate::dispatch::wakeups::Wakeups;
use crate::dispatch::{complete, confirm_fd};
use crate::engine::{Engine, Locked};
use crate::order::Kind;
use crate::request::Runner;
use crate::sys::clock::{self, Nanos};
use crate::sys::descriptor::FdKind;
use crate::sys::errno::{Errno, Result};
use crate::sys::io::{self, Tried};
use crate::sys::poller::{EVENTS, Event};
use crate::sys::thread;
use crate::table::roles::PollerState;
use crate::task::Task;
use crate::threads::fd_map::FdMap;
use crate::threads::run_inline;

struct Role {
    engine: &'static Engine,
    /// This thread's number.
    thread: i32,
    /// The table's when it took the role.
    turn: u32,
    parked: FdMap<Parked>,
    /// None of them is out of time before.
    earliest: Nanos,
    /// When to look for descriptors that are gone, and how long that was to take.
    next_look: Nanos,
    patience: Nanos,
    /// A request could not be parked.
    short_of_memory: bool,
}

/// Between two looks for descriptors that are gone: at least when something is parked anew, and at most.
const PATIENCE: Nanos = 1_000 * clock::MILLISECOND;
const MOST_PATIENCE: Nanos = 32 * PATIENCE;

/// The requests that wait for one descriptor.
#[derive(Clone, Copy, Default)]
struct Parked {
    read: Option<Waiting>,
    write: Option<Waiting>,
}

#[derive(Clone, Copy)]
struct Waiting {
    task: Task,
    /// Then it ends with what there is (SO_RCVTIMEO, SO_SNDTIMEO).
    until: Nanos,
}

const NEVER: Nanos = Nanos::MAX;

/// Why a request is tried.
#[derive(Clone, Copy)]
enum Cause {
    New,
    /// It has waited, until then at most; `ready`: and was reported.
    Waited {
        until: Nanos,
        ready: bool,
    },
}

/// What becomes of a request that was tried.
enum Step {
    Ended(Result<isize>),
    Wait,
    /// It may block its thread.
    Thread,
}

/// So often poll may say "ready" about a stream that has nothing: other readers may have been quicker. Then it is poll that
/// does not know (a datagram socket that was shut down, one with a message in its error queue, a userfaultfd).
const FALSE_ALARMS: u32 = 3;

/// What the table has for the poller.
enum News {
    Request(Task),
    /// Descriptors got other numbers.
    Moved,
    /// Another thread has the role now.
    Replaced,
    None,
}

/// Runs the role until no stream has had a request for the idle time, or another thread takes it (`turn`).
pub fn run(engine: &'static Engine, thread: i32, turn: u32) {
    thread::set_name(c"aio_rs/poller");
    let mut role = Role::new(engine, thread, turn);
    let mut stays = false;
    loop {
        if !engine.poller.begin_turn() {
            role.retry_all();
        }
        if !role.take_news() {
            return;
        }
        run_inline::run_inline(engine, thread);
        if std::mem::take(&mut role.short_of_memory) {
            role.wait(clock::MILLISECOND);
            continue;
        }
        let idle = role.parked.is_empty();
        let patience = engine.idle_ms.load(Ordering::Relaxed).max(if stays { STAYS } else { 0 });
        if !idle {
            role.wait_and_look();
            continue;
        }
        role.wait(clock::MILLISECOND.saturating_mul(patience));
        if role.parked.is_empty() {
            stays = !end_role(engine, role.turn);
            if !stays {
                return;
            }
        }
    }
}

/// For calls that do the work themselves (`threadless`): tries once what there is. What has to wait starts anew the next time.
pub fn try_all(engine: &'static Engine, thread: i32) {
    let table = engine.lock();
    let (turn, any) = (table.poller_turn, table.order.has_stream_work());
    drop(table);
    if any {
        let mut role = Role::new(engine, thread, turn);
        if role.take_news() {
            role.hand_over();
        }
    }
}

/// How often, in milliseconds, an idle poller looks whether it is still needed.
const STAYS: u64 = 1_000;

fn end_role(engine: &'static Engine, turn: u32) -> bool {
    let mut table = engine.lock();
    if table.poller_turn != turn {
        return true;
    }
    // While every other thread is blocked, this is the one that stands in.
    let done = !table.order.has_stream_work() && !table.streams_moved && !table.all_blocked();
    if done {
        table.poller = PollerState::Off;
    }
    done
}

impl Role {
    fn new(engine: &'static Engine, thread: i32, turn: u32) -> Role {
        Role {
            engine,
            thread,
            turn,
            parked: FdMap::new(),
            earliest: NEVER,
            next_look: 0,
            patience: PATIENCE,
            short_of_memory: false,
        }
    }

    /// False: another thread has the role now, and what waited here.
    fn take_news(&mut self) -> bool {
        while !self.short_of_memory {
            match self.news() {
                News::Request(task) => self.attempt(task, Cause::New),
                News::Moved => self.retry_all(),
                News::Replaced => {
                    self.hand_over();
                    return false;
                }
                News::None => return true,
            }
        }
        true
    }

    /// Leaves what waits to the thread that has the role now.
    fn hand_over(&mut self) {
        let mut table = self.engine.lock();
        for place in self.parked.places() {
            let Parked { read, write } = self.parked.remove_at(place).unwrap_or_default();
            for Waiting { task, .. } in [read, write].into_iter().flatten() {
                if table.order.is_current(task.id, task.seq) {
                    table.order.send_to_poller(task.id);
                }
            }
        }
        Wakeups::collect(&mut table).send_after(table, self.engine);
    }

    fn news(&self) -> News {
        let mut table = self.engine.lock();
        if table.poller_turn != self.turn {
            return News::Replaced;
        }
        if std::mem::take(&mut table.streams_moved) {
            return News::Moved;
        }
        let Some(run) = table.order.next_stream() else {
            return News::None;
        };
        table.run_again(run.id, self.thread);
        News::Request(table.task(run))
    }

    fn retry_all(&mut self) {
        for place in self.parked.places() {
            let parked = self.parked.remove_at(place).unwrap_or_default();
            self.resume(parked.read, false);
            self.resume(parked.write, false);
        }
    }

    fn wait(&mut self, patience: Nanos) {
        let left = if self.earliest == NEVER { NEVER } else { self.earliest.saturating_sub(clock::now()) };
        let mut events = [Event::NONE; EVENTS];
        let got = self.engine.poller.wait(left.min(patience), &mut events);
        events.iter().take(got).for_each(|event| self.ready(*event));
        if self.earliest != NEVER && self.earliest <= clock::now() {
            self.end_late();
        }
    }

    /// The kernel does not report a descriptor that was closed behind the library's back: it is looked for now and then.
    fn wait_and_look(&mut self) {
        self.wait(self.patience);
        if clock::now() < self.next_look {
            return;
        }
        for (fd, parked) in self.parked.places().filter_map(|place| self.parked.at(place)) {
            let task = parked.read.or(parked.write).map(|waiting| waiting.task);
            let Some(task) = task.filter(|task| !confirm_fd::is_still(fd, task.identity)) else { continue };
            let mut table = self.engine.lock();
            if table.order.is_current(task.id, task.seq) && table.order.fd(task.id) == fd {
                table.lose(fd);
            }
        }
        self.look_in((self.patience * 2).min(MOST_PATIENCE));
    }

    fn look_in(&mut self, patience: Nanos) {
        self.patience = patience;
        self.next_look = clock::now().saturating_add(patience);
    }

    /// Takes up what waits for a descriptor that is ready; what waits for the other direction is armed anew.
    fn ready(&mut self, event: Event) {
        let Some(mut parked) = self.parked.remove(event.fd) else {
            return;
        };
        let read = if event.readable { parked.read.take() } else { None };
        let write = if event.writable { parked.write.take() } else { None };
        if parked.read.is_some() || parked.write.is_some() {
            if let Some(entry) = self.parked.entry(event.fd) {
                *entry = parked;
            }
            self.arm(event.fd);
        }
        self.resume(read, true);
        self.resume(write, true);
    }

    /// Takes up what is out of time: it is tried a last time.
    fn end_late(&mut self) {
        let now = clock::now();
        self.earliest = NEVER;
        let mut late = None;
        for place in self.parked.places() {
            let Some(parked) = self.parked.at_mut(place) else { continue };
            for direction in [&mut parked.read, &mut parked.write] {
                match direction {
                    Some(waiting) if waiting.until <= now && late.is_none() => late = direction.take(),
                    Some(waiting) => self.earliest = self.earliest.min(waiting.until),
                    None => {}
                }
            }
            if parked.read.is_none() && parked.write.is_none() {
                self.parked.remove_at(place);
            }
        }
        self.resume(late, false);
    }

    /// Tries a parked request again, if it has not been cancelled.
    fn resume(&mut self, waiting: Option<Waiting>, ready: bool) {
        let Some(Waiting { task, until }) = waiting else { return };
        let mut table = self.engine.lock();
        if !table.order.is_current(task.id, task.seq) {
            return;
        }
        let run = table.order.unpark(task.id);
        table.run_again(task.id, self.thread);
        let task = table.task(run);
        drop(table);
        self.attempt(task, Cause::Waited { until, ready });
    }

    /// Transfers what can be transferred without waiting; then the request has ended, is parked, or gets a thread.
    fn attempt(&mut self, mut task: Task, cause: Cause) {
        let mut step = self.step(&mut task);
        let mut alarms = 0;
        while let (Step::Wait, Cause::Waited { ready: true, .. }) = (&step, cause)
            && io::is_ready(task.fd, task.kind != Kind::Read)
        {
            alarms += 1;
            step = if alarms < FALSE_ALARMS { self.step(&mut task) } else { Step::Thread };
        }
        if let (Step::Thread, true) = (&step, self.engine.threadless) {
            step = self.step_without_thread(&mut task);
        }
        match step {
            Step::Ended(result) => complete::finish_stream(self.engine, &task, result),
            // Where it is tried anew by each call, it counts from its submission.
            Step::Wait => match until(&task, cause, if self.engine.threadless { task.asked } else { clock::now() }) {
                NEVER => self.park(task, NEVER),
                time if time > clock::now() => self.park(task, time),
                _ => complete::finish_stream(self.engine, &task, so_far(task.progress, Errno::AGAIN)),
            },
            Step::Thread => {
                if let Some(table) = self.unless_abandoned(&task) {
                    self.send_to_thread(table, &task);
                }
            }
        }
    }

    fn step(&self, task: &mut Task) -> Step {
        match confirm_fd::confirm(self.engine, task) {
            Err(error) => return Step::Ended(so_far(task.progress, error)),
            Ok(fd) => task.fd = fd,
        }
        self.engine.lock_free.entered.mark(task.id, task.seq, clock::now());
        if task.kind == Kind::Read { self.read(task) } else { self.write(task) }
    }

    fn read(&self, task: &mut Task) -> Step {
        let begun = task.progress.min(task.count);
        let left = task.count - begun;
        match io::try_read(task.fd, task.fd_kind, at(task.buffer, begun), left, task.nonblocking) {
            Tried::Ended(Ok(more)) => {
                let got = begun + usize::try_from(more).unwrap_or(0).min(left);
                let perhaps = task.fd_kind == FdKind::Socket && !task.nonblocking && begun < got && got < task.count;
                if perhaps && got < io::least_to_read(task.fd) {
                    self.keep_progress(task, got);
                    return Step::Wait;
                }
                Step::Ended(total(got))
            }
            Tried::Ended(Err(error)) => Step::Ended(so_far(begun, error)),
            Tried::Nothing if task.nonblocking => Step::Ended(Err(Errno::AGAIN)),
            Tried::Nothing => Step::Wait,
            Tried::MayBlock => Step::Thread,
        }
    }

    /// A write to a blocking stream has ended when all is written, whatever number of steps that takes.
    fn write(&self, task: &mut Task) -> Step {
        let mut fd = task.fd;
        let mut out = task.progress.min(task.count);
        let mut left = task.count - out;
        loop {
            match io::try_write(fd, task.fd_kind, at(task.buffer, out), left) {
                Tried::Nothing if task.nonblocking => return Step::Ended(so_far(out, Errno::AGAIN)),
                Tried::Nothing => {
                    self.keep_progress(task, out);
                    return Step::Wait;
                }
                Tried::MayBlock => {
                    self.keep_progress(task, out);
                    return Step::Thread;
                }
                // What is out is out: as write does, report that, and let the next request find the error.
                Tried::Ended(Err(error)) => return Step::Ended(so_far(out, error)),
                Tried::Ended(Ok(count)) => {
                    let count = usize::try_from(count).unwrap_or(0).min(left);
                    (out, left) = (out + count, left - count);
                    if left == 0 || count == 0 {
                        return Step::Ended(total(out));
                    }
                    fd = number_for_next_step(self.engine, task, self.thread);
                    self.engine.lock_free.entered.mark(task.id, task.seq, clock::now());
                }
            }
        }
    }

    /// Instead of a thread that may be blocked. A read does not wait: poll has told that it need not.
    fn step_without_thread(&self, task: &mut Task) -> Step {
        if task.kind == Kind::Read || task.nonblocking || task.count == 0 {
            return Step::Ended(transfer(self.engine, task, self.thread));
        }
        if task.fd_kind != FdKind::Pipe {
            return Step::Ended(so_far(task.progress, Errno::AGAIN));
        }
        // A FIFO that poll finds ready has room for so much.
        const ROOM: usize = libc::PIPE_BUF;
        let mut out = task.progress.min(task.count);
        while io::is_ready(task.fd, true) {
            match io::write(task.fd, at(task.buffer, out), ROOM.min(task.count - out)) {
                Err(error) => return Step::Ended(so_far(out, error)),
                Ok(count) => out += usize::try_from(count).unwrap_or(0),
            }
            if out >= task.count {
                return Step::Ended(total(out));
            }
        }
        self.keep_progress(task, out);
        Step::Wait
    }

    fn keep_progress(&self, task: &mut Task, done: usize) {
        task.progress = done;
        self.engine.lock().order.payload_mut(task.id).progress = u64::try_from(done).unwrap_or(0);
    }

    fn park(&mut self, task: Task, until: Nanos) {
        let Some(mut table) = self.unless_abandoned(&task) else { return };
        if self.engine.threadless {
            drop(table);
            return self.put_aside(task);
        }
        // Nobody is inside a system call for it now (see `close`).
        table.order.payload_mut(task.id).runner = Runner::Nobody;
        // Not cancellable: a write at the head of its stream, of which a part may be out, and a read that has taken some.
        if task.kind == Kind::Read && task.progress == 0 {
            table.order.park(task.id);
        }
        drop(table);
        let Some(parked) = self.parked.entry(task.fd) else { return self.try_again_soon(&task) };
        self.earliest = self.earliest.min(until);
        match task.kind {
            Kind::Read => parked.read = Some(Waiting { task, until }),
            _ => parked.write = Some(Waiting { task, until }),
        }
        self.arm(task.fd);
        if self.patience > PATIENCE || self.parked.len() == 1 {
            self.look_in(PATIENCE);
        }
    }

    /// Without memory to wait with: there is hardly any for a thread either.
    fn try_again_soon(&mut self, task: &Task) {
        let mut table = self.engine.lock();
        if table.order.is_current(task.id, task.seq) {
            table.order.send_to_poller(task.id);
        }
        drop(table);
        self.short_of_memory = true;
    }

    /// Without a thread to wait: until `hand_over`.
    fn put_aside(&mut self, task: Task) {
        let waiting = Some(Waiting { task, until: NEVER });
        match self.parked.entry(task.fd) {
            Some(parked) if task.kind == Kind::Read => parked.read = waiting,
            Some(parked) => parked.write = waiting,
            // No memory.
            None => complete::finish_stream(self.engine, &task, so_far(task.progress, Errno::AGAIN)),
        }
    }

    fn arm(&mut self, fd: i32) {
        let parked = self.parked.get(fd).copied().unwrap_or_default();
        if self.engine.poller.arm(fd, parked.read.is_some(), parked.write.is_some()).is_ok() {
            return;
        }
        // It cannot be waited for (or no memory): better a thread that is blocked than a request that never ends.
        self.parked.remove(fd);
        self.send_all_to_threads(parked);
    }

    fn send_all_to_threads(&self, parked: Parked) {
        for Waiting { task, .. } in [parked.read, parked.write].into_iter().flatten() {
            let table = self.engine.lock();
            if table.order.is_current(task.id, task.seq) {
                self.send_to_thread(table, &task);
            }
        }
    }

    /// None: its descriptor is being closed, and it has ended.
    fn unless_abandoned(&self, task: &Task) -> Option<Locked> {
        let table = self.engine.lock();
        if !table.order.payload(task.id).abandoned {
            return Some(table);
        }
        drop(table);
        complete::finish_stream(self.engine, task, so_far(task.progress, Errno::CANCELED));
        None
    }

    fn send_to_thread(&self, mut table: Locked, task: &Task) {
        table.order.send_to_worker(task.id);
        Wakeups::collect(&mut table).send_after(table, self.engine);
    }
}

/// When a request that has to wait, or would have since, is out of time.
fn until(task: &Task, cause: Cause, since: Nanos) -> Nanos {
    match cause {
        Cause::Waited { until, .. } => until,
        Cause::New if task.fd_kind != FdKind::Socket => NEVER,
        Cause::New => {
            let patience = io::patience(task.fd, task.kind != Kind::Read);
            patience.map_or(NEVER, |patience| since.saturating_add(patience))
        }
    }
}
