//! From a caller's aiocb to a request of the library's own. The only place that reads an aiocb's fields.

use libc::c_int;

use crate::abi::{aiocb, sigevent};
use crate::engine::Engine;
use crate::lock_free::LockFree;
use crate::lock_free::fd_cache::paths::Reads;
use crate::notify::Notify;
use crate::order::{Admission, FileKey, Kind, Target};
use crate::request::{Buffer, Handle, Operation, Request};
use crate::sys::clock::{self, Nanos};
use crate::sys::descriptor::{self, Description, FdKind};
use crate::sys::errno::{Errno, Result};
use crate::sys::inode::Fields;
use crate::sys::kaio;

/// Reads an aiocb. Errors: EINVAL (NULL, aio_reqprio, aio_sigevent, a file that cannot be synchronised), EAGAIN (no thread for its
/// function), EBADF (fsync only; a read or write reports that as its result).
///
/// # Safety
/// `block` is NULL or points to an aiocb.
pub unsafe fn parse(block: *const aiocb, operation: Operation, engine: &Engine) -> Result<Admission<Request>> {
    let handle = Handle::new(block)?;
    // SAFETY: the caller's promise.
    let block = unsafe { handle.block() };
    let notify = Notify::parse(&block.aio_sigevent)?.if_possible(engine.threadless)?;
    match operation {
        Operation::Read => transfer(handle, block, notify, Kind::Read, engine),
        Operation::Write => {
            let new = transfer(handle, block, notify, Kind::Write, engine)?;
            engine.lock_free.fd_cache.paths.write_begins(new.payload.submitted_on);
            Ok(new)
        }
        Operation::DataSync => barrier(handle, block, notify, Kind::DataSync, engine.fsync_needs_write),
        Operation::Sync => barrier(handle, block, notify, Kind::Sync, engine.fsync_needs_write),
    }
}

fn transfer(handle: Handle, block: &aiocb, notify: Notify, kind: Kind, engine: &Engine) -> Result<Admission<Request>> {
    let lock_free = engine.lock_free;
    if !has_valid_priority(block) {
        return Err(Errno::INVAL);
    }
    let priority = u8::try_from(block.aio_reqprio).unwrap_or(0);
    let (found, asked) = match describe(block.aio_fildes, kind, lock_free, clock::now()) {
        Ok((found, asked)) => (Ok(found), asked),
        Err(error) => (Err(error), 0),
    };
    let early_error = found.and_then(|found| check_transfer(block, &found, kind)).err();
    let identity = found.as_ref().map_or(FileKey { device: 0, inode: 0 }, identity);
    let (target, fd_kind) = match (&found, early_error) {
        (Ok(found), None) => (target(found), found.fd_kind),
        _ => (Target::Nothing, FdKind::File),
    };
    let flags = found.map_or(0, |found| found.flags);
    remember_path(lock_free, block.aio_fildes, flags);
    let appends = kind == Kind::Write && flags & libc::O_APPEND != 0 && fd_kind == FdKind::File;
    let (kind, position, length) = match found {
        Ok(found) if appends => (Kind::Append, found.size, u64::MAX),
        _ => (kind, u64::try_from(block.aio_offset).unwrap_or(0), u64::try_from(block.aio_nbytes).unwrap_or(0)),
    };
    // A write that has to reach the device waits for it.
    let bypass = descriptor::DIRECT | if kind == Kind::Read { 0 } else { libc::O_DSYNC };
    let unbuffered = flags & bypass != 0 || fd_kind != FdKind::File;
    let queued_write = kind != Kind::Read && !unbuffered && found.is_ok_and(|found| found.serializes_writes());
    let is_direct = flags & descriptor::DIRECT != 0 && fd_kind == FdKind::File && early_error.is_none();
    let direct = is_direct && may_go_to_kernel(engine, kind, position.saturating_add(length));
    if direct || fd_kind != FdKind::File {
        // Without the descriptors threads do what they can.
        let _ = engine.poller.open();
    }
    let payload = Request {
        buffer: Buffer(block.aio_buf),
        count: block.aio_nbytes,
        early_error: early_error.map_or(0, |error| i16::try_from(error.0).unwrap_or(i16::MAX)),
        fd_kind,
        asked,
        nonblocking: flags & libc::O_NONBLOCK != 0,
        unbuffered,
        flags_assumed: flags == ASSUMED,
        ..Request::new(handle, block.aio_fildes, notify)
    };
    Ok(Admission {
        fd: block.aio_fildes,
        target,
        identity,
        kind,
        position,
        length,
        priority,
        queued_write,
        direct,
        payload,
    })
}

