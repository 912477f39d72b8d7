//! Where threads meet without a lock: the lock itself, the status word with its waiters, and the submission queue. Every interleaving,
//! by loom: `RUSTFLAGS="--cfg loom" cargo test --release --test loom`. The slab and all else stand under the lock.
#![cfg(loom)]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

#[path = "../src/sys/linux/lock.rs"]
#[allow(dead_code)]
mod lock;
#[path = "../src/status.rs"]
#[allow(dead_code)]
mod status;
#[path = "../src/lock_free/submission_queue.rs"]
#[allow(dead_code)]
mod submission_queue;
#[path = "../src/sys/linux/wait_slots.rs"]
#[allow(dead_code)]
mod wait_slots;
#[path = "../src/sys/linux/waiters.rs"]
#[allow(dead_code)]
mod waiters;

/// The kernel's side of futex: it looks at the word and puts the thread to sleep in one step. A wake-up that is lost leaves
/// a thread asleep for ever, which loom reports as a deadlock.
mod wait {
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    loom::lazy_static! {
        static ref KERNEL: Mutex<()> = Mutex::new(());
        static ref SLEEPERS: Condvar = Condvar::new();
    }

    pub fn futex_sleep(word: &AtomicU32, value: u32) {
        sleep_while(|| word.load(Ordering::SeqCst) == value);
    }

    pub fn sleep_on_generation(status: &crate::status::Status, seen: crate::status::Seen) {
        sleep_while(|| crate::status::Seen::of([status].into_iter()) == Some(seen));
    }

    pub fn sleep_while(unchanged: impl Fn() -> bool) {
        let kernel = KERNEL.lock().unwrap();
        if unchanged() {
            drop(SLEEPERS.wait(kernel).unwrap());
        }
    }

    pub fn futex_wake(_word: &AtomicU32, _count: libc::c_int) {
        wake();
    }

    pub fn wake() {
        drop(KERNEL.lock().unwrap());
        SLEEPERS.notify_all();
    }
}

struct Shared<T>(UnsafeCell<T>);

// SAFETY: loom checks every access.
unsafe impl<T> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Shared<T> {}

#[test]
fn the_lock_excludes_and_wakes() {
    // Three threads have too many interleavings; what goes wrong with locks goes wrong within a few preemptions.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let lock = Arc::new(lock::RawLock::new());
        let count = Arc::new(Shared(UnsafeCell::new(0)));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (lock, count) = (lock.clone(), count.clone());
                thread::spawn(move || {
                    lock.acquire();
                    // SAFETY: under the lock; loom objects if it is not exclusive.
                    count.0.with_mut(|count| unsafe { *count += 1 });
                    lock.release();
                })
            })
            .collect();
        lock.acquire();
        // SAFETY: as above.
        count.0.with_mut(|count| unsafe { *count += 1 });
        lock.release();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // SAFETY: all threads have ended.
        assert_eq!(count.0.with(|count| unsafe { *count }), 3);
    });
}

