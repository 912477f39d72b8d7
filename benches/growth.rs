//! How the cost of one request grows with what is in flight, with threads and with descriptors: aio_rs beside libc.

mod side_by_side;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use libc::{aiocb, c_int};
use side_by_side::{Batch, Group, Library, block, disk_file, group, libraries, memory_file, set_callback};
use std::fs::File;
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

type Grown = fn(&mut Group, &Library, usize);

/// So many writes of 512 bytes in flight on one descriptor.
fn depth(group: &mut Group, library: &Library, count: usize) {
    let file = memory_file(count * 512);
    let batch = Batch::new(count, 512, &file);
    group.bench_function(BenchmarkId::new(library.name, count), |bencher| {
        bencher.iter(|| {
            batch.pointers.iter().for_each(|&block| library.write(block));
            library.finish_all(&batch);
        })
    });
}

/// So many threads, each with a file of its own, that write 512 bytes and sleep in aio_suspend until they are written.
fn threads(group: &mut Group, library: &Library, count: usize) {
    group.bench_function(BenchmarkId::new(library.name, count), |bencher| {
        bencher.iter_custom(|rounds| {
            let start = Barrier::new(count + 1);
            std::thread::scope(|scope| {
                let running: Vec<_> = (0..count)
                    .map(|_| {
                        scope.spawn(|| {
                            let file = memory_file(512);
                            let batch = Batch::new(1, 512, &file);
                            start.wait();
                            for _ in 0..rounds {
                                library.write(batch.pointers[0]);
                                library.finish_all(&batch);
                            }
                        })
                    })
                    .collect();
                start.wait();
                let begin = Instant::now();
                running.into_iter().for_each(|thread| thread.join().expect("the thread ends well"));
                begin.elapsed()
            })
        })
    });
}

/// A write of 512 bytes in flight on each of so many descriptors.
fn descriptors(group: &mut Group, library: &Library, count: usize) {
    let files: Vec<_> = (0..count).map(|_| memory_file(512)).collect();
    let batches: Vec<_> = files.iter().map(|file| Batch::new(1, 512, file)).collect();
    group.bench_function(BenchmarkId::new(library.name, count), |bencher| {
        bencher.iter(|| {
            batches.iter().for_each(|batch| library.write(batch.pointers[0]));
            batches.iter().for_each(|batch| library.finish_all(batch));
        })
    });
}

/// So many writes in flight, each of which announces its end by a signal that is taken.
fn signals(group: &mut Group, library: &Library, count: usize) {
    take_signals(group, library, count, &memory_file(count * 512), Library::write);
}

/// The same with reads of what the page cache has.
fn read_signals(group: &mut Group, library: &Library, count: usize) {
    take_signals(group, library, count, &disk_file(count * 512), Library::read);
}

fn take_signals(group: &mut Group, library: &Library, count: usize, file: &File, submit: fn(&Library, *mut aiocb)) {
    let mut batch = Batch::new(count, 512, file);
    let number = libc::SIGRTMIN();
    for request in &mut batch.requests {
        let event = &mut request.block().aio_sigevent;
        (event.sigev_notify, event.sigev_signo) = (libc::SIGEV_SIGNAL, number);
    }
    let set = block(number);
    group.bench_function(BenchmarkId::new(library.name, count), |bencher| {
        bencher.iter(|| {
            batch.pointers.iter().for_each(|&block| submit(library, block));
            for _ in 0..count {
                // SAFETY: the set is valid; no information is asked for.
                assert_eq!(unsafe { libc::sigwaitinfo(&raw const set, ptr::null_mut()) }, number);
            }
            library.finish_all(&batch);
        })
    });
}

static CALLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn called(_value: libc::sigval) {
    CALLED.fetch_add(1, Ordering::Release);
}

/// So many writes in flight, each of which announces its end by a thread.
fn callbacks(group: &mut Group, library: &Library, count: usize) {
    count_calls(group, library, count, &memory_file(count * 512), Library::write);
}

/// The same with reads of what the page cache has.
fn read_callbacks(group: &mut Group, library: &Library, count: usize) {
    count_calls(group, library, count, &disk_file(count * 512), Library::read);
}

fn count_calls(group: &mut Group, library: &Library, count: usize, file: &File, submit: fn(&Library, *mut aiocb)) {
    let mut batch = Batch::new(count, 512, file);
    for request in &mut batch.requests {
        let event = &mut request.block().aio_sigevent;
        event.sigev_notify = libc::SIGEV_THREAD;
        set_callback(event, called);
    }
    group.bench_function(BenchmarkId::new(library.name, count), |bencher| {
        bencher.iter(|| {
            let before = CALLED.load(Ordering::Acquire);
            batch.pointers.iter().for_each(|&block| submit(library, block));
            library.finish_all(&batch);
            while CALLED.load(Ordering::Acquire) < before + count {
                std::thread::yield_now();
            }
        })
    });
}

/// As many descriptors as the hard limit allows.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is a place for the result, then the value.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    assert_eq!(raised, 0 as c_int, "{}", std::io::Error::last_os_error());
}

fn benchmarks(criterion: &mut Criterion) {
    raise_descriptor_limit();
    let libraries = libraries();
    let kinds: [(&str, Grown, &[usize]); 7] = [
        ("depth", depth, &[1, 4, 16, 64, 256, 1_024]),
        ("threads in aio_suspend", threads, &[1, 4, 16, 64]),
        ("descriptors", descriptors, &[1, 10, 100, 1_000, 10_000]),
        ("signals", signals, &[1, 32]),
        ("read signals", read_signals, &[1, 32]),
        ("callbacks", callbacks, &[1, 32]),
        ("read callbacks", read_callbacks, &[1, 32]),
    ];
    for (name, run, counts) in kinds {
        let mut group = group(criterion, name);
        group.sample_size(10).measurement_time(Duration::from_secs(1));
        for &count in counts {
            group.throughput(Throughput::Elements(count as u64));
            libraries.iter().for_each(|library| run(&mut group, library, count));
        }
        group.finish();
    }
}

criterion_group!(all, benchmarks);
criterion_main!(all);
