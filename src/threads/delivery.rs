//! Delivering what could not be delivered at once.

use crate::dispatch::deliver::{self, without_retired};
use crate::engine::Engine;
use crate::notify::Notify;
use crate::table::Table;
use crate::table::notifications::PendingNotification;
use crate::table::roles::StarterState;
use crate::threads::callbacks;

/// Delivers the next function. False: it can have no thread now.
pub fn deliver_function(engine: &'static Engine) -> bool {
    let next = engine.lock().notifications.pop_function();
    let Some(mut pending) = next.map(|pending| without_retired(engine, pending)) else { return true };
    let done = run_function(engine, pending);
    if !done {
        let mut table = engine.lock();
        if !std::mem::replace(&mut pending.delayed, true) {
            table.stats.counts.notifications_delayed += 1;
        }
        table.notifications.push(pending);
    }
    done
}

fn run_function(engine: &'static Engine, pending: PendingNotification) -> bool {
    let Notify::Function { call, attributes } = pending.notify else {
        return deliver::deliver(engine, pending).is_ok();
    };
    let done = callbacks::run(&engine.callbacks, call, attributes).is_ok();
    if done {
        deliver::delivered(engine, pending);
    }
    done
}

/// Whether functions are left to the workers.
pub fn is_without_starter(table: &Table) -> bool {
    table.starting.state == StarterState::Absent
}

/// Tries once to deliver what is pending, unless some thread has that role.
pub fn try_pending(engine: &'static Engine) {
    let left = engine.lock().notifications.len();
    for _ in 0..left {
        let mut table = engine.lock();
        if table.notifications.claimed {
            return;
        }
        let next = table.notifications.pop();
        let functions = next.is_none() && is_without_starter(&table);
        drop(table);
        let Some(pending) = next.map(|pending| without_retired(engine, pending)) else {
            if functions {
                deliver_function(engine);
            }
            return;
        };
        if deliver::deliver(engine, pending).is_err() {
            engine.lock().keep(pending);
        }
    }
}
