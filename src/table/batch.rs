//! Bursts, as the table's lock protects them.

use std::ptr;
use std::sync::atomic::Ordering;

use super::limit::ConcurrencyLimit;
use super::{Ended, Table};
use crate::batch::{MOST, SHARE, UNSEEN};
use crate::request::Runner;
use crate::task::Task;
use crate::worker_slot::WorkerSlot;

pub const NONE: [Option<Ended>; MOST] = [const { None }; MOST];

impl Table {
    /// Whether a worker has transfers that it may not have started.
    pub fn has_batch(&self) -> bool {
        self.workers.batch.is_some()
    }

    /// Takes further ones along with one that a worker has taken, if they are there and quick. False: there are none.
    pub fn take_along(&mut self, first: &Task, slot: &'static WorkerSlot) -> bool {
        if self.has_batch() || !first.alone || !self.workers.limit.is_quick_class(first.kind, first.unbuffered) {
            return false;
        }
        let (mut total, most) = (0, 1 + self.order.ready_count() / SHARE);
        let mut next = Some(*first);
        for transfer in slot.batch.transfers.iter().take(most) {
            let Some(task) = next else { break };
            // SAFETY: nobody looks at it until `next` is opened.
            unsafe { (*transfer.task.get()).write(task) };
            total += 1;
            next = if total < most.min(MOST) { self.next_like(&task) } else { None };
        }
        if total < 2 {
            return false;
        }
        for transfer in slot.batch.transfers.iter().take(total) {
            self.order.payload_mut(transfer.task().id).run_by(Runner::Batch);
        }
        slot.batch.total.store(total, Ordering::Relaxed);
        slot.batch.ended.store(0, Ordering::Relaxed);
        // Release: pairs with `start` and `take_away`.
        slot.batch.next.store(0, Ordering::Release);
        (self.workers.batch, self.workers.batch_seen) = (Some(slot), UNSEEN);
        true
    }

    /// A write that stands in line behind this one, or else what is next, if it is of the same class.
    fn next_like(&mut self, last: &Task) -> Option<Task> {
        let in_line = self.order.next_queued_write(last.id);
        let run = in_line.or_else(|| {
            let id = self.order.first_ready()?;
            let unbuffered = self.order.payload(id).unbuffered;
            if ConcurrencyLimit::are_alike(last.kind, self.order.kind(id)) && !unbuffered {
                self.order.next_ready()
            } else {
                None
            }
        })?;
        Some(self.task(run))
    }

    /// For the watchdog, at each tick: whether a batch has not advanced since the last one. (Other workers may have.)
    pub fn batch_stands_still(&mut self) -> bool {
        let Some(slot) = self.workers.batch else { return false };
        let next = slot.batch.next.load(Ordering::Relaxed);
        std::mem::replace(&mut self.workers.batch_seen, next) == next
    }

    /// For the watchdog: the worker makes no progress. What it has done ends, and what it has not started is ready again.
    pub fn break_batch(&mut self) -> [Option<Ended>; MOST] {
        let Some(slot) = self.workers.batch.take() else { return NONE };
        let started = slot.batch.take_away();
        if let Some(running) = started.checked_sub(1).and_then(|index| slot.batch.transfers.get(index)) {
            // Not `run_by`: its number may be an old one by now.
            self.order.payload_mut(running.task().id).runner = Runner::Thread(slot.thread());
        }
        self.give_back(slot, started);
        // The last one that was started runs, or is the worker's to end.
        self.end_transfers(slot, started.saturating_sub(1))
    }

    /// For the worker: ends what it has run of its batch, and gives back the rest.
    pub fn end_batch(&mut self, slot: &'static WorkerSlot, run: usize) -> [Option<Ended>; MOST] {
        if self.workers.batch.is_some_and(|other| ptr::eq(other, slot)) {
            self.workers.batch = None;
            self.give_back(slot, run);
        }
        let [first, ..] = &slot.batch.transfers;
        self.workers.batch_left(first.task().kind, slot.thread());
        self.end_transfers(slot, run)
    }

    fn give_back(&mut self, slot: &WorkerSlot, started: usize) {
        let total = slot.batch.total.load(Ordering::Relaxed);
        let mut left = slot.batch.transfers.get(..total).unwrap_or(&[]);
        while let [rest @ .., last] = left
            && rest.len() >= started
        {
            let id = last.task().id;
            self.order.payload_mut(id).runner = Runner::Nobody;
            self.order.put_back(id, rest.last().map(|before| before.task().id));
            left = rest;
        }
    }

    /// Ends those before `end` that have not ended yet.
    fn end_transfers(&mut self, slot: &WorkerSlot, end: usize) -> [Option<Ended>; MOST] {
        let mut ended = NONE;
        let begin = slot.batch.ended.swap(end, Ordering::Relaxed);
        for (place, transfer) in ended.iter_mut().zip(&slot.batch.transfers).take(end).skip(begin) {
            let task = transfer.task();
            self.workers.limit.one_ended(task.kind, task.unbuffered, transfer.time());
            self.stats.counts.route_worker += 1;
            *place = Some(self.end(task.id, transfer.result()));
        }
        ended
    }
}
