//! Takes results of the kernel's AIO and ends their requests.

use crate::dispatch::complete::{self, Rest};
use crate::dispatch::wakeups::Wakeups;
use crate::engine::Engine;
use crate::sys::kaio::Event;

/// Results that are taken at a time.
pub const RESULTS: usize = 16;

/// Takes what results there are in a ring that is ours. False: none.
pub fn take_results(engine: &'static Engine, rest: Rest) -> bool {
    if !engine.kernel.has_results() {
        return false;
    }
    // Under the table's lock. Not until there are none: what ends here may call the reaper by putting one in.
    while complete_all(engine, rest, |events| engine.kernel.take(events)) == RESULTS {}
    true
}

/// Ends the requests of the results that `results` stores, under the lock. Returns how many there were.
pub fn complete_all(
    engine: &'static Engine,
    rest: Rest,
    results: impl FnOnce(&mut [Event; RESULTS]) -> usize,
) -> usize {
    let mut events = [Event::NONE; RESULTS];
    let mut ended = [const { None }; RESULTS];
    let mut table = engine.lock();
    let got = results(&mut events);
    for (place, event) in ended.iter_mut().zip(events.iter().take(got)) {
        *place = table.kernel_is_through(event);
    }
    if rest == Rest::Others {
        complete::leave_to_others(&mut table, &mut ended);
    }
    let wakeups = Wakeups::collect(&mut table);
    drop(table);
    complete::tell(engine, ended, wakeups);
    got
}
