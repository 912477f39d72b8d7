//! Reads of what is in the page cache: served inside the call. No lock, no memory, no other thread, and no signal is blocked.
//!
//! Only where the kernel does not wait for the device and nothing is overtaken: not for O_DIRECT, and not while the
//! descriptor has an unfinished write. (A buffer that is not in memory is waited for.) A request that makes a signal handler
//! run is left to others. What the page cache has only in part is read on by a worker, as is everything that the
//! kernel refuses: so errors are found and reported in one place.

use std::sync::atomic::Ordering;

use crate::abi::aiocb;
use crate::calls::parse;
use crate::engine::Engine;
use crate::lock_free::LockFree;
use crate::lock_free::fd_cache::paths::Reads;
use crate::notify::Notify;
use crate::request::Handle;
use crate::sys::descriptor;
use crate::sys::io::{self, Cached};
use crate::sys::signals;

/// What became of a read.
pub enum Inline {
    /// It has ended. The program is to be told.
    Served(Notify),
    /// So many bytes are in the buffer; the rest is for a worker.
    Begun(usize),
    No,
}

/// Longer reads take about as long as it takes to hand them to a worker, and the caller has better things to do.
const MOST: usize = 128 << 10;

/// Serves a read, if that takes no wait.
///
/// # Safety
/// `block` is NULL or points to an aiocb as for aio_read.
pub unsafe fn read(engine: &'static Engine, block: *const aiocb) -> Inline {
    let LockFree { fd_cache, in_flight, .. } = engine.lock_free;
    let Ok(handle) = Handle::new(block) else { return Inline::No };
    // SAFETY: the caller is handing it in.
    let fields = unsafe { handle.block() };
    let (fd, count, key) = (fields.aio_fildes, fields.aio_nbytes, handle.key());
    let Ok(offset) = u64::try_from(fields.aio_offset) else { return Inline::No };
    if !engine.inline || !parse::has_valid_priority(fields) || !(1..=MOST).contains(&count) {
        return Inline::No;
    }
    if !works(engine, fd) || fd_cache.paths.has_writes(fd) {
        return Inline::No;
    }
    let Some(notify) = Notify::parse(&fields.aio_sigevent).ok().filter(|notify| may_be_sent(engine, notify)) else {
        return Inline::No;
    };
    // In flight for that time, as far as others are concerned.
    if !in_flight.begin_serving(key) {
        return Inline::No;
    }
    let outcome = match io::read_cached(fd, fields.aio_buf, count, offset) {
        Cached::All(bytes) => {
            // Counted before anybody can ask.
            engine.figures.inline_reads.0.fetch_add(1, Ordering::Relaxed);
            fields.status.publish(0, bytes);
            Inline::Served(notify)
        }
        Cached::Part(bytes) => Inline::Begun(bytes),
        Cached::Nothing => Inline::No,
        Cached::Never => {
            fd_cache.paths.remember(fd, Reads::Neither);
            Inline::No
        }
    };
    // Only now: nobody else may open the status before.
    in_flight.end_serving(key);
    outcome
}

/// A signal whose handler makes the next request would interrupt the program from within each of them, without end, as long
/// as the data are in the cache: that is left to library threads, and so is a function with a thread of its own. So is
/// everything while there is no such thread: one has to be there should a signal's queue be full, or all functions' threads
/// be busy, and not be started from within a handler then.
fn may_be_sent(engine: &Engine, notify: &Notify) -> bool {
    if notify.is_none() {
        return true;
    }
    let at_once = match notify {
        Notify::Function { attributes, .. } => attributes.0.is_null(),
        _ => notify.signal().is_some_and(|number| !signals::has_handler(number)),
    };
    let standby = &engine.lock_free.standby;
    standby.is_there() && at_once && standby.needed()
}

/// Whether reads of this descriptor are worth trying: asked once for each.
fn works(engine: &'static Engine, fd: i32) -> bool {
    let fd_cache = &engine.lock_free.fd_cache;
    let reads = fd_cache.paths.reads(fd).or_else(|| {
        // A number that stands for nothing now may be given to a file at any time.
        let flags = descriptor::flags(fd).ok()?;
        let reads = if flags & descriptor::DIRECT != 0 {
            Reads::with_direct(flags)
        } else if descriptor::has_pages(fd).ok()? {
            Reads::Cached
        } else {
            Reads::Neither
        };
        fd_cache.paths.remember(fd, reads);
        Some(reads)
    });
    reads == Some(Reads::Cached)
}
