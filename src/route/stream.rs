//! Streams: pipes, sockets, terminals. One worker takes the role of the poller, which tries the request at the head of each
//! queue and, when it would have to wait, waits for all of them together. However many wait, it is one thread.
//!
//! What waits stands twice: in the table, where a read can be cancelled, and in the poller's own map, by descriptor. A
//! request that the poller takes up again is looked up in the table first.

use std::sync::atomic::Ordering;

use crate::complete;
use crate::engine::{Engine, Locked};
use crate::errno::{Errno, Result};
use crate::files::PollerState;
use crate::order::{Kind, NO_NUMBER};
use crate::request::Buffer;
use crate::route::fd_map::FdMap;
use crate::route::number;
use crate::route::worker::{self, HandOuts, Task};
use crate::sys::clock;
use crate::sys::io::{self, Tried};
use crate::sys::poller::{EVENTS, Event};
use crate::sys::thread;

struct Role {
    engine: &'static Engine,
    /// This thread, as the table's `runner`.
    thread: i32,
    parked: FdMap<Parked>,
    /// When to look for descriptors that are gone, and how long that was to take, in milliseconds.
    next_look: clock::Nanos,
    patience: i32,
}

/// Between two looks for descriptors that are gone: at least when something is parked anew, and at most.
const PATIENCE: i32 = 1_000;
const MOST_PATIENCE: i32 = 32_000;

/// The requests that wait for one descriptor.
#[derive(Clone, Copy, Default)]
struct Parked {
    read: Option<Task>,
    write: Option<Task>,
}

/// What becomes of a request that was tried.
enum Step {
    Ended(Result<isize>),
    Wait,
    /// It cannot be told not to wait.
    Worker,
}

/// What the table has for the poller.
enum News {
    Request(Task),
    /// Descriptors got other numbers.
    Moved,
    None,
}

/// Runs the role until no stream has had a request for the idle time.
pub fn run(engine: &'static Engine, thread: i32) {
    thread::set_name(c"aio_rs/poller");
    let mut role = Role { engine, thread, parked: FdMap::new(), next_look: 0, patience: PATIENCE };
    // Without the descriptors, arming fails, and workers do what they can.
    let _ = engine.poller.open();
    loop {
        role.take_news();
        worker::stand_in(engine, thread);
        if role.parked.is_empty() {
            let patience = engine.idle_ms.load(Ordering::Relaxed);
            role.wait(i32::try_from(patience).unwrap_or(i32::MAX));
            if role.parked.is_empty() && end_role(engine) {
                return;
            }
        } else {
            role.wait_and_look();
        }
    }
}

fn end_role(engine: &'static Engine) -> bool {
    let mut table = engine.lock();
    let done = !table.order.has_stream_work() && !table.streams_moved;
    if done {
        table.poller = PollerState::Off;
    }
    done
}

impl Role {
    fn take_news(&mut self) {
        loop {
            match self.news() {
                News::Request(task) => self.attempt(task),
                News::Moved => self.retry_all(),
                News::None => return,
            }
        }
    }

    fn news(&self) -> News {
        let mut table = self.engine.lock();
        if std::mem::take(&mut table.streams_moved) {
            return News::Moved;
        }
        let Some(run) = table.order.next_stream() else {
            return News::None;
        };
        table.order.payload_mut(run.id).run_by(self.thread);
        News::Request(table.task(run))
    }

    fn retry_all(&mut self) {
        for place in self.parked.places() {
            let parked = self.parked.remove_at(place).unwrap_or_default();
            self.resume(parked.read);
            self.resume(parked.write);
        }
    }

    fn wait(&mut self, milliseconds: i32) {
        let mut events = [None; EVENTS];
        let mut places = events.iter_mut();
        // There are no more at a time.
        self.engine.poller.wait(milliseconds, |event| {
            if let Some(place) = places.next() {
                *place = Some(event);
            }
        });
        for event in events.into_iter().flatten() {
            self.ready(event);
        }
    }

    /// The kernel does not report a descriptor that was closed behind the library's back: it is looked for now and then.
    fn wait_and_look(&mut self) {
        self.wait(self.patience);
        if clock::now() < self.next_look {
            return;
        }
        for (fd, parked) in self.parked.places().filter_map(|place| self.parked.at(place)) {
            let Some(task) = parked.read.or(parked.write).filter(|task| !number::is_still(fd, task.identity)) else {
                continue;
            };
            let mut table = self.engine.lock();
            if table.order.is_current(task.id, task.seq) && table.order.fd(task.id) == fd {
                table.lose(fd);
            }
        }
        self.look_in((self.patience * 2).min(MOST_PATIENCE));
    }

    fn look_in(&mut self, milliseconds: i32) {
        self.patience = milliseconds;
        let time = clock::MILLISECOND.saturating_mul(u64::try_from(milliseconds).unwrap_or(0));
        self.next_look = clock::now().saturating_add(time);
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
        self.resume(read);
        self.resume(write);
    }

    /// Tries a parked request again, if it has not been cancelled.
    fn resume(&mut self, task: Option<Task>) {
        let Some(task) = task else { return };
        let mut table = self.engine.lock();
        if !table.order.is_current(task.id, task.seq) {
            return;
        }
        let run = table.order.unpark(task.id);
        table.order.payload_mut(task.id).run_by(self.thread);
        let task = table.task(run);
        drop(table);
        self.attempt(task);
    }

