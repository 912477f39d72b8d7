//! Telling the program that a request or a list has ended: a signal, or a thread that runs a function.
//!
//! Library threads deliver, after the status is stored and outside the table's lock; a caller only for a read that was
//! served inside the call. A function that needs a new thread is left to the starter. What cannot be delivered now (a full
//! signal queue, no more threads) is kept and tried again (see `table::notifications`); it is never dropped.

use std::ffi::c_int;

use crate::callback_pool::Callbacks;
use crate::dispatch::wakeups::Wakeups;
use crate::engine::{Caller, Engine};
use crate::notify::Notify;
use crate::slab::NONE;
use crate::sys::errno::{Errno, Result};
use crate::sys::signals;
use crate::table::notifications::PendingNotification;

/// Delivers, or leaves it to another library thread.
pub fn tell(engine: &'static Engine, pending: PendingNotification) {
    if !pending.is_none() && deliver(engine, pending).is_err() {
        keep(engine, pending);
    }
}

/// Sees to the descriptor, once, before the delivery, which may have to be tried again.
pub fn without_retired(engine: &'static Engine, pending: PendingNotification) -> PendingNotification {
    if let Some(fd) = pending.retired {
        engine.duplicates.close(fd);
    }
    PendingNotification { retired: None, ..pending }
}

/// Delivers a notification, and the list's if it was the last one of it. Error: EAGAIN, nothing was delivered: try again later,
/// or it needs a new thread.
pub fn deliver(engine: &'static Engine, pending: PendingNotification) -> Result<()> {
    send(&pending.notify, &engine.callbacks)?;
    delivered(engine, pending);
    Ok(())
}

/// A notification is out; the list's follows if it was the last one of it.
pub fn delivered(engine: &'static Engine, pending: PendingNotification) {
    let of_list = if pending.list_call == NONE { None } else { engine.lock().member_delivered(pending.list_call) };
    if let Some(notify) = of_list {
        tell(engine, PendingNotification { notify, ..PendingNotification::NONE });
    }
}

/// The signal queue is full, or a thread has to be made: another library thread sees to it.
fn keep(engine: &'static Engine, pending: PendingNotification) {
    let mut table = engine.lock();
    table.keep(pending);
    Wakeups::collect(&mut table).send_after(table, engine);
}

/// Delivers from a library thread. Error: EAGAIN.
fn send(notify: &Notify, callbacks: &'static Callbacks) -> Result<()> {
    let done = match *notify {
        Notify::None => Ok(()),
        Notify::Signal { signo, value } => signals::queue_to_process(c_int::from(signo), value),
        #[cfg(target_os = "linux")]
        Notify::ThreadSignal { signo, thread, value } => signals::queue_to_thread(thread, c_int::from(signo), value),
        Notify::Function { call, attributes } if callbacks.run_by_idle(call, attributes) => Ok(()),
        Notify::Function { .. } => Err(Errno::AGAIN),
    };
    match done {
        Err(Errno::AGAIN) => Err(Errno::AGAIN),
        // A thread that has ended cannot be told; there is nobody else to tell.
        _ => Ok(()),
    }
}

/// Delivers from a call of the program. False: a library thread has to try, and to judge why it cannot be.
pub fn send_from_call(notify: &Notify, engine: &'static Engine) -> bool {
    match *notify {
        Notify::None => true,
        Notify::Signal { signo, value } => signals::queue_to_process(c_int::from(signo), value).is_ok(),
        #[cfg(target_os = "linux")]
        Notify::ThreadSignal { signo, thread, value } => {
            signals::queue_to_thread(thread, c_int::from(signo), value).is_ok()
        }
        Notify::Function { call, attributes } => {
            Caller::enter(engine).is_some_and(|caller| caller.engine.callbacks.run_by_idle(call, attributes))
        }
    }
}
