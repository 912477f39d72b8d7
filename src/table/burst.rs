//! Several quick reads, or writes, that a worker takes in one lock section, runs one after another, and ends in one.
//!
//! That must hold up nobody for long. A worker that meets a slow one starts no further one of the burst; and the watch breaks
//! up the burst of a worker that does not get on: what is done ends, and what has not been started goes to others. `next`
//! says who has a transfer: the worker starts one by a compare-and-swap, the watch takes away the rest by a swap.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};

use crate::errno::{Errno, Result};
use crate::sys::clock::Nanos;
use crate::table::pace::Pace;
use crate::table::{Ended, Table};
use crate::threads::worker::{Seat, Task};

/// Transfers in a burst at most. Measured (2 processors, depth 32, cached reads of 4 KiB): bursts of 4 take 0.92 of the
/// processor time of single reads, and go at 1.1 times their rate; 8 are not better.
pub const MOST: usize = 4;

/// One in so many of those that are ready goes along: who waits for one of few wants it soon (depth 8: 1.02 of glibc's rate;
/// with as many as there are 0.97, with none 0.91).
const SHARE: usize = 4;

/// What a worker has taken.
pub struct Burst {
    /// The transfer to be started next, or `TAKEN_AWAY`.
    next: AtomicUsize,
    /// How many there are, and how many of them have ended. Under the table's lock.
    total: AtomicUsize,
    ended: AtomicUsize,
    transfers: [Transfer; MOST],
}

pub struct Transfer {
    /// Written under the table's lock before `next` is opened, and from then on only read.
    task: UnsafeCell<MaybeUninit<Task>>,
    /// As the kernel puts it: bytes, or the error as a negative number.
    result: AtomicIsize,
    /// How long it took, or `SAYS_NOTHING`.
    time: AtomicU64,
}

// SAFETY: see `Transfer::task`; the rest are atomics.
unsafe impl Sync for Burst {}

const TAKEN_AWAY: usize = usize::MAX;
const UNSEEN: usize = usize::MAX - 1;
const SAYS_NOTHING: Nanos = Nanos::MAX;

pub const NONE: [Option<Ended>; MOST] = [const { None }; MOST];

/// Instead of a thread: whoever has the burst, and may not have started this one of it.
const SOMEBODY: i32 = -2;

impl Burst {
    pub const fn new() -> Burst {
        Burst {
            next: AtomicUsize::new(TAKEN_AWAY),
            total: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            transfers: [const { Transfer::new() }; MOST],
        }
    }

    /// For the worker, which starts them in turn. None: there is no further one, or it was taken away.
    pub fn start(&self, index: usize) -> Option<&Transfer> {
        if index >= self.total.load(Ordering::Relaxed) {
            return None;
        }
        // Release: hands over the result of the one before. Acquire: this one's task.
        self.next.compare_exchange(index, index + 1, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        self.transfers.get(index)
    }

    /// How many were started; no further one will be.
    fn take_away(&self) -> usize {
        // Acquire: pairs with `start`.
        self.next.swap(TAKEN_AWAY, Ordering::AcqRel)
    }
}

impl Transfer {
    const fn new() -> Transfer {
        Transfer {
            task: UnsafeCell::new(MaybeUninit::uninit()),
            result: AtomicIsize::new(0),
            time: AtomicU64::new(SAYS_NOTHING),
        }
    }

    pub fn task(&self) -> Task {
        // SAFETY: whoever finds it has found `next` open, or taken it away, after it was written.
        unsafe { (*self.task.get()).assume_init() }
    }

    /// `time`: if it says something about others.
    pub fn done(&self, result: Result<isize>, time: Option<Nanos>) {
        let result = result.unwrap_or_else(|error| isize::try_from(-error.0).unwrap_or(-1));
        self.result.store(result, Ordering::Relaxed);
        self.time.store(time.unwrap_or(SAYS_NOTHING), Ordering::Relaxed);
    }

    fn result(&self) -> Result<isize> {
        let result = self.result.load(Ordering::Relaxed);
        if result >= 0 { Ok(result) } else { Err(Errno(i32::try_from(-result).unwrap_or(libc::EIO))) }
    }

    fn time(&self) -> Option<Nanos> {
        Some(self.time.load(Ordering::Relaxed)).filter(|time| *time != SAYS_NOTHING)
    }
}

impl Table {
    /// Whether a worker has transfers that it may not have started.
    pub fn has_burst(&self) -> bool {
        self.workers.burst.is_some()
    }

