//! The end of a request: its status, its successors, its notification if that is a signal, its waiters, other notifications; in
//! this order.

use crate::dispatch::number;
use crate::engine::Engine;
use crate::errno::Result;
use crate::notify::{self, By, Ways};
use crate::order::NO_NUMBER;
use crate::slab::{Id, NONE};
use crate::sys::{io, thread, wait};
use crate::table::{Ended, Notice, Table};
use crate::threads::starter::StarterState;
use crate::threads::worker::{self, HandOuts, Handed, Next, Task};

/// To be called before a lock section that ends the request: its status is stored there, and must not be waited for.
pub fn touch(task: &Task) {
    // SAFETY: the request is unfinished, and this thread's to end.
    unsafe { task.handle.block() }.status.touch();
}

/// Ends what a worker has run. `next` finds the worker's next job in the lock section that stores the last status.
pub fn finish_task(
    engine: &'static Engine,
    task: &Task,
    result: Result<isize>,
    next: impl FnOnce(&mut Table) -> Next,
) -> Option<Handed> {
    if task.kind.is_barrier() {
        return finish_group(engine, task, result, next);
    }
    touch(task);
    finish_several(engine, Rest::Mine, |table| [Some(table.end(task.id, result))], next)
}

/// Ends all barriers that one fsync has served, each with its own error.
fn finish_group(
    engine: &'static Engine,
    task: &Task,
    result: Result<isize>,
    next: impl FnOnce(&mut Table) -> Next,
) -> Option<Handed> {
    let mut id = task.id;
    loop {
        let own_result = result_for(engine, task, id, result);
        let mut table = engine.lock();
        let following = table.order.group_next(id);
        let mut ended = table.end(id, own_result);
        let Some(following) = following else {
            let (found, others) = next(&mut table);
            drop(table);
            settle(engine, &mut ended, others);
            return found;
        };
        table.stats.counts.fsyncs_coalesced += 1;
        table.stats.counts.route_worker += 1;
        drop(table);
        settle(engine, &mut ended, HandOuts::NONE);
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
    if !number::is_still(fd, task.identity) {
        return result;
    }
    result.and_then(|done| io::pending_write_error(fd).map(|()| done))
}

/// Ends a request of the poller.
pub fn finish_stream(engine: &'static Engine, task: &Task, result: Result<isize>) {
    touch(task);
    let mut table = engine.lock();
    table.stats.counts.route_stream += 1;
    let mut ended = table.end(task.id, result);
    let others = HandOuts::prepare(&mut table);
    drop(table);
    settle(engine, &mut ended, others);
}

/// Who does what is left to do for a request that has ended, and may take a while.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Mine,
    /// A library thread's that has nothing else to do.
    Others,
}

/// Ends several, or none.
pub fn finish_several<const N: usize>(
    engine: &'static Engine,
    rest: Rest,
    end: impl FnOnce(&mut Table) -> [Option<Ended>; N],
    next: impl FnOnce(&mut Table) -> Next,
) -> Option<Handed> {
    let mut table = engine.lock();
    let mut ended = end(&mut table);
    if rest == Rest::Others {
        ended.iter_mut().flatten().for_each(|ended| leave_to_others(&mut table, ended));
    }
    let (found, others) = next(&mut table);
    drop(table);
    ended.iter_mut().flatten().for_each(|ended| signal_and_wake(engine, ended));
    others.send(engine);
    ended.iter().flatten().for_each(|ended| conclude(engine, ended));
    found
}

/// A signal is sent at once all the same: that takes no longer than to have it sent.
fn leave_to_others(table: &mut Table, ended: &mut Ended) {
    let now = if is_signal(ended) { ended.notice } else { Notice::NONE };
    let later = if is_signal(ended) { Notice::NONE } else { ended.notice };
    ended.notice = Notice { retired: ended.retired.take(), ..later };
    owe(table, ended);
    ended.notice = now;
}

fn is_signal(ended: &Ended) -> bool {
    ended.notice.notify.signal().is_some()
}

/// A program may expect that its handler has run when the wait is over: as with glibc, the signal is queued before.
fn signal_and_wake(engine: &'static Engine, ended: &mut Ended) {
    if is_signal(ended) {
        tell(engine, std::mem::replace(&mut ended.notice, Notice::NONE));
    }
    wake(ended);
}

/// What is left to do for an ended request without the lock.
fn settle(engine: &'static Engine, ended: &mut Ended, others: HandOuts) {
    signal_and_wake(engine, ended);
    others.send(engine);
    conclude(engine, ended);
}

