//! The end of a request: its status, its successors, its notification if that is a signal, its waiters, other notifications; in
//! this order.

use crate::dispatch::wakeups::Wakeups;
use crate::dispatch::{confirm_fd, deliver};
use crate::engine::{Engine, Locked};
use crate::order::NO_NUMBER;
use crate::slab::Id;
use crate::sys::errno::Result;
use crate::sys::{io, thread, wait};
use crate::table::notifications::PendingNotification;
use crate::table::{Ended, Table};
use crate::task::Task;

/// To be called before a lock section that ends the request: its status is stored there, and must not be waited for.
pub fn touch(task: &Task) {
    // SAFETY: the request is unfinished, and this thread's to end.
    unsafe { task.handle.block() }.status.touch();
}

/// Ends what a worker has run; of an fsync, each request that it has served, with its own error. The lock section that has
/// ended the last one goes on; `tell` is to be called after it.
pub fn end_task(engine: &'static Engine, task: &Task, result: Result<isize>) -> (Locked, Ended) {
    if !task.kind.is_barrier() {
        touch(task);
        let mut table = engine.lock();
        let ended = table.end(task.id, result);
        return (table, ended);
    }
    let mut id = task.id;
    loop {
        let own_result = result_for(engine, task, id, result);
        let mut table = engine.lock();
        let following = table.order.group_next(id);
        let ended = table.end(id, own_result);
        let Some(following) = following else { return (table, ended) };
        table.stats.counts.fsyncs_coalesced += 1;
        table.stats.counts.route_worker += 1;
        drop(table);
        tell(engine, [Some(ended)], Wakeups::NONE);
        id = following;
    }
}

/// The fsync's result as another descriptor of the file sees it: the kernel reports an error of writing back once to each
/// open file description, so the others have to be asked.
fn result_for(engine: &'static Engine, task: &Task, id: Id, result: Result<isize>) -> Result<isize> {
    let mut table = engine.lock();
    let (fd, handle) = (table.order.fd(id), table.order.payload(id).handle);
    let is_other = fd != task.fd && fd != NO_NUMBER;
    if is_other {
        // `close` waits until it has been used.
        table.run_again(id, thread::current_id());
    }
    drop(table);
    // SAFETY: the request is unfinished, and this thread's to end.
    unsafe { handle.block() }.status.touch();
    if !is_other {
        return result;
    }
    if !confirm_fd::is_still(fd, task.identity) {
        return result;
    }
    result.and_then(|done| io::pending_write_error(fd).map(|()| done))
}

/// Ends a request of the poller.
pub fn finish_stream(engine: &'static Engine, task: &Task, result: Result<isize>) {
    touch(task);
    let mut table = engine.lock();
    table.stats.counts.route_stream += 1;
    let ended = table.end(task.id, result);
    let wakeups = Wakeups::collect(&mut table);
    drop(table);
    tell(engine, [Some(ended)], wakeups);
}

/// Who does what is left to do for a request that has ended, and may take a while.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Mine,
    /// A library thread's that has nothing else to do.
    Others,
}

/// In the lock section that has ended them: leaves to others what may take a while. A signal is sent at once all the same: that
/// takes no longer than to have it sent.
pub fn leave_to_others<const N: usize>(table: &mut Table, ended: &mut [Option<Ended>; N]) {
    for ended in ended.iter_mut().flatten() {
        let now = if is_signal(ended) { ended.notification } else { PendingNotification::NONE };
        let later = if is_signal(ended) { PendingNotification::NONE } else { ended.notification };
        ended.notification = PendingNotification { retired: ended.retired.take(), ..later };
        table.add_pending_of(ended);
        ended.notification = now;
    }
}

/// What is left to do for ended requests without the lock: tells waiters and the program, and sends the wake-ups.
pub fn tell<const N: usize>(engine: &'static Engine, mut ended: [Option<Ended>; N], wakeups: Wakeups) {
    ended.iter_mut().flatten().for_each(|ended| signal_and_wake(engine, ended));
    wakeups.send(engine);
    for ended in ended.iter().flatten() {
        if let Some(fd) = ended.retired {
            // Its errors were reported by the requests.
            engine.duplicates.close(fd);
        }
        deliver::tell(engine, ended.notification);
    }
}

fn is_signal(ended: &Ended) -> bool {
    ended.notification.notify.signal().is_some()
}

/// A program may expect that its handler has run when the wait is over: as with glibc, the signal is queued before.
fn signal_and_wake(engine: &'static Engine, ended: &mut Ended) {
    if is_signal(ended) {
        deliver::tell(engine, std::mem::replace(&mut ended.notification, PendingNotification::NONE));
    }
    wake(ended);
}

/// Wakes who waits for a request that ended, or for its list.
pub fn wake(ended: &Ended) {
    wait::wake(ended.word);
    if !ended.list_word.is_null() {
        wait::wake(ended.list_word);
    }
}