#[test]
fn who_sleeps_in_a_wait_slot_is_woken() {
    use loom::sync::atomic::{Ordering, fence};
    const SLOT: u32 = 5;
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    // `left_over`: registrations of an earlier wait, whose slot may be armed still.
    for (left_over, armed) in [(false, false), (true, false), (true, true)] {
        model.check(move || {
            let statuses: Arc<[status::Status; 2]> = Arc::new(Default::default());
            let bitmaps = Arc::new([wait_slots::WaiterBitmap::new(), wait_slots::WaiterBitmap::new()]);
            let slot = Arc::new(wait_slots::WaitSlot::new());
            statuses.iter().for_each(|status| _ = status.begin(false));
            if left_over {
                bitmaps.iter().for_each(|bitmap| bitmap.register(SLOT));
            }
            if armed {
                slot.arm(wait_slots::Sleeper::Plain);
            }
            let workers: Vec<_> = (0..2)
                .map(|i| {
                    let (statuses, bitmaps, slot) = (statuses.clone(), bitmaps.clone(), slot.clone());
                    thread::spawn(move || {
                        statuses[i].publish(0, 4096);
                        waiters::Waiters::settle();
                        if bitmaps[i].take() & 1 << SLOT != 0 && slot.disarm().is_some() {
                            wait::wake();
                        }
                    })
                })
                .collect();
            // As aio_suspend: until one has ended; then for the other one.
            let mut left = vec![0, 1];
            while !left.is_empty() {
                let over = || status::Seen::of(left.iter().map(|i| &statuses[*i])).is_none();
                let word = slot.arm(wait_slots::Sleeper::Plain);
                left.iter().for_each(|i| bitmaps[*i].register(SLOT));
                fence(Ordering::SeqCst);
                if !over() {
                    wait::futex_sleep(slot.word(), word);
                }
                left.retain(|i| statuses[*i].error() == libc::EINPROGRESS);
            }
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
    }
}

#[test]
fn whoever_leaves_finds_the_standby_or_it_finds_that_nobody_is_there() {
    use loom::sync::atomic::{AtomicBool, Ordering, fence};
    loom::model(|| {
        let taken = Arc::new(AtomicBool::new(true));
        let slot = Arc::new(wait_slots::WaitSlot::new());
        let leader = {
            let (taken, slot) = (taken.clone(), slot.clone());
            thread::spawn(move || {
                taken.store(false, Ordering::SeqCst);
                // Loom takes SeqCst for what it is in fences only.
                fence(Ordering::SeqCst);
                if slot.has_standby() && slot.disarm() == Some(wait_slots::Sleeper::Standby) {
                    wait::wake();
                }
            })
        };
        let word = slot.arm(wait_slots::Sleeper::Standby);
        if taken.load(Ordering::SeqCst) {
            wait::futex_sleep(slot.word(), word);
        }
        leader.join().unwrap();
    });
}

#[test]
fn a_waiter_sees_the_data_and_no_wakeup_is_lost() {
    loom::model(|| {
        let status = Arc::new(status::Status::default());
        let waiters = Arc::new(waiters::Waiters::new());
        let data = Arc::new(Shared(UnsafeCell::new(0)));
        status.begin(false);
        let worker = {
            let (status, waiters, data) = (status.clone(), waiters.clone(), data.clone());
            thread::spawn(move || {
                // SAFETY: the buffer is the library's until the status is stored; loom objects otherwise.
                data.0.with_mut(|data| unsafe { *data = 7 });
                status.publish(0, 4096);
                waiters::Waiters::settle();
                if waiters.any() {
                    wait::wake();
                }
            })
        };
        while let Some(seen) = status::Seen::of([&*status].into_iter()) {
            waiters.add();
            wait::sleep_on_generation(&status, seen);
            waiters.remove();
        }
        // SAFETY: the status says that the request has ended.
        assert_eq!(data.0.with(|data| unsafe { *data }), 7);
        assert_eq!((status.error(), status.returned()), (0, 4096));
        worker.join().unwrap();
    });
}

/// The aiocb is in flight again before its waiter runs: alone, or beside one that never ends.
#[test]
fn a_waiter_sees_the_end_of_a_request_whose_aiocb_is_in_flight_again() {
    for listed in [1, 2] {
        loom::model(move || {
            let statuses: Arc<[status::Status; 2]> = Arc::new(Default::default());
            let waiters = Arc::new(waiters::Waiters::new());
            statuses.iter().for_each(|status| _ = status.begin(false));
            let seen = status::Seen::of(statuses.iter().take(listed)).unwrap();
            let worker = {
                let (statuses, waiters) = (statuses.clone(), waiters.clone());
                thread::spawn(move || {
                    statuses[0].publish(0, 1);
                    statuses[0].begin(false);
                    waiters::Waiters::settle();
                    if waiters.any() {
                        wait::wake();
                    }
                })
            };
            while status::Seen::of(statuses.iter().take(listed)) == Some(seen) {
                waiters.add();
                wait::sleep_while(|| status::Seen::of(statuses.iter().take(listed)) == Some(seen));
                waiters.remove();
            }
            worker.join().unwrap();
        });
    }
}

/// A worker that can be called.
struct Worker(loom::sync::atomic::AtomicBool);

impl Worker {
    fn new() -> &'static Worker {
        Box::leak(Box::new(Worker(loom::sync::atomic::AtomicBool::new(false))))
    }

    fn call(&self) {
        self.0.store(true, loom::sync::atomic::Ordering::Release);
    }

    fn is_called(&self) -> bool {
        self.0.load(loom::sync::atomic::Ordering::Acquire)
    }
}

/// Two callers put something in while the consumer changes, then the queue closes. What was accepted is taken out
/// once, or its consumer has been called.
#[test]
fn nothing_is_left_in_the_inbox() {
    use submission_queue::{Consumer, SubmissionQueue};
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let queue: Arc<SubmissionQueue<u32, Worker>> = Arc::new(SubmissionQueue::new());
        let (first, second) = (Worker::new(), Worker::new());
        assert!(queue.set_consumer(Consumer::Idle(first)));
        let callers: Vec<_> = [1, 2]
            .map(|item| {
                let queue = queue.clone();
                thread::spawn(move || if queue.push(1, &item, || Some(()), drop, Worker::call) { item } else { 0 })
            })
            .into_iter()
            .collect();
        let mut taken = Vec::new();
        let mut take_out = || {
            let emptied = queue.take_out(|item| taken.push(*item));
            queue.give_back(emptied);
        };
        // The first one gets other work: from here on it does not look.
        while !queue.set_consumer(Consumer::Idle(second)) {
            take_out();
        }
        let accepted: u32 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        if !queue.is_empty() {
            assert!(second.is_called(), "something lies in the queue, and nobody was called");
        }
        while !queue.set_consumer(Consumer::Nobody) {
            take_out();
        }
        assert!(queue.is_empty() && !queue.is_open());
        assert_eq!(taken.iter().sum::<u32>(), accepted, "taken {taken:?}");
    });
}

/// The same while the queue is open without a consumer: whoever closes it finds all that was accepted.
#[test]
fn a_closed_inbox_is_empty() {
    use submission_queue::{Consumer, SubmissionQueue};
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let queue: Arc<SubmissionQueue<u32, Worker>> = Arc::new(SubmissionQueue::new());
        assert!(queue.set_consumer(Consumer::Busy));
        let callers: Vec<_> = [[1, 2], [4, 8]]
            .map(|items| {
                let queue = queue.clone();
                thread::spawn(move || {
                    items.into_iter().filter(|item| queue.push(1, item, || Some(()), drop, Worker::call)).sum::<u32>()
                })
            })
            .into_iter()
            .collect();
        let mut taken = Vec::new();
        while !queue.set_consumer(Consumer::Nobody) {
            let emptied = queue.take_out(|item| taken.push(*item));
            queue.give_back(emptied);
        }
        let accepted: u32 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        assert_eq!(taken.iter().sum::<u32>(), accepted, "taken {taken:?}");
        assert!(queue.is_empty());
    });
}
