//! Runs a request on a file: the system call itself.

use libc::off_t;

use crate::dispatch::confirm_fd;
use crate::engine::Engine;
use crate::order::Kind;
use crate::request::Runner;
use crate::sys::clock::{self, Nanos};
use crate::sys::descriptor::FdKind;
use crate::sys::errno::{Errno, Result};
use crate::sys::io;
use crate::task::Task;

/// What came of a transfer, and how long it took.
pub struct Ran {
    pub result: Result<isize>,
    pub time: Nanos,
}

/// Runs a request in this thread.
pub fn run(engine: &'static Engine, task: &Task, thread: i32) -> Ran {
    let begin = clock::now();
    let result = perform(engine, task, thread, begin);
    Ran { result, time: clock::now().saturating_sub(begin) }
}

/// The rest of a read, of which the page cache had the beginning.
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
pub fn perform(engine: &'static Engine, task: &Task, thread: i32, now: Nanos) -> Result<isize> {
    if task.early_error != 0 {
        return Err(Errno(task.early_error));
    }
    if task.kind.is_barrier() {
        return sync(engine, task, thread);
    }
    let fd = match task.fd_kind {
        FdKind::File => confirm_fd::confirm_unless_recent(engine, task, now)?,
        _ => confirm_fd::confirm(engine, task)?,
    };
    engine.lock_free.entered.mark(task.id, task.seq, now);
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
        let Ok(fd) = confirm_fd::confirm(engine, &member) else {
            member = next_member(engine, &member, thread).ok_or(Errno::BADF)?;
            continue;
        };
        engine.lock_free.entered.mark(member.id, member.seq, clock::now());
        return if task.kind == Kind::Sync { io::fsync(fd) } else { io::fdatasync(fd) };
    }
}

/// The next of a group, whose number this thread is about to use.
fn next_member(engine: &'static Engine, last: &Task, thread: i32) -> Option<Task> {
    let mut table = engine.lock();
    let id = table.order.group_next(last.id)?;
    table.order.payload_mut(id).run_by(Runner::Thread(thread));
    Some(Task { id, seq: table.order.seq(id), fd: table.order.fd(id), ..*last })
}
