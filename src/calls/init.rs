//! aio_init.

use std::sync::atomic::Ordering;

use crate::abi::aioinit;
use crate::dispatch::wakeups::{wake_poller, wake_reaper};
use crate::engine::{Caller, Engine};
use crate::sys::errno::{Errno, Result};
use crate::table::roles::ReaperState;
use crate::threads::threadless;

/// However many aio_init is told to expect: more than that costs too much time under the lock.
const MOST_EXPECTED: usize = 65_536;

/// glibc's aio_init. Safe in a signal handler, as the other calls are: the locks are held for a moment, with signals blocked, and
/// nothing is allocated or freed but pages.
pub fn init(settings: &aioinit) -> Result<()> {
    let engine = Engine::get()?;
    let caller = Caller::enter(engine).ok_or(Errno::AGAIN)?;
    let mut table = caller.lock();
    table.config.apply(settings);
    let expected = usize::try_from(settings.aio_num).unwrap_or(0).min(MOST_EXPECTED);
    // A hint: without the memory each request asks for its own.
    let _ = table.order.prepare_for(expected);
    let (idle_ms, reaps) = (table.config.idle_ms, table.reaper != ReaperState::Off);
    drop(table);
    engine.idle_ms.store(idle_ms, Ordering::Relaxed);
    engine.callbacks.set_patience(idle_ms);
    rouse(&caller);
    wake_poller(engine);
    if reaps {
        wake_reaper(engine);
    }
    Ok(())
}

/// Has all idle workers look at the configuration again.
fn rouse(caller: &Caller) {
    let table = caller.lock();
    let mut slot = table.workers.idle.first();
    while let Some(idle) = slot {
        idle.call();
        // SAFETY: slots are never freed, and their links are only changed under the lock.
        slot = unsafe { idle.next.load(Ordering::Relaxed).as_ref() };
    }
    threadless::unlock_and_wake(caller, table);
}