fn conclude(engine: &'static Engine, ended: &Ended) {
    if let Some(fd) = ended.retired {
        // Its errors were reported by the requests.
        engine.duplicates.close(fd);
    }
    tell(engine, ended.notice);
}

fn tell(engine: &'static Engine, notice: Notice) {
    if !notice.is_none() && deliver(engine, notice, By::Other).is_err() {
        keep(engine, notice);
    }
}

/// Wakes who waits for a request that ended, or for its list.
pub fn wake(ended: &Ended) {
    wait::wake(ended.word);
    if !ended.list_word.is_null() {
        wait::wake(ended.list_word);
    }
}

/// Sees to the descriptor, once, before the delivery, which may have to be tried again.
fn without_retired(engine: &'static Engine, notice: Notice) -> Notice {
    if let Some(fd) = notice.retired {
        engine.duplicates.close(fd);
    }
    Notice { retired: None, ..notice }
}

/// Delivers a notification, and the list's if it was the last one of it. Error: EAGAIN, nothing was delivered.
fn deliver(engine: &'static Engine, notice: Notice, by: By) -> Result<()> {
    notify::deliver(&notice.notify, &engine.callbacks, by)?;
    let of_list = if notice.batch == NONE { None } else { engine.lock().member_delivered(notice.batch) };
    if let Some(of_list) = of_list {
        let notice = Notice { notify: of_list, ..Notice::NONE };
        if deliver(engine, notice, by).is_err() {
            keep(engine, notice);
        }
    }
    Ok(())
}

/// The signal queue is full, or a thread has to be made: another library thread sees to it.
fn keep(engine: &'static Engine, notice: Notice) {
    let mut table = engine.lock();
    table.keep(notice);
    let handed = HandOuts::prepare(&mut table);
    drop(table);
    handed.send(engine);
}

/// The starter's part: delivers the next function. False: it can have no thread now.
pub fn deliver_function(engine: &'static Engine) -> bool {
    let next = engine.lock().notices.pop_function();
    let Some(mut notice) = next.map(|notice| without_retired(engine, notice)) else { return true };
    let done = deliver(engine, notice, By::Starter).is_ok();
    if !done {
        let mut table = engine.lock();
        if !std::mem::replace(&mut notice.delayed, true) {
            table.stats.counts.notifications_delayed += 1;
        }
        table.notices.push(notice);
    }
    done
}

/// Whether functions are left to the workers.
fn is_without_starter(table: &Table) -> bool {
    table.starting.state == StarterState::Absent
}

/// Tries once to deliver what is owed, unless some thread has that role.
pub fn try_owed(engine: &'static Engine) {
    let left = engine.lock().notices.len();
    for _ in 0..left {
        let mut table = engine.lock();
        if table.notices.claimed {
            return;
        }
        let next = table.notices.pop();
        let functions = next.is_none() && is_without_starter(&table);
        drop(table);
        let Some(notice) = next.map(|notice| without_retired(engine, notice)) else {
            if functions {
                deliver_function(engine);
            }
            return;
        };
        if deliver(engine, notice, By::Other).is_err() {
            engine.lock().keep(notice);
        }
    }
}

/// A worker's role: delivers all that is owed, however long it takes. What cannot be delivered holds up only what goes the
/// same way.
pub fn deliver_owed(engine: &'static Engine, thread: i32) {
    loop {
        let mut stuck = Ways::default();
        let left = engine.lock().notices.len();
        for _ in 0..left {
            let next = engine.lock().notices.pop();
            let Some(notice) = next.map(|notice| without_retired(engine, notice)) else { break };
            let way = notice.notify.way();
            if stuck.has(way) || deliver(engine, notice, By::Other).is_err() {
                stuck.add(way);
                engine.lock().keep(notice);
            }
        }
        let mut table = engine.lock();
        let functions = table.notices.has_functions() && is_without_starter(&table);
        if !functions && table.notices.is_empty() {
            table.notices.claimed = false;
            return;
        }
        drop(table);
        if functions && !deliver_function(engine) {
            stuck.add(Ways::FUNCTION);
        }
        if !stuck.is_empty() {
            worker::stand_in(engine, thread);
            thread::sleep_a_millisecond();
        }
    }
}

/// A request that a caller ended: its notification is left to a library thread.
pub fn owe(table: &mut Table, ended: &Ended) {
    if !ended.notice.is_none() {
        table.notices.push(ended.notice);
    }
}
