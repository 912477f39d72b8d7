//! O_DIRECT transfers: whoever submits them owner them to the kernel's own AIO, which does not wait for the device
//! (RWF_NOWAIT; but for a buffer that is not in memory, or a frozen file system). Who takes the results: `caller_reap`, and the reaper's thread.
//!
//! What the kernel refuses goes to a worker, which finds out what pread or pwrite say: allocation and holes (EAGAIN), file
//! systems that cannot (EOPNOTSUPP), bad alignment (EINVAL), too many in flight.

use crate::dispatch::wakeups::Wakeups;
use crate::engine::Engine;
use crate::order::Kind;
use crate::sys::kaio::Iocb;
use crate::sys::transfer::Transfer;
use crate::table::in_kernel::{Own, token};
use crate::table::roles::ReaperState;
use crate::task::Task;

/// Requests per system call: as many as `listio` takes in at once. They stand on the caller's stack, which may be a signal's
/// small one.
const GROUP: usize = 8;

/// Hands those of a submitter's own requests to the kernel that are ready for it. Signals are blocked.
///
/// Nobody owner over another thread's: the kernel may wait for the buffer (a pager in user space) or the file system (frozen),
/// and so a thread that uses neither would.
pub fn submit(engine: &'static Engine, own: &mut dyn Iterator<Item = Own>) {
    let mut tasks = [const { None }; GROUP];
    let mut table = engine.lock();
    let count = tasks
        .iter_mut()
        .zip(own.filter_map(|own| table.start_own(own)))
        .map(|(place, task)| *place = Some(task))
        .count();
    if count == 0 {
        return;
    }
    // The reaper makes the context; without one nobody would learn of the results.
    if !engine.kernel.is_open() || matches!(table.reaper, ReaperState::Off | ReaperState::Starts) {
        tasks.iter().flatten().for_each(|task| table.order.send_to_worker(task.id));
    } else {
        tasks.iter().flatten().for_each(|task| table.enters_kernel(task.id));
        drop(table);
        let taken = hand_over(engine, &tasks, count);
        table = engine.lock();
        tasks.iter().flatten().zip(taken).for_each(|(task, taken)| table.handed_over(task, taken));
    }
    Wakeups::collect(&mut table).send_after(table, engine);
}

/// Which of these the kernel has taken.
fn hand_over(engine: &'static Engine, tasks: &[Option<Task>; GROUP], count: usize) -> [bool; GROUP] {
    let mut taken = [false; GROUP];
    let mut iocbs = [Iocb::NONE; GROUP];
    let mut pointers = [std::ptr::null_mut(); GROUP];
    for ((iocb, pointer), task) in iocbs.iter_mut().zip(&mut pointers).zip(tasks.iter().flatten()) {
        *iocb = iocb_for(task);
        *pointer = iocb;
    }
    let mut next = 0;
    while next < count {
        let done = engine.kernel.submit(pointers.get(next..count).unwrap_or(&[]));
        taken.iter_mut().skip(next).take(done).for_each(|taken| *taken = true);
        // The one that it did not take is refused.
        next += done + 1;
    }
    taken
}

fn iocb_for(task: &Task) -> Iocb {
    Iocb::new(&Transfer {
        fd: task.fd,
        writes: task.kind != Kind::Read,
        buffer: task.buffer.0,
        count: task.count,
        offset: task.position,
        token: token(task.id, task.seq),
    })
}