/// Whether the kernel's AIO may have a transfer of this kind that ends there.
fn may_go_to_kernel(engine: &Engine, kind: Kind, end: u64) -> bool {
    engine.kernel.is_possible()
        && match kind {
            Kind::Read => true,
            Kind::Write => kaio::may_write_up_to(end),
            _ => false,
        }
}

/// For the next read of the descriptor.
fn remember_path(lock_free: &LockFree, fd: c_int, flags: c_int) {
    let paths = &lock_free.fd_cache.paths;
    if flags & descriptor::DIRECT != 0 {
        // Perhaps it was not, once.
        paths.remember(fd, Reads::with_direct(flags));
    } else if paths.reads(fd) == Some(Reads::Direct) {
        paths.forget(fd);
    }
}

/// aio_reqprio: 0 to AIO_PRIO_DELTA_MAX.
pub fn has_valid_priority(block: &aiocb) -> bool {
    const MOST: c_int = 20;
    (0..=MOST).contains(&block.aio_reqprio)
}

/// The flags of a descriptor that is taken to be open for O_DIRECT still. The sign tells them from those of a descriptor.
const ASSUMED: c_int = c_int::MIN | descriptor::DIRECT | libc::O_RDWR;

/// What a descriptor is, and when its file was asked for: 0, that was known and seen a moment ago. Its size matters to appends only. Of a read its flags
/// need not be, if it was open for O_DIRECT when they were: the kernel looks at them anyway, and if it was opened anew since, a
/// worker finds out what it refuses.
fn describe(fd: c_int, kind: Kind, lock_free: &LockFree, now: Nanos) -> Result<(Description, Nanos)> {
    let is_direct_read = kind == Kind::Read && lock_free.fd_cache.paths.reads(fd) == Some(Reads::Direct);
    let flags = if is_direct_read { ASSUMED } else { descriptor::flags(fd)? };
    let appends = kind == Kind::Write && flags & libc::O_APPEND != 0;
    let is_recent = || !appends && lock_free.fd_cache.checked.is_recent(fd, now);
    if let Some(key) = lock_free.fd_cache.identity.file(fd).filter(|_| is_recent()) {
        return Ok((Description { fd_kind: FdKind::File, device: key.device, inode: key.inode, size: 0, flags }, 0));
    }
    let wanted = if appends { Fields::IdentityAndSize } else { Fields::Identity };
    let found = descriptor::describe(fd, flags, wanted)?;
    if is_direct_read && found.fd_kind != FdKind::File {
        lock_free.fd_cache.paths.forget(fd);
        return Ok((descriptor::describe(fd, descriptor::flags(fd)?, wanted)?, now));
    }
    if flags & descriptor::DIRECT != 0 {
        // No worker looks at what goes to the kernel's AIO.
        lock_free.fd_cache.checked.note(fd, now);
    }
    Ok((found, now))
}

/// What read and write would refuse, reported as the request's result.
fn check_transfer(block: &aiocb, found: &Description, kind: Kind) -> Result<()> {
    let allowed = if kind == Kind::Read { found.readable() } else { found.writable() };
    if !allowed {
        return Err(Errno::BADF);
    }
    let too_long = isize::try_from(block.aio_nbytes).is_err();
    if too_long || (found.fd_kind == FdKind::File && block.aio_offset < 0) {
        return Err(Errno::INVAL);
    }
    Ok(())
}

fn barrier(handle: Handle, block: &aiocb, notify: Notify, kind: Kind, needs_write: bool) -> Result<Admission<Request>> {
    let found = descriptor::describe(block.aio_fildes, descriptor::flags(block.aio_fildes)?, Fields::Identity)?;
    if needs_write && !found.writable() {
        return Err(Errno::BADF);
    }
    if found.fd_kind != FdKind::File {
        return Err(Errno::INVAL);
    }
    let payload = Request { progress: clock::now(), ..Request::new(handle, block.aio_fildes, notify) };
    Ok(Admission {
        fd: block.aio_fildes,
        target: target(&found),
        identity: identity(&found),
        kind,
        position: 0,
        length: 0,
        priority: 0,
        queued_write: false,
        direct: false,
        payload,
    })
}

fn identity(found: &Description) -> FileKey {
    FileKey { device: found.device, inode: found.inode }
}

fn target(found: &Description) -> Target {
    match found.fd_kind {
        FdKind::File => Target::File(identity(found)),
        FdKind::Socket | FdKind::Pipe | FdKind::Stream => Target::Stream,
    }
}

/// lio_listio's own notification.
pub fn parse_list_notification(event: Option<&sigevent>) -> Result<Notify> {
    event.map_or(Ok(Notify::None), Notify::parse)
}