    /// Transfers what can be transferred without waiting; then the request has ended, or is parked.
    fn attempt(&mut self, task: Task) {
        let confirmed = number::confirm(self.engine, &task);
        let step = confirmed.map_or_else(
            |error| Step::Ended(Err(error)),
            |fd| {
                let mut task = task;
                task.fd = fd;
                self.engine.reception.entered.mark(task.id, task.seq, clock::now());
                if task.kind == Kind::Read { self.read(&task) } else { self.write(&task) }
            },
        );
        match step {
            Step::Ended(result) => complete::finish_stream(self.engine, &task, result),
            Step::Wait => self.park(task),
            Step::Worker => {
                if let Some(table) = self.unless_abandoned(&task) {
                    self.send_to_worker(table, &task);
                }
            }
        }
    }

    fn read(&self, task: &Task) -> Step {
        match io::try_read(task.fd, task.nature, task.buffer.0, task.count) {
            Tried::Ended(result) => Step::Ended(result),
            Tried::Nothing if task.nonblocking => Step::Ended(Err(Errno::AGAIN)),
            Tried::Nothing => Step::Wait,
            Tried::Readable => Step::Worker,
        }
    }

    /// A write to a blocking stream has ended when all is written, whatever number of steps that takes.
    fn write(&self, task: &Task) -> Step {
        let mut fd = task.fd;
        let mut out = task.progress.min(task.count);
        let mut left = task.count - out;
        loop {
            let step = io::try_write(fd, task.nature, at(task.buffer, out), left);
            match step {
                Err(Errno::AGAIN) if task.nonblocking && out > 0 => return Step::Ended(total(out)),
                Err(Errno::AGAIN) if !task.nonblocking => {
                    self.keep_progress(task, out);
                    return Step::Wait;
                }
                // What is out is out: as write does, report that, and let the next request find the error.
                Err(_) if out > 0 => return Step::Ended(total(out)),
                Err(error) => return Step::Ended(Err(error)),
                Ok(count) => {
                    let count = usize::try_from(count).unwrap_or(0).min(left);
                    (out, left) = (out + count, left - count);
                    if left == 0 || count == 0 {
                        return Step::Ended(total(out));
                    }
                    fd = number_for_next_step(self.engine, task, self.thread);
                }
            }
        }
    }

    fn keep_progress(&self, task: &Task, out: usize) {
        self.engine.lock().order.payload_mut(task.id).progress = u64::try_from(out).unwrap_or(0);
    }

    fn park(&mut self, task: Task) {
        let Some(mut table) = self.unless_abandoned(&task) else { return };
        // Nobody is inside a system call for it now (see `close`).
        table.order.payload_mut(task.id).runner = 0;
        // A write at the head of its stream is not cancellable: part of it may be out.
        if task.kind == Kind::Read {
            table.order.park(task.id);
        }
        drop(table);
        let Some(parked) = self.parked.entry(task.fd) else {
            // No memory: better a worker that blocks than a request that never ends.
            let table = self.engine.lock();
            if table.order.is_current(task.id, task.seq) {
                self.send_to_worker(table, &task);
            }
            return;
        };
        match task.kind {
            Kind::Read => parked.read = Some(task),
            _ => parked.write = Some(task),
        }
        self.arm(task.fd);
        if self.patience > PATIENCE || self.parked.len() == 1 {
            self.look_in(PATIENCE);
        }
    }

    fn arm(&mut self, fd: i32) {
        let parked = self.parked.get(fd).copied().unwrap_or_default();
        if self.engine.poller.arm(fd, parked.read.is_some(), parked.write.is_some()).is_ok() {
            return;
        }
        // It cannot be waited for (or no memory): better a worker that blocks than a request that never ends.
        self.parked.remove(fd);
        for task in [parked.read, parked.write].into_iter().flatten() {
            let table = self.engine.lock();
            if table.order.is_current(task.id, task.seq) {
                self.send_to_worker(table, &task);
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
        complete::finish_stream(self.engine, task, Err(Errno::CANCELED));
        None
    }

    fn send_to_worker(&self, mut table: Locked, task: &Task) {
        table.order.send_to_worker(task.id);
        HandOuts::prepare(&mut table).send_after(table, self.engine);
    }
}

/// A blocking write of all that is left, by a worker. An empty one is made, too: it may be a datagram.
pub fn write_all(engine: &'static Engine, task: &Task, thread: i32) -> Result<isize> {
    let mut fd = task.fd;
    let mut out = task.progress.min(task.count);
    loop {
        match io::write(fd, at(task.buffer, out), task.count - out) {
            Ok(count) if count > 0 => out += usize::try_from(count).unwrap_or(0),
            Err(error) if out == 0 => return Err(error),
            _ => return total(out),
        }
        if out >= task.count {
            return total(out);
        }
        fd = number_for_next_step(engine, task, thread);
    }
}

/// `close` may have given the number away while the last step slept.
fn number_for_next_step(engine: &'static Engine, task: &Task, thread: i32) -> i32 {
    let mut table = engine.lock();
    table.order.payload_mut(task.id).run_by(thread);
    let fd = table.order.fd(task.id);
    drop(table);
    if number::is_still(fd, task.identity) { fd } else { NO_NUMBER }
}

fn at(buffer: Buffer, offset: usize) -> *mut libc::c_void {
    buffer.0.wrapping_byte_add(offset)
}

fn total(bytes: usize) -> Result<isize> {
    Ok(isize::try_from(bytes).unwrap_or(isize::MAX))
}
