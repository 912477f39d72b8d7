//! close, dup2 and their kin, wrapped: a number that is given up must take no request along to the next file of that number.
//!
//! What has not started goes on with a duplicate of the library's own, so no accepted write is lost. A read that waits on
//! a stream is cancelled (POSIX allows it, and a duplicate would keep the peer from seeing the end). What runs has a hold
//! on its file as soon as its thread is inside the system call: that is waited for (`Entering`), not the transfer.
//!
//! The library's own descriptors look closed to the program: it cannot close them, and when it wants such a number for a
//! descriptor of its own, the library's gets another.

use libc::c_int;
#[cfg(target_os = "linux")]
use libc::c_uint;

use crate::calls::cancel;
use crate::dispatch::wakeups::wake_poller;
use crate::engine::{Caller, Engine};
#[cfg(libaio)]
use crate::libaio::queue;
use crate::order::{Kind, State};
use crate::request::Runner;
use crate::slab::Id;
use crate::sys::clock::Nanos;
use crate::sys::descriptor::FdKind;
use crate::sys::errno::{Errno, Result};
use crate::sys::thread::{self, Pause};
use crate::sys::{clock, descriptor};
use crate::table;
use crate::threads::threadless;

/// close.
pub fn close(fd: c_int) -> Result<c_int> {
    give_up(fd)?;
    descriptor::close(fd)
}

/// dup2.
pub fn dup2(old: c_int, new: c_int) -> Result<c_int> {
    if old != new && descriptor::is_open(old) {
        make_way(new);
        give_up(new)?;
    }
    descriptor::dup2(old, new)
}

/// dup3.
#[cfg(target_os = "linux")]
pub fn dup3(old: c_int, new: c_int, flags: c_int) -> Result<c_int> {
    // Otherwise it fails and closes nothing.
    if old != new && flags & !libc::O_CLOEXEC == 0 && descriptor::is_open(old) {
        make_way(new);
        give_up(new)?;
    }
    descriptor::dup3(old, new, flags)
}

/// fclose.
///
/// # Safety
/// `stream` is an open stream, which the call ends.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub unsafe fn fclose(stream: *mut libc::FILE) -> c_int {
    // SAFETY: the caller's promise.
    give_up_stream(unsafe { libc::fileno(stream) });
    // SAFETY: the caller's promise.
    unsafe { descriptor::fclose(stream) }
}

/// pclose.
///
/// # Safety
/// `stream` is popen's, which the call ends.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub unsafe fn pclose(stream: *mut libc::FILE) -> c_int {
    // SAFETY: the caller's promise.
    give_up_stream(unsafe { libc::fileno(stream) });
    // SAFETY: the caller's promise.
    unsafe { descriptor::pclose(stream) }
}

/// closedir.
///
/// # Safety
/// `directory` is NULL or an open directory stream, which the call ends.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub unsafe fn closedir(directory: *mut libc::DIR) -> c_int {
    // SAFETY: the caller's promise.
    let fd = if directory.is_null() { -1 } else { unsafe { libc::dirfd(directory) } };
    give_up_stream(fd);
    // SAFETY: the caller's promise.
    unsafe { descriptor::closedir(directory) }
}

/// Of a stream that libc is going to close, whatever it stands on; -1: on nothing.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_up_stream(fd: c_int) {
    if fd != -1 {
        let _ = give_up(fd);
    }
}

/// close_range, which leaves out the library's own descriptors.
#[cfg(target_os = "linux")]
pub fn close_range(first: c_uint, last: c_uint, flags: c_uint) -> Result<c_int> {
    if flags != 0 || first > last {
        return descriptor::close_range(first, last, flags);
    }
    #[cfg(libaio)]
    queue::closes_range(first, last);
    let engine = engine_of_process();
    if let Some(engine) = engine {
        engine.lock_free.fd_cache.paths.forget_range(first, last);
        give_up_range(engine, first, last);
    }
    let mut from = first;
    loop {
        // What is made between the look and the call would be closed.
        #[cfg(libaio)]
        let _fixed = queue::fix_descriptors();
        let own = lowest_own(engine, from).filter(|own| *own <= last);
        let end = own.map_or(Some(last), |own| own.checked_sub(1)).filter(|end| *end >= from);
        if let Some(end) = end {
            descriptor::close_range(from, end, 0)?;
        }
        match own {
            Some(own) => from = own + 1,
            None => return Ok(0),
        }
        if from > last {
            return Ok(0);
        }
    }
}

