//! Tries whether fsync keeps its promises.

use crate::aio::Request;
use crate::data_file::reopen;
use crate::libaio::AioContext;
use crate::line::Line;
use crate::promise::{Interface, Kept};
use crate::workload::BLOCK;
use std::fs::File;
use std::io::Result;
use std::os::fd::{AsFd, BorrowedFd};

/// Trials of each promise.
const TRIALS: usize = 10;
/// A trial in which all writes had ended before the fsync was submitted proves nothing and is repeated, up to this number.
const MOST_ATTEMPTS: usize = 10 * TRIALS;

/// The descriptor that the sync uses; the writes use the first.
#[derive(Clone, Copy)]
enum Target {
    Same,
    Dup,
    Reopened,
}

struct Promise {
    name: &'static str,
    target: Target,
    what: What,
}

enum What {
    /// aio_fsync with `aio_reqprio` 0, the most urgent, after writes with this one.
    Posix { priority: i32 },
    /// aio_fsync fails if a write before it has failed.
    PosixError,
    /// IO_CMD_FDSYNC, in the context of the writes or in another one (`apart`).
    Libaio { apart: bool },
}

const PROMISES: [Promise; 9] = [
    Promise { name: "after writes on its descriptor", target: Target::Same, what: What::Posix { priority: 0 } },
    Promise { name: "after writes of lower priority", target: Target::Same, what: What::Posix { priority: 10 } },
    Promise { name: "through a dup of the descriptor", target: Target::Dup, what: What::Posix { priority: 0 } },
    Promise { name: "through a second open", target: Target::Reopened, what: What::Posix { priority: 0 } },
    Promise { name: "reports a write that failed", target: Target::Same, what: What::PosixError },
    Promise { name: "after writes of its context", target: Target::Same, what: What::Libaio { apart: false } },
    Promise { name: "after writes of another context", target: Target::Same, what: What::Libaio { apart: true } },
    Promise { name: "through a dup of the descriptor", target: Target::Dup, what: What::Libaio { apart: false } },
    Promise { name: "through a second open", target: Target::Reopened, what: What::Libaio { apart: false } },
];

/// Tries each promise and passes a line on how often it was kept to `say`.
pub fn try_all(say: impl Fn(&Line) -> Result<()>) -> Result<()> {
    for promise in &PROMISES {
        let interface = match promise.what {
            What::Posix { .. } | What::PosixError => Interface::Posix,
            What::Libaio { .. } => Interface::Libaio,
        };
        say(&Line::Promise { interface, name: promise.name.into(), kept: promise.trials()? })?;
    }
    Ok(())
}

impl Promise {
    fn trials(&self) -> Result<Kept> {
        let file = open_direct_if_possible()?;
        let other = match self.target {
            Target::Same => None,
            Target::Dup => Some(file.try_clone()?),
            Target::Reopened => Some(open_direct_if_possible()?),
        };
        let (file, target) = (file.as_fd(), other.as_ref().unwrap_or(&file).as_fd());
        let mut tally = Kept::default();
        for attempt in 0..MOST_ATTEMPTS {
            if attempt == TRIALS && tally.trials == 0 {
                // Not once was anything pending: the library here completes all writes inside the call.
                break;
            }
            let good = match self.what {
                What::Posix { priority } => posix_trial(file, target, priority, false)?,
                What::PosixError => posix_trial(file, target, 0, true)?,
                What::Libaio { apart } => libaio_trial(file, target, apart)?,
            };
            tally += good.map_or(Kept::default(), |good| Kept { kept: usize::from(good), trials: 1 });
            if tally.trials == TRIALS {
                break;
            }
        }
        Ok(tally)
    }
}

/// With direct writes there are no dirty pages, so that an fsync that does not wait for them has nothing to do and ends
/// before them.
fn open_direct_if_possible() -> Result<File> {
    reopen(std::io::stdin(), true, libc::O_DIRECT).or_else(|_| reopen(std::io::stdin(), true, 0))
}

/// Whether the promise was kept. `None` if all writes had ended when `aio_fsync` returned.
fn posix_trial(file: BorrowedFd, target: BorrowedFd, priority: i32, failing_write: bool) -> Result<Option<bool>> {
    const WRITES: usize = 16;
    const SIZE: usize = 256 << 10;
    let mut writes: Vec<_> = (0..WRITES).map(|_| Request::new(SIZE)).collect();
    for (index, write) in writes.iter_mut().enumerate() {
        write.write(file, index * SIZE, priority)?;
    }
    let mut bad = Request::new(BLOCK);
    if failing_write {
        // In the range of the last write, which has to end before this one can start.
        bad.bad_write(file, (WRITES - 1) * SIZE)?;
    }
    let mut sync = Request::new(0);
    sync.fsync(target)?;
    let early = if failing_write { !bad.pending() } else { !writes.iter().any(Request::pending) };
    // Polled, not slept for: to wake up takes longer than a write, and hides what was overtaken.
    while sync.pending() {
        std::thread::yield_now();
    }
    let overtaken = writes.iter().any(Request::pending);
    let outcome = sync.result();
    let good = if failing_write { outcome.is_err() } else { outcome.is_ok() && !overtaken };
    for write in &mut writes {
        write.result()?;
    }
    Ok((!early).then_some(good))
}

/// The same by io_submit. `None` also if the kernel has no AIO, or no more contexts.
fn libaio_trial(file: BorrowedFd, target: BorrowedFd, apart: bool) -> Result<Option<bool>> {
    const WRITES: usize = 32;
    const SIZE: usize = BLOCK;
    let Ok(mut writes) = AioContext::new(WRITES + 1, SIZE) else { return Ok(None) };
    let mut other = None;
    if apart {
        let Ok(context) = AioContext::new(1, 0) else { return Ok(None) };
        other = Some(context);
    }
    for slot in 0..WRITES {
        writes.prepare_write(slot, file, slot * SIZE);
    }
    let submitted = match &mut other {
        Some(other) => {
            other.prepare_sync(0, target);
            writes.submit(WRITES).and_then(|()| other.submit(1))
        }
        None => {
            writes.prepare_sync(WRITES, target);
            writes.submit(WRITES + 1)
        }
    };
    match submitted {
        // A sandbox may forbid it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => return Ok(None),
        submitted => submitted?,
    }
    let mut ended = writes.take(0)?;
    let early = ended.iter().filter(|slot| **slot < WRITES).count();
    let good = match &mut other {
        Some(other) => {
            // Polled, as above.
            while other.take(0)?.is_empty() {}
            ended.extend(writes.take(0)?);
            ended.len() == WRITES
        }
        None => {
            while ended.len() <= WRITES {
                ended.extend(writes.take(1)?);
            }
            ended.last() == Some(&WRITES)
        }
    };
    Ok((early < WRITES).then_some(good))
}
