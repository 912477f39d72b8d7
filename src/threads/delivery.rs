//! Delivering what could not be delivered at once.

use crate::dispatch::deliver::{self, without_retired};
use crate::engine::Engine;
use crate::notify::Notify;
use crate::table::Table;
use crate::table::notices::Notice;
use crate::table::starting::StarterState;
use crate::threads::callbacks;

/// Delivers the next function. False: it can have no thread now.
pub fn deliver_function(engine: &'static Engine) -> bool {
    let next = engine.lock().notices.pop_function();
    let Some(mut notice) = next.map(|notice| without_retired(engine, notice)) else { return true };
    let done = run_function(engine, notice);
    if !done {
        let mut table = engine.lock();
        if !std::mem::replace(&mut notice.delayed, true) {
            table.stats.counts.notifications_delayed += 1;
        }
        table.notices.push(notice);
    }
    done
}

fn run_function(engine: &'static Engine, notice: Notice) -> bool {
    let Notify::Function { call, attributes } = notice.notify else { return deliver::deliver(engine, notice).is_ok() };
    let done = callbacks::run(&engine.callbacks, call, attributes).is_ok();
    if done {
        deliver::delivered(engine, notice);
    }
    done
}

/// Whether functions are left to the workers.
pub fn is_without_starter(table: &Table) -> bool {
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
        if deliver::deliver(engine, notice).is_err() {
            engine.lock().keep(notice);
        }
    }
}
