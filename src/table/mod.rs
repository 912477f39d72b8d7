//! The table: everything that the one lock protects.
//!
//! Lock order: the table's lock is the innermost. Nobody who holds it takes another, allocates, signals, calls back or does I/O. A
//! caller's thread holds it with all signals blocked, for a handler may submit; library threads have theirs blocked for good. It is
//! held for a short time, whatever the number of requests; but aio_cancel of a whole descriptor, and the end of a request for which
//! very many others wait, take time for each of them.
//!
//! * This file: which requests there are, from admission to the end.
//! * `jobs`: what is to be done next, and by whom. [`pool`]: the workers. [`limit`]: how many of them at a time. [`batch`]: several
//!   transfers for one worker.
//! * [`roles`], `reaper`, `starting`: threads with a role. [`in_kernel`]: what the kernel's AIO has.
//! * [`list_calls`], `list_members`: lio_listio. [`notifications`]: what is due and not delivered yet.

pub mod batch;
pub mod in_kernel;
mod jobs;
pub mod limit;
pub mod list_calls;
mod list_members;
pub mod notifications;
pub mod pool;
mod reaper;
pub mod roles;
mod starting;

use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{Config, MOST_THREADS};
use crate::lock_free::LockFree;
use crate::lock_free::submission_queue::{self, Consumer, Emptied};
use crate::notify::Notify;
use crate::order::{Admission, Finished, Kind, Order, State, Target};
use crate::request::{self, Request, Runner};
use crate::slab::{Id, Index, NONE, Slab, corrupt};
use crate::stats::Stats;
use crate::sys::errno::{Errno, Result};
use crate::sys::{park, tools};
use list_calls::ListCall;
use notifications::{Notifications, PendingNotification};
use pool::Workers;
use roles::{PollerState, ReaperState, Starting};

/// Number of unfinished requests, for those who ask without the lock.
static UNFINISHED: AtomicUsize = AtomicUsize::new(0);

/// Whether a call that has nothing to do with AIO needs to look at the table at all.
pub fn unfinished() -> usize {
    // Acquire: whoever finds nothing unfinished finds nothing `known` either.
    UNFINISHED.load(Ordering::Acquire)
}

/// In a child: what its parent has unfinished does not count there.
pub fn forget_parent() {
    UNFINISHED.store(0, Ordering::Release);
}

pub struct Table {
    pub config: Config,
    pub order: Order<Request>,
    /// Unfinished requests by the address of their aiocb.
    by_aiocb: Index,
    pub list_calls: Slab<ListCall>,
    pub notifications: Notifications,
    pub workers: Workers,
    pub starting: Starting,
    pub poller: PollerState,
    /// How often the poller's thread was replaced by another.
    pub poller_turn: u32,
    pub reaper: ReaperState,
    /// Requests that the kernel's AIO has and whose end is announced by a signal or a thread.
    pub announced_in_kernel: u32,
    /// Descriptors of streams were closed: the poller has to look at the numbers anew.
    pub streams_moved: bool,
    /// A descriptor of the library's own that a cancelled request left behind.
    pub retired: Option<i32>,
    pub stats: Stats,
    pub lock_free: &'static LockFree,
    /// Slots of the submission queue whose requests are in the table, while there is no room there for as many again.
    emptied: Emptied,
}

/// What has to be done for a request that ended, once the lock is released.
pub struct Ended {
    /// The word that waiters sleep on: an address, the aiocb may be gone.
    pub word: *const u32,
    /// The same of a list that ended with it.
    pub list_word: *const u32,
    pub notification: PendingNotification,
    /// A descriptor of the library's own that is no longer needed.
    pub retired: Option<i32>,
}

impl Table {
    pub fn new(config: Config, lock_free: &'static LockFree) -> Table {
        Table {
            config,
            order: Order::new(config.order, config.routes.stream),
            by_aiocb: Index::new(),
            list_calls: Slab::new(),
            notifications: Notifications::new(),
            workers: Workers::new(),
            starting: Starting::new(),
            poller: PollerState::Off,
            poller_turn: 0,
            reaper: ReaperState::Off,
            announced_in_kernel: 0,
            streams_moved: false,
            retired: None,
            stats: Stats::new(),
            lock_free,
            emptied: Emptied::default(),
        }
    }

    /// Takes in a request, of a list or of none; from here on it will end. Errors: EINVAL (the aiocb is in flight), EAGAIN
    /// (no memory).
    pub fn admit(&mut self, new: &Admission<Request>, list_call: Id) -> Result<Id> {
        self.admit_unclaimed(new, list_call).inspect_err(|_| self.lock_free.refuse(new))
    }

    fn admit_unclaimed(&mut self, new: &Admission<Request>, list_call: Id) -> Result<Id> {
        self.make_room(1).map_err(|_| Errno::AGAIN)?;
        let key = new.payload.handle.key();
        let LockFree { in_flight, submissions, .. } = self.lock_free;
        // A thread that serves the same aiocb, or is pushing it, was first.
        let others = in_flight.add(key);
        let too_late = others.serve(key) || others.any() && submissions.holds(key);
        let admitted = if too_late { Err(Errno::INVAL) } else { self.admit_claimed(new, list_call) };
        let id = admitted.inspect_err(|_| in_flight.end(key))?;
        // SAFETY: the caller has just handed the aiocb in.
        unsafe { new.payload.handle.block() }.status.begin(request::waits_for_device(new));
        Ok(id)
    }

