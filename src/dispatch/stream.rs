//! The transfer of a stream in a thread that it may block for ever.

use crate::dispatch::confirm_fd;
use crate::engine::Engine;
use crate::order::{Kind, NO_NUMBER};
use crate::request::Buffer;
use crate::sys::clock;
use crate::sys::descriptor::FdKind;
use crate::sys::errno::{Errno, Result};
use crate::sys::io;
use crate::task::Task;

/// The transfer by a thread that may be blocked: of all that is left. An empty one is made, too: it may be a datagram.
pub fn transfer(engine: &'static Engine, task: &Task, thread: i32) -> Result<isize> {
    let mut fd = confirm_fd::confirm(engine, task)?;
    let mut done = task.progress.min(task.count);
    loop {
        engine.lock_free.entered.mark(task.id, task.seq, clock::now());
        let (place, left) = (at(task.buffer, done), task.count - done);
        let step = if task.kind == Kind::Read { io::read(fd, place, left) } else { io::write(fd, place, left) };
        match step {
            // The process was stopped, or frozen.
            Err(Errno::INTR) => {}
            Err(error) => return so_far(done, error),
            Ok(count) => {
                done += usize::try_from(count).unwrap_or(0).min(left);
                // A socket writes less only when it is out of time.
                if task.kind == Kind::Read || count == 0 || done >= task.count || task.fd_kind == FdKind::Socket {
                    return total(done);
                }
            }
        }
        fd = number_for_next_step(engine, task, thread);
    }
}

/// `close` may have given the number away while the last step slept.
pub fn number_for_next_step(engine: &'static Engine, task: &Task, thread: i32) -> i32 {
    let mut table = engine.lock();
    table.run_again(task.id, thread);
    let fd = table.order.fd(task.id);
    drop(table);
    if confirm_fd::is_still(fd, task.identity) { fd } else { NO_NUMBER }
}

pub fn at(buffer: Buffer, offset: usize) -> *mut libc::c_void {
    buffer.0.wrapping_byte_add(offset)
}

/// As read and write do: what is done is done, and the error is for the next one.
pub fn so_far(bytes: usize, error: Errno) -> Result<isize> {
    if bytes > 0 { total(bytes) } else { Err(error) }
}

pub fn total(bytes: usize) -> Result<isize> {
    Ok(isize::try_from(bytes).unwrap_or(isize::MAX))
}