/// closefrom.
#[cfg(target_os = "linux")]
pub fn closefrom(first: c_int) {
    let first = c_uint::try_from(first).unwrap_or(0);
    if close_range(first, c_uint::MAX, 0).is_ok() {
        return;
    }
    for fd in first..descriptor::table_size() {
        let _ = c_int::try_from(fd).map(close);
    }
}

/// The engine, if this process has one of its own: a child of vfork sees its parent's, but has other descriptors.
fn engine_of_process() -> Option<&'static Engine> {
    Engine::current().filter(|engine| engine.process == thread::process_id())
}

#[cfg(target_os = "linux")]
fn give_up_range(engine: &'static Engine, first: c_uint, last: c_uint) {
    let mut next = c_int::try_from(first).ok();
    while let Some(from) = next {
        let found = Caller::enter(engine).and_then(|caller| caller.lock().order.lowest_from(from));
        let Some(fd) = found.filter(|fd| fd.cast_unsigned() <= last) else {
            return;
        };
        let _ = give_up(fd);
        next = fd.checked_add(1);
    }
}

/// The lowest of the library's own descriptors from `first` on.
#[cfg(target_os = "linux")]
fn lowest_own(engine: Option<&'static Engine>, first: c_uint) -> Option<c_uint> {
    let first = c_int::try_from(first).ok()?;
    let caller = engine.and_then(Caller::enter);
    let private = caller.and_then(|caller| caller.lock().order.lowest_private_from(first));
    let polled = engine.and_then(|engine| engine.poller.lowest_own(first));
    #[cfg(libaio)]
    let held = queue::lowest_own(first);
    #[cfg(not(libaio))]
    let held = None;
    let lowest = [private, polled, held].into_iter().flatten().min()?;
    c_uint::try_from(lowest).ok()
}

/// Leaves a number to the program, if it is one of the library's own.
fn make_way(fd: c_int) {
    let Some(engine) = engine_of_process() else { return };
    if engine.poller.owns(fd) {
        engine.poller.make_way(fd);
    }
    let Some(caller) = Caller::enter(engine) else { return };
    if caller.lock().order.is_private(fd) {
        drop(caller);
        move_away(engine, fd);
        engine.duplicates.forget(fd);
    }
}

/// Frees a number of its requests, before it is closed or replaced. Error: EBADF, the descriptor is the library's own.
fn give_up(fd: c_int) -> Result<()> {
    #[cfg(libaio)]
    {
        if queue::owns(fd) {
            return Err(Errno::BADF);
        }
        queue::closes(fd);
    }
    // The usual case: no system call, no lock.
    let Some(engine) = Engine::current() else {
        return Ok(());
    };
    engine.lock_free.fd_cache.paths.forget(fd);
    if engine.lock_free.submissions.is_empty() && table::unfinished() == 0 && !engine.poller.owns(fd) {
        return Ok(());
    }
    let Some(engine) = engine_of_process() else {
        return Ok(());
    };
    if engine.is_locked_by_caller() {
        // What a tool closes there is its own.
        return Ok(());
    }
    let Some(caller) = Caller::enter(engine) else { return Ok(()) };
    let table = caller.lock();
    if engine.poller.owns(fd) || table.order.is_private(fd) {
        return Err(Errno::BADF);
    }
    let concerned = table.order.has_requests(fd);
    drop(table);
    if concerned {
        cancel_waiting_reads(&caller, fd);
        drop(caller);
        move_away(engine, fd);
    }
    Ok(())
}

/// Reads that wait for data on a stream would wait for ever.
fn cancel_waiting_reads(caller: &Caller, fd: c_int) {
    let mut table = caller.lock();
    let Some(mut walk) = table.order.walk(fd) else {
        return;
    };
    while let Some(id) = table.order.step(&mut walk) {
        let of_stream = table.order.payload(id).fd_kind != FdKind::File;
        if of_stream && table.order.kind(id) == Kind::Read && !cancel::try_cancel(&mut table, id) {
            // The poller is trying it right now.
            table.order.payload_mut(id).abandoned = true;
        }
    }
    threadless::unlock_and_wake(caller, table);
}