    /// The same for a request that is in the in-flight set already; its status is the caller's to open.
    fn admit_claimed(&mut self, new: &Admission<Request>, list_call: Id) -> Result<Id> {
        let handle = new.payload.handle;
        if self.find(handle.key()).is_some() {
            return Err(Errno::INVAL);
        }
        if self.order.is_replaced(new) {
            self.lose(new.fd);
        }
        let id = self.order.admit(new).map_err(|_| Errno::AGAIN)?;
        self.by_aiocb.insert(handle.key(), id);
        self.order.payload_mut(id).list_call = list_call;
        self.stats.counts.barriers_waited += u64::from(new.kind.is_barrier() && self.order.state(id) == State::Waiting);
        if let Target::File(key) = new.target
            && new.payload.early_error == 0
            && self.order.is_only_one(id)
        {
            self.lock_free.fd_cache.identity.remember(new.fd, key);
        }
        self.stats.admitted(new.kind, self.order.len());
        UNFINISHED.store(self.order.len(), Ordering::Release);
        Ok(id)
    }

    /// Room for `count` more requests beside all that the submission queue can hold: those cannot be refused any more.
    fn make_room(&mut self, count: usize) -> Result<()> {
        let count = count + submission_queue::ROOM;
        self.reserve_notices(count)?;
        let order = &self.order;
        self.by_aiocb.reserve(count, |id| order.payload(id).handle.key())?;
        self.order.make_room(count)
    }

    /// Room for the notifications of all that is unfinished, of `count` requests more, and of those that library threads
    /// have in hand and may bring back: so that none is ever lost for lack of memory.
    fn reserve_notices(&mut self, count: usize) -> Result<()> {
        let in_hand = usize::try_from(MOST_THREADS.max(self.workers.total())).unwrap_or(0) + 16;
        self.notifications.reserve(self.order.len() + self.list_calls.len() + count + in_hand)
    }

    /// Room for one more list and its notification.
    pub fn reserve_list_call(&mut self) -> Result<()> {
        self.list_calls.reserve(1)?;
        self.reserve_notices(submission_queue::ROOM + 1)
    }

    /// Leaves the notification of what was never among the requests to a library thread. Error: ENOMEM.
    pub fn add_pending(&mut self, notify: Notify) -> Result<()> {
        self.reserve_notices(submission_queue::ROOM + 1)?;
        self.keep(PendingNotification { notify, ..PendingNotification::NONE });
        Ok(())
    }

    // ---- the submission queue ----

    /// Takes in what callers have pushed. True: something was there.
    pub fn take_submissions(&mut self) -> bool {
        if !self.drain_submissions() {
            return false;
        }
        // Without room for as many again, callers find the queue full and go through the lock.
        let _ = self.refill_submissions();
        true
    }

    /// The same, but the slots cannot be used again yet.
    fn drain_submissions(&mut self) -> bool {
        let submissions = &self.lock_free.submissions;
        if submissions.is_empty() {
            return false;
        }
        // `close` skips the lock if the queue is empty and UNFINISHED is 0. Raise the counter first, so that no moment shows both
        // while a request moves between them.
        UNFINISHED.store(self.order.len() + 1, Ordering::Release);
        let emptied = submissions.take_out(|new| {
            // There is room (`make_room`), and it is not in flight (`in_flight`): or a request would be lost.
            if self.admit_claimed(new, NONE).is_err() {
                corrupt()
            }
        });
        UNFINISHED.store(self.order.len(), Ordering::Release);
        self.emptied.add(emptied);
        true
    }

    /// Says who takes what is pushed from now on. False: something was in it; it is in the table now.
    pub fn choose_consumer(&mut self) -> bool {
        let consumer = match self.workers.consumer() {
            Consumer::Nobody => Consumer::Nobody,
            _ if !park::CALL_MAY_BE_INTERRUPTED => Consumer::Nobody,
            _ if !self.lock_free.submissions.is_open() && self.refill_submissions().is_err() => Consumer::Nobody,
            consumer => consumer,
        };
        if self.lock_free.submissions.set_consumer(consumer) {
            if !self.emptied.is_empty() {
                let _ = self.refill_submissions();
            }
            return true;
        }
        // Its slots come back when this is settled: so callers who go on putting in cannot make it go on for ever.
        self.drain_submissions();
        false
    }

    /// Lets callers use emptied slots again, if there is room in the table for as many more requests.
    fn refill_submissions(&mut self) -> Result<()> {
        self.make_room(0)?;
        self.lock_free.submissions.give_back(std::mem::take(&mut self.emptied));
        Ok(())
    }

