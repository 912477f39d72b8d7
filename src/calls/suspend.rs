//! aio_suspend, and LIO_WAIT's sleep. No lock is taken; a waiter looks at status words and sleeps on their generations.
//!
//! These are cancellation points: no frame here has anything to drop.

use std::slice;

use libc::{c_int, timespec};

use crate::abi::aiocb;
use crate::dispatch::caller_reap::{self, Reaped};
use crate::status::{Seen, Status};
use crate::sys::clock::{self, Nanos};
use crate::sys::errno::{Errno, Result};
use crate::sys::wait::{self, WaitMode};
use crate::threads::threadless;

/// aio_suspend. Errors: EINVAL (n < 0, a bad timeout), EAGAIN (time-out), EINTR.
///
/// # Safety
/// `list` points to `n` pointers, each NULL or to an aiocb; `timeout` is NULL or points to a timespec.
pub unsafe fn suspend(list: *const *const aiocb, n: c_int, timeout: *const timespec) -> Result<()> {
    let n = usize::try_from(n).map_err(|_| Errno::INVAL)?;
    // SAFETY: the caller's promise.
    let deadline = unsafe { deadline(timeout) }?;
    if n == 0 || list.is_null() {
        return if n == 0 { Ok(()) } else { Err(Errno::INVAL) };
    }
    // SAFETY: the caller's promise.
    let list = unsafe { slice::from_raw_parts(list, n) };
    // SAFETY: the caller's promise; NULL entries are skipped.
    let statuses = list.iter().filter_map(|block| unsafe { block.as_ref() }).map(|block| &block.status);
    if statuses.clone().next().is_none() {
        return Ok(());
    }
    let in_kernel = || statuses.clone().all(Status::is_in_kernel);
    let over_soon = || !statuses.clone().all(Status::is_for_device);
    wait_for(statuses.clone(), deadline, in_kernel, over_soon)
}

/// Waits until one of the requests has ended, be it that its aiocb is in flight again by then. `in_kernel` says whether the
/// kernel's AIO has them all; `over_soon`, whether it may be worth while to look a moment longer before sleeping. Errors: EAGAIN
/// (time-out), EINTR.
pub fn wait_for<'a>(
    statuses: impl Iterator<Item = &'a Status> + Clone,
    deadline: Option<Nanos>,
    in_kernel: impl Fn() -> bool,
    over_soon: impl Fn() -> bool,
) -> Result<()> {
    let Some(seen) = Seen::of(statuses.clone()) else { return Ok(()) };
    let over = || Seen::of(statuses.clone()) != Some(seen);
    let words = statuses.clone().map(Status::address);
    let mut was_standby = false;
    let outcome = loop {
        let until = threadless::help_and_look_again(deadline);
        let sleep = |mode| wait::sleep(words.clone(), seen.of_only_one(), over, until, mode, caller_reap::before_sleep);
        let waited = match if in_kernel() { caller_reap::wait(deadline, &in_kernel, over) } else { Reaped::No } {
            Reaped::ByCaller(waited) => waited,
            Reaped::Standby => {
                was_standby = true;
                sleep(WaitMode::StandsBy)
            }
            Reaped::No => sleep(if over_soon() { WaitMode::Spins } else { WaitMode::Plain }),
        };
        match waited {
            // The aiocb is gone, so its request has ended. (The kernel has looked, not this thread.)
            Err(Errno(libc::EFAULT)) => break Ok(()),
            // A request may have ended together with the time, or with the signal that announces it.
            _ if over() => break Ok(()),
            Ok(()) => {}
            Err(Errno(libc::ETIMEDOUT)) if until != deadline => {}
            Err(error) => break Err(if error == Errno::INTR { Errno::INTR } else { Errno::AGAIN }),
        }
    };
    if was_standby {
        // It may have been promoted, and does not come to reap.
        caller_reap::promote_standby();
    }
    outcome
}

/// The end of a relative timeout; None waits for ever. Error: EINVAL.
///
/// # Safety
/// `timeout` is NULL or points to a timespec.
unsafe fn deadline(timeout: *const timespec) -> Result<Option<Nanos>> {
    // SAFETY: the caller's promise.
    let Some(timeout) = (unsafe { timeout.as_ref() }) else {
        return Ok(None);
    };
    if !(0..1_000_000_000).contains(&timeout.tv_nsec) {
        return Err(Errno::INVAL);
    }
    // Two centuries are for ever.
    const FOR_EVER: i64 = 200 * 366 * 86_400;
    if timeout.tv_sec > FOR_EVER {
        return Ok(None);
    }
    Ok(Some(clock::after(timeout.tv_sec, if timeout.tv_sec < 0 { 0 } else { timeout.tv_nsec })))
}
