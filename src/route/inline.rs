//! Reads of what is in the page cache: served inside the call. No lock, no memory, no other thread, and no signal is blocked.
//!
//! Only where nothing can wait and nothing is overtaken: not for O_DIRECT (the kernel would wait for the device), and not
//! while the descriptor has an unfinished write. What the page cache has only in part is read on by a worker, as is
//! everything that the kernel refuses: so errors are found and reported in one place.

use std::sync::atomic::Ordering;

use crate::abi::aiocb;
use crate::complete;
use crate::engine::Engine;
use crate::notify::Notify;
use crate::reception::Reception;
use crate::request::{self, Handle};
use crate::sys::descriptor;
use crate::sys::io::{self, Cached};

/// What became of a read.
pub enum Inline {
    /// It has ended.
    Served,
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
    let Reception { buffered, claims, inline_reads, .. } = engine.reception;
    let Ok(handle) = Handle::new(block) else { return Inline::No };
    // SAFETY: the caller is handing it in.
    let fields = unsafe { handle.block() };
    let fd = fields.aio_fildes;
    let (Ok(offset), Some(notify)) = (u64::try_from(fields.aio_offset), notification(fields)) else {
        return Inline::No;
    };
    if !engine.inline || !request::has_valid_priority(fields) || !(1..=MOST).contains(&fields.aio_nbytes) {
        return Inline::No;
    }
    if !works(engine, fd) || buffered.has_writes(fd) || !claims.claim(handle.key()) {
        return Inline::No;
    }
    let cached = io::read_cached(fd, fields.aio_buf, fields.aio_nbytes, offset);
    if let Cached::All(count) = cached {
        // Counted before anybody can ask.
        inline_reads.fetch_add(1, Ordering::Relaxed);
        fields.status.publish(0, count);
    }
    // The aiocb is the caller's again from here on.
    claims.end(handle.key());
    match cached {
        Cached::All(_) => {
            complete::notify_from_call(engine, notify);
            Inline::Served
        }
        Cached::Part(count) => Inline::Begun(count),
        Cached::Nothing => Inline::No,
        Cached::Never => {
            buffered.remember(fd, false);
            Inline::No
        }
    }
}

/// The notification, if a caller's thread can deliver it.
fn notification(fields: &aiocb) -> Option<Notify> {
    Notify::parse(&fields.aio_sigevent).ok().filter(|notify| !matches!(notify, Notify::Function { .. }))
}

/// Whether reads of this descriptor are worth trying: asked once for each.
fn works(engine: &'static Engine, fd: i32) -> bool {
    let buffered = &engine.reception.buffered;
    buffered.works(fd).unwrap_or_else(|| {
        // A number that stands for nothing now may be given to a file at any time.
        let Ok(works) = descriptor::is_cached(fd) else { return false };
        buffered.remember(fd, works);
        works
    })
}