/// Sends what is left to a duplicate, and waits until nobody can still use the number. Without a free descriptor for the
/// duplicate, what is queued has to start first, and what is written to a stream to end.
fn move_away(engine: &'static Engine, fd: c_int) {
    let mut duplicate = detach(engine, fd);
    let (mut pause, mut entering) = (Pause::new(), Entering::default());
    // Each look blocks the signals anew: a handler may run in between.
    while let Some(user) = user_of_number(engine, duplicate.unwrap_or(fd), duplicate.is_some()) {
        match user {
            User::Running { id, seq, thread } if entering.has_file(engine, id, seq, thread) => {
                let Some(caller) = Caller::enter(engine) else { return };
                let mut table = caller.lock();
                if table.order.is_current(id, seq) {
                    table.order.payload_mut(id).runner = Runner::Nobody;
                }
            }
            User::Running { .. } => pause.once(),
            // Not before: perhaps there is one free descriptor, and it takes one to look at those that run.
            User::Queued => {
                if !threadless::help() {
                    pause.once();
                }
                duplicate = duplicate.or_else(|| detach(engine, fd));
            }
        }
    }
    if duplicate.is_none()
        && let Some(caller) = Caller::enter(engine)
    {
        caller.lock().orphan(fd);
    }
}

/// What `move_away` has seen of a thread that runs a request. The kernel does not say whether a thread is inside a system call;
/// but it takes hold of the file in the first moment. So a thread that has come to the call has its file when it has used the
/// processor for much longer since, or when so much time has passed that it must be asleep: whoever only waits for a processor
/// gets one within that. Of a thread that is not known to have come there (with many requests in flight that is not kept of
/// each) only a long sleep tells: on the way to the call there is nothing to sleep for once the number was confirmed.
#[derive(Default)]
struct Entering {
    id: Id,
    seq: u64,
    known: bool,
    /// The thread's processor time, and when it was seen first.
    used: Option<Nanos>,
    seen: Nanos,
}

impl Entering {
    const RUNS: Nanos = clock::MILLISECOND / 10;
    const SLEEPS: Nanos = 100 * clock::MILLISECOND;
    const SLEEPS_LONG: Nanos = 1_000 * clock::MILLISECOND;

    fn has_file(&mut self, engine: &Engine, id: Id, seq: u64, thread: Option<i32>) -> bool {
        let now = clock::now();
        let entered = engine.lock_free.entered.since(id, seq, now);
        let used = thread.and_then(thread::processor_time);
        let known = entered.is_some();
        let is_same = (self.id, self.seq, self.known) == (id, seq, known);
        if !is_same || !known && self.used != used {
            *self = Entering { id, seq, known, used, seen: now };
        }
        let Some(since) = entered else { return now.saturating_sub(self.seen) >= Entering::SLEEPS_LONG };
        let ran = used.zip(self.used).is_some_and(|(now, before)| now.saturating_sub(before) >= Entering::RUNS);
        ran || since >= Entering::SLEEPS
    }
}

/// Gives the descriptor's requests a duplicate. None: there is no descriptor for it, or it is not needed any more.
fn detach(engine: &'static Engine, fd: c_int) -> Option<c_int> {
    let duplicate = engine.duplicates.make(fd).ok()?;
    let caller = Caller::enter(engine)?;
    let mut table = caller.lock();
    if !table.order.has_requests(fd) {
        drop(table);
        engine.duplicates.close(duplicate);
        return None;
    }
    table.detach(fd, duplicate);
    table.streams_moved = true;
    drop(table);
    wake_poller(engine);
    Some(duplicate)
}

/// Who may still come to use a number.
enum User {
    /// Its thread may not have reached its file yet.
    Running {
        id: Id,
        seq: u64,
        /// Its number, if it is known which thread it is.
        thread: Option<i32>,
    },
    Queued,
}

/// `detached`: what has not been started with the old number uses the duplicate.
fn user_of_number(engine: &'static Engine, number: c_int, detached: bool) -> Option<User> {
    let caller = Caller::enter(engine)?;
    let mut table = caller.lock();
    let mut walk = table.order.walk(number)?;
    let mut queued = None;
    while let Some(id) = table.order.step(&mut walk) {
        let request = table.order.payload(id);
        let (runner, concerned) = (request.runner, !detached || request.on_old_number);
        // It may need the number again: for what is left.
        let has_steps = !detached && (request.fd_kind != FdKind::File || table.order.may_come_back(id));
        match table.order.state(id) {
            State::Running if runner != Runner::Nobody && concerned => {
                let thread = if let Runner::Thread(number) = runner { Some(number) } else { None };
                return Some(User::Running { id, seq: table.order.seq(id), thread });
            }
            State::Running if !has_steps => {}
            _ => queued = (!detached).then_some(User::Queued),
        }
    }
    queued
}