    /// Leaves a notification that could not be delivered to a library thread. (A function waits for its thread: that is no delay.)
    pub fn keep(&mut self, mut pending: PendingNotification) {
        if !pending.notify.is_function() && !std::mem::replace(&mut pending.delayed, true) {
            self.stats.counts.notifications_delayed += 1;
        }
        self.notifications.push(pending);
    }

    /// The unfinished request of the aiocb at this address.
    pub fn find(&self, key: u64) -> Option<Id> {
        self.by_aiocb.find(key, |id| self.order.payload(id).handle.key() == key)
    }

    /// Whether the aiocb belongs to a request, in the table or on its way there.
    pub fn is_in_flight(&self, key: u64) -> bool {
        self.find(key).is_some() || self.lock_free.submissions.holds(key) || self.lock_free.in_flight.is_served(key)
    }

    /// Notes that a thread is about to use the number of a request, which may have been tried before.
    pub fn run_again(&mut self, id: Id, thread: i32) {
        self.lock_free.entered.forget(id, self.order.seq(id));
        self.order.payload_mut(id).run_by(Runner::Thread(thread));
    }

    /// The number will belong to somebody else: the descriptor's requests go to `duplicate`.
    pub fn detach(&mut self, fd: i32, duplicate: i32) {
        self.order.detach(fd, duplicate);
        self.lock_free.fd_cache.identity.forget(fd);
        let mut walk = self.order.walk(duplicate);
        while let Some(id) = walk.as_mut().and_then(|walk| self.order.step(walk)) {
            let running = self.order.state(id) == State::Running;
            self.order.payload_mut(id).on_old_number = running;
        }
    }

    /// The number will belong to somebody else, and there is none for a duplicate.
    pub fn orphan(&mut self, fd: i32) {
        self.order.orphan(fd);
        self.lock_free.fd_cache.identity.forget(fd);
    }

    /// The number stands for another file, or for none: it was closed behind the library's back. What has not been started
    /// finds no descriptor any more, and what waits for a stream is to see that.
    pub fn lose(&mut self, fd: i32) {
        self.orphan(fd);
        self.streams_moved = true;
    }

    /// A request that a caller ended: its notification is left to a library thread.
    pub fn add_pending_of(&mut self, ended: &Ended) {
        if !ended.notification.is_none() {
            self.notifications.push(ended.notification);
        }
    }

    /// Ends a request: out of the table, its status stored, its successors free.
    pub fn end(&mut self, id: Id, result: Result<isize>) -> Ended {
        let kind = self.order.kind(id);
        // A descriptor that turns out not to be open for reading: the request was nobody's on that file.
        let is_stray = self.order.payload(id).flags_assumed && result == Err(Errno::BADF);
        let finished = self.order.finish(id, result.err().filter(|_| !is_stray));
        if kind.is_barrier() {
            self.stats.barrier_ended(request::waited(&finished.payload));
        }
        let covered = Errno(finished.covered_error);
        let result = if covered.0 == 0 { result } else { Err(covered) };
        self.stats.ended(result.err());
        self.publish(id, kind, finished, result)
    }

    /// Cancels a request, unless it runs. Its notification is left to a library thread.
    pub fn cancel(&mut self, id: Id) -> Option<Ended> {
        let kind = self.order.kind(id);
        let finished = self.order.withdraw(id)?;
        self.stats.ended(Some(Errno::CANCELED));
        Some(self.publish(id, kind, finished, Err(Errno::CANCELED)))
    }

    fn publish(&mut self, id: Id, kind: Kind, finished: Finished<Request>, result: Result<isize>) -> Ended {
        let Request { handle, notify, list_call, submitted_on, .. } = finished.payload;
        if matches!(kind, Kind::Write | Kind::Append) {
            // Before its end can be seen: the next read may be served inside the call.
            self.lock_free.fd_cache.paths.write_ends(submitted_on);
        }
        if let Some(fd) = finished.last_of {
            self.lock_free.fd_cache.identity.forget(fd);
        }
        UNFINISHED.store(self.order.len(), Ordering::Release);
        let order = &self.order;
        self.by_aiocb.remove(handle.key(), id, |other| order.payload(other).handle.key());
        // SAFETY: nobody has been told yet that the request ended; the next line does, and is the last to touch it.
        let status = unsafe { &handle.block().status };
        let word = status.address();
        tools::publishes(status);
        match result {
            Ok(count) => status.publish(0, count),
            Err(error) => status.publish(error.0, -1),
        }
        // Not before: until then it may not be handed in again.
        self.lock_free.in_flight.end(handle.key());
        let list_is_owed = list_call != NONE && self.list_calls[list_call].undelivered > 0;
        let mut pending = PendingNotification {
            notify,
            list_call: if list_is_owed { list_call } else { NONE },
            ..PendingNotification::NONE
        };
        if notify.is_function() && !self.config.shared_callbacks {
            // Only the starter makes threads.
            self.notifications.push(std::mem::replace(&mut pending, PendingNotification::NONE));
        }
        let list_word = self.leave_list_call(list_call, result.is_err());
        Ended { word, list_word: list_word.unwrap_or(ptr::null()), notification: pending, retired: finished.retired }
    }
}