    /// Takes further ones along with one that a worker has taken, if they are there and quick. False: there are none.
    pub fn take_along(&mut self, first: &Task, seat: &'static Seat) -> bool {
        if self.has_burst() || !first.alone || !self.workers.pace.is_quick_class(first.kind, first.unbuffered) {
            return false;
        }
        let (mut total, most) = (0, 1 + self.order.ready_count() / SHARE);
        let mut next = Some(*first);
        for transfer in seat.burst.transfers.iter().take(most) {
            let Some(task) = next else { break };
            // SAFETY: nobody looks at it until `next` is opened.
            unsafe { (*transfer.task.get()).write(task) };
            total += 1;
            next = if total < most.min(MOST) { self.next_like(&task) } else { None };
        }
        if total < 2 {
            return false;
        }
        for transfer in seat.burst.transfers.iter().take(total) {
            self.order.payload_mut(transfer.task().id).run_by(SOMEBODY);
        }
        seat.burst.total.store(total, Ordering::Relaxed);
        seat.burst.ended.store(0, Ordering::Relaxed);
        // Release: pairs with `start` and `take_away`.
        seat.burst.next.store(0, Ordering::Release);
        (self.workers.burst, self.workers.burst_seen) = (Some(seat), UNSEEN);
        true
    }

    /// A write that stands in line behind this one, or else what is next, if it is of the same class.
    fn next_like(&mut self, last: &Task) -> Option<Task> {
        let in_line = self.order.next_in_line(last.id);
        let run = in_line.or_else(|| {
            let id = self.order.first_ready()?;
            let unbuffered = self.order.payload(id).unbuffered;
            if Pace::are_alike(last.kind, self.order.kind(id)) && !unbuffered { self.order.next_ready() } else { None }
        })?;
        Some(self.task(run))
    }

    /// For the watch, at each tick: whether a burst is just where it was at the last one. (Other workers may get on.)
    pub fn burst_stands_still(&mut self) -> bool {
        let Some(seat) = self.workers.burst else { return false };
        let next = seat.burst.next.load(Ordering::Relaxed);
        std::mem::replace(&mut self.workers.burst_seen, next) == next
    }

    /// For the watch: the worker does not get on. What it has done ends, and what it has not started is ready again.
    pub fn break_burst(&mut self) -> [Option<Ended>; MOST] {
        let Some(seat) = self.workers.burst.take() else { return NONE };
        let started = seat.burst.take_away();
        if let Some(running) = started.checked_sub(1).and_then(|index| seat.burst.transfers.get(index)) {
            // Not `run_by`: its number may be an old one by now.
            self.order.payload_mut(running.task().id).runner = seat.thread();
        }
        self.give_back(seat, started);
        // The last one that was started runs, or is the worker's to end.
        self.end_transfers(seat, started.saturating_sub(1))
    }

    /// For the worker: ends what it has run of its burst, and gives back the rest.
    pub fn end_burst(&mut self, seat: &'static Seat, run: usize) -> [Option<Ended>; MOST] {
        if self.workers.burst.is_some_and(|other| ptr::eq(other, seat)) {
            self.workers.burst = None;
            self.give_back(seat, run);
        }
        let [first, ..] = &seat.burst.transfers;
        self.workers.burst_left(first.task().kind, seat.thread());
        self.end_transfers(seat, run)
    }

    fn give_back(&mut self, seat: &Seat, started: usize) {
        let total = seat.burst.total.load(Ordering::Relaxed);
        let mut left = seat.burst.transfers.get(..total).unwrap_or(&[]);
        while let [rest @ .., last] = left
            && rest.len() >= started
        {
            let id = last.task().id;
            self.order.payload_mut(id).runner = 0;
            self.order.put_back(id, rest.last().map(|before| before.task().id));
            left = rest;
        }
    }

    /// Ends those before `end` that have not ended yet.
    fn end_transfers(&mut self, seat: &Seat, end: usize) -> [Option<Ended>; MOST] {
        let mut ended = NONE;
        let begin = seat.burst.ended.swap(end, Ordering::Relaxed);
        for (place, transfer) in ended.iter_mut().zip(&seat.burst.transfers).take(end).skip(begin) {
            let task = transfer.task();
            self.workers.pace.one_ended(task.kind, task.unbuffered, transfer.time());
            self.stats.counts.route_worker += 1;
            *place = Some(self.end(task.id, transfer.result()));
        }
        ended
    }
}
