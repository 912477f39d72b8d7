//! A worker's role: delivering what could not be delivered at once.

use crate::dispatch::deliver::{self, without_retired};
use crate::engine::Engine;
use crate::notify::Ways;
use crate::sys::thread;
use crate::threads::delivery::{deliver_function, is_without_starter};
use crate::threads::stand_in;

/// Delivers all that is owed, however long it takes. What cannot be delivered holds up only what goes the
/// same way.
pub fn deliver_owed(engine: &'static Engine, thread: i32) {
    loop {
        let mut stuck = Ways::default();
        let left = engine.lock().notices.len();
        for _ in 0..left {
            let next = engine.lock().notices.pop();
            let Some(notice) = next.map(|notice| without_retired(engine, notice)) else { break };
            let way = notice.notify.way();
            if stuck.has(way) || deliver::deliver(engine, notice).is_err() {
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
            stand_in::stand_in(engine, thread);
            thread::sleep_a_millisecond();
        }
    }
}
