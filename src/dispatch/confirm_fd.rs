//! Whether a descriptor still refers to the file of its request. A program may close it by a way that the library does not see (a raw
//! system call, a function of libc's that closes inside), and the number may refer to another file by now: then the request has no
//! descriptor any more, and must not touch that file.

use crate::engine::Engine;
use crate::order::{FileKey, NO_NUMBER};
use crate::slab::Id;
use crate::sys::clock::Nanos;
use crate::sys::descriptor;
use crate::sys::errno::{Errno, Result};
use crate::task::Task;

/// A request that is run so soon after its submission has not waited for anything.
const AT_ONCE: Nanos = 4_000;

/// The same as `confirm` for a transfer of a file: not if that was just seen.
pub fn confirm_unless_recent(engine: &'static Engine, task: &Task, now: Nanos) -> Result<i32> {
    let checked = &engine.lock_free.fd_cache.checked;
    if task.fd != NO_NUMBER && (now.saturating_sub(task.asked) < AT_ONCE || checked.is_recent(task.fd, now)) {
        return Ok(task.fd);
    }
    let fd = confirm(engine, task)?;
    checked.note(fd, now);
    Ok(fd)
}

/// The number of a request that is about to run, if it still stands for its file. Error: EBADF.
pub fn confirm(engine: &'static Engine, task: &Task) -> Result<i32> {
    if is_still(task.fd, task.identity) { Ok(task.fd) } else { look_again(engine, task.id, task.fd, task.identity) }
}

/// `close` may have given the descriptor another number meanwhile; otherwise it is lost.
#[cold]
fn look_again(engine: &'static Engine, id: Id, mut fd: i32, identity: FileKey) -> Result<i32> {
    loop {
        let mut table = engine.lock();
        let now = table.order.fd(id);
        if now == NO_NUMBER {
            return Err(Errno::BADF);
        }
        if now == fd {
            table.lose(fd);
            return Err(Errno::BADF);
        }
        drop(table);
        fd = now;
        if is_still(fd, identity) {
            return Ok(fd);
        }
    }
}

pub fn is_still(fd: i32, identity: FileKey) -> bool {
    fd != NO_NUMBER && descriptor::is_still(fd, identity.device, identity.inode)
}
