//! A worker's role: delivering what could not be delivered at once.

use crate::dispatch::deliver::{self, without_retired};
use crate::engine::Engine;
use crate::notify::DeliveryClasses;
use crate::sys::thread;
use crate::threads::delivery::{deliver_function, is_without_starter};
use crate::threads::run_inline;

/// Delivers all that is pending, however long it takes. What cannot be delivered holds up only what goes the
/// same way.
pub fn deliver_pending(engine: &'static Engine, thread: i32) {
    loop {
        let mut stuck = DeliveryClasses::default();
        let left = engine.lock().notifications.len();
        for _ in 0..left {
            let next = engine.lock().notifications.pop();
            let Some(pending) = next.map(|pending| without_retired(engine, pending)) else { break };
            let class = pending.notify.delivery_class();
            if stuck.has(class) || deliver::deliver(engine, pending).is_err() {
                stuck.add(class);
                engine.lock().keep(pending);
            }
        }
        let mut table = engine.lock();
        let functions = table.notifications.has_functions() && is_without_starter(&table);
        if !functions && table.notifications.is_empty() {
            table.notifications.claimed = false;
            return;
        }
        drop(table);
        if functions && !deliver_function(engine) {
            stuck.add(DeliveryClasses::FUNCTION);
        }
        if !stuck.is_empty() {
            run_inline::run_inline(engine, thread);
            thread::sleep_a_millisecond();
        }
    }
}
