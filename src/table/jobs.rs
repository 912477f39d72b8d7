//! What is to be done next, and by whom: roles first, then requests.

use super::Table;
use super::roles::{PollerState, ReaperState, StarterState};
use crate::order::Run;
use crate::request::Runner;
use crate::sys::clock::Nanos;
use crate::task::Task;
use crate::worker_slot::{Assignment, Job, WorkerSlot};

impl Table {
    pub fn give_one_job(&mut self, chain: bool) -> Option<&'static WorkerSlot> {
        if self.workers.idle_count == 0 {
            return None;
        }
        let job = self.next_job()?;
        let slot = self.workers.pop_idle()?;
        let assignment = self.assign(job, slot);
        slot.mailbox.put(Assignment { chain, ..assignment });
        Some(slot)
    }

    /// A request, if the concurrency limit lets one more worker run; otherwise a watchdog over those that run, if there is none.
    fn next_request_if_due(&mut self) -> Option<Job> {
        let Some(id) = self.order.first_ready() else { return self.watch_write_queue() };
        let (kind, unbuffered) = (self.order.kind(id), self.order.payload(id).unbuffered);
        let due = self.workers.limit.wants_worker(kind, unbuffered, self.order.ready_count());
        if due {
            return self.next_request();
        }
        self.workers.limit.start_watchdog().then_some(Job::Watchdog)
    }

    /// Writes in a write queue are left to the worker that writes, too.
    fn watch_write_queue(&mut self) -> Option<Job> {
        let waits = self.order.ready_count() > 0 && self.workers.limit.is_quick_writing();
        (waits && self.workers.limit.start_watchdog()).then_some(Job::Watchdog)
    }

    /// The most urgent thing to do: roles first, then requests. A worker that has ended one is treated like any other: too
    /// many that once were needed would otherwise go on getting in each other's way.
    pub fn next_job(&mut self) -> Option<Job> {
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
        if self.has_notifications_to_deliver() {
            self.notifications.claimed = true;
            return Some(Job::Deliver);
        }
        let run = self.order.next_blocking()?;
        self.workers.blocking += 1;
        Some(Job::Block(self.task(run)))
    }

    /// The next request, if no more than the maximum run already.
    pub fn next_request(&mut self) -> Option<Job> {
        if self.workers.running >= self.config.threads {
            return None;
        }
        let run = self.order.next_ready()?;
        self.workers.running += 1;
        let mut task = self.task(run);
        task.alone = self.workers.limit.started(task.kind, task.unbuffered);
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
            fd_kind: request.fd_kind,
            asked: request.asked,
            buffer: request.buffer,
            count: request.count,
            progress: usize::try_from(request.progress).unwrap_or(0),
            nonblocking: request.nonblocking,
            unbuffered: request.unbuffered,
            alone: false,
            position: run.position,
            early_error: request.early_error.into(),
        }
    }

    /// Decides on the spare.
    pub fn assign(&mut self, job: Job, slot: &WorkerSlot) -> Assignment {
        match &job {
            Job::Request(task) => self.runs(task, slot.thread()),
            Job::Block(task) => self.run_again(task.id, slot.thread()),
            _ => {}
        }
        let (polls, reaps) = (self.poller == PollerState::On, self.reaper != ReaperState::Off);
        let roles = [polls, reaps, self.notifications.claimed, self.workers.limit.has_watchdog()];
        let roles = roles.into_iter().map(u32::from).sum::<u32>() + self.workers.blocking;
        let mut make_starter = false;
        // One that is on its way will be idle, or take work and see to the next spare.
        let has_spare = self.workers.idle_count + self.workers.coming > 0;
        if !has_spare && self.workers.total <= self.config.threads + roles {
            make_starter = self.starting.state == StarterState::Absent;
            self.want_worker();
        }
        Assignment { job, make_starter, chain: false }
    }

    /// One more, from the starter.
    pub fn want_worker(&mut self) {
        self.thread_starts();
        self.starting.wanted += 1;
    }

    /// Whether a worker has notifications to deliver.
    fn has_notifications_to_deliver(&self) -> bool {
        let absent = self.starting.state == StarterState::Absent;
        !self.notifications.claimed && (!self.notifications.is_empty() || absent && self.notifications.has_functions())
    }

    /// The same, with further transfers if that is worth while.
    pub fn with_batch(&mut self, assignment: Assignment, slot: &'static WorkerSlot) -> Assignment {
        match &assignment.job {
            Job::Request(task) if self.take_along(task, slot) => Assignment { job: Job::Batch, ..assignment },
            _ => assignment,
        }
    }

    /// Something is to be done, and every thread has a role: one of those has to help out (`run_inline`).
    pub fn needs_inline_run(&self) -> bool {
        let others = self.has_notifications_to_deliver() || self.order.has_blocking_work();
        self.workers.idle_count == 0 && self.workers.running == 0 && (others || self.order.ready_count() > 0)
    }

    /// No thread is left that could take what comes next, but those that have a role.
    pub fn all_blocked(&self) -> bool {
        self.workers.blocking > 0 && self.workers.idle_count == 0 && self.workers.running == 0
    }

    /// Notes which thread runs a request. Of a group the other members' numbers are not used yet.
    pub fn runs(&mut self, task: &Task, thread: i32) {
        self.workers.limit.runs_in(task.kind, task.unbuffered, thread);
        self.order.payload_mut(task.id).run_by(Runner::Thread(thread));
    }

    pub fn thread_starts(&mut self) {
        self.workers.total += 1;
        self.workers.coming += 1;
        self.stats.threads(self.workers.total);
    }

    /// A request that was started has run, and has ended. `time`: how long it took, if that says something about others.
    pub fn ran(&mut self, task: &Task, thread: i32, time: Option<Nanos>) {
        self.workers.running -= 1;
        self.workers.limit.ended(task.kind, task.unbuffered, thread, time);
        self.stats.counts.route_worker += 1;
    }
}
