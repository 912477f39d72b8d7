//! What one request costs: aio_rs beside libc, both in this process.

mod side_by_side;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use libc::c_int;
use side_by_side::{Batch, Group, Kind, Library, block, group, libraries, memory_file, pipe, set_callback};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

/// The calls of aio_read alone; what they started is waited for outside the measured time.
fn submission(group: &mut Group, library: &Library) {
    const COUNT: usize = 64;
    let file = memory_file(COUNT * 4096);
    let batch = Batch::new(COUNT, 4096, &file);
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function(library.name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let start = Instant::now();
                batch.pointers.iter().for_each(|&block| library.read(block));
                spent += start.elapsed();
                library.finish_all(&batch);
            }
            spent
        })
    });
}

/// From aio_write to its end, for a caller that watches the status.
fn completion(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let batch = Batch::new(1, 512, &file);
    let block = batch.pointers[0];
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.write(block);
            while library.pending(block) {
                std::hint::spin_loop();
            }
            library.finish(block, 512);
        })
    });
}

/// From aio_read to its end, for a caller that sleeps in aio_suspend.
fn round_trip(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let batch = Batch::new(1, 4096, &file);
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.read(batch.pointers[0]);
            library.finish_all(&batch);
        })
    });
}

/// From a byte's arrival in a pipe to the return of aio_suspend on the read that waits for it.
fn wake_up(group: &mut Group, library: &Library) {
    let (reader, mut writer) = pipe();
    let batch = Batch::new(1, 1, &reader);
    group.bench_function(library.name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                library.read(batch.pointers[0]);
                let start = Instant::now();
                writer.write_all(b"x").expect("the pipe has room");
                library.finish_all(&batch);
                spent += start.elapsed();
            }
            spent
        })
    });
}

/// An aio_fsync that has nothing to wait for.
fn fsync_alone(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let batch = Batch::new(1, 0, &file);
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.fsync(batch.pointers[0]);
            library.finish_all(&batch);
        })
    });
}

/// So many writes of 512 bytes on one descriptor, an aio_fsync behind them, and the wait for it.
fn queue(group: &mut Group, library: &Library, count: usize) {
    let file = memory_file(count * 512);
    let batch = Batch::new(count, 512, &file);
    let sync = Batch::new(1, 0, &file);
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(BenchmarkId::new(library.name, count), |bencher| {
        bencher.iter(|| {
            batch.pointers.iter().for_each(|&block| library.write(block));
            library.fsync(sync.pointers[0]);
            library.finish_all(&sync);
            library.finish_all(&batch);
        })
    });
}

/// lio_listio that waits for a list of reads.
fn list(group: &mut Group, library: &Library) {
    const COUNT: usize = 32;
    let file = memory_file(COUNT * 4096);
    let batch = Batch::new(COUNT, 4096, &file).for_lists(libc::LIO_READ);
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            let list = batch.pointers.as_ptr();
            // SAFETY: the list and all its blocks are alive; it waits, so they stay so.
            let result = unsafe { (library.listio)(libc::LIO_WAIT, list, COUNT as c_int, ptr::null_mut()) };
            library.submitted(result);
            library.finish_all(&batch);
        })
    });
}

/// From aio_read to the signal it announces its end with.
fn signal(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let mut batch = Batch::new(1, 512, &file);
    let number = libc::SIGRTMIN();
    let event = batch.event();
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = number;
    let set = block(number);
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.read(batch.pointers[0]);
            // SAFETY: the set is valid; no information is asked for.
            let taken = unsafe { libc::sigwaitinfo(&raw const set, ptr::null_mut()) };
            assert_eq!(taken, number);
            library.finish(batch.pointers[0], 512);
        })
    });
}

/// From aio_read to the start of the callback that announces its end.
fn thread(group: &mut Group, library: &Library) {
    let file = memory_file(4096);
    let mut batch = Batch::new(1, 512, &file);
    let (mut woken, waker) = pipe();
    let event = batch.event();
    event.sigev_notify = libc::SIGEV_THREAD;
    event.sigev_value.sival_ptr = ptr::without_provenance_mut(waker.as_raw_fd() as usize);
    set_callback(event, called);
    group.bench_function(library.name, |bencher| {
        bencher.iter(|| {
            library.read(batch.pointers[0]);
            woken.read_exact(&mut [0]).expect("the callback writes one byte");
            library.finish(batch.pointers[0], 512);
        })
    });
}

extern "C" fn called(value: libc::sigval) {
    let fd = value.sival_ptr.addr() as c_int;
    // SAFETY: the pipe is open as long as the benchmark runs.
    unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
}

fn benchmarks(criterion: &mut Criterion) {
    let libraries = libraries();
    let kinds: [(&str, Kind); 8] = [
        ("submission", submission),
        ("completion", completion),
        ("round trip", round_trip),
        ("wake-up", wake_up),
        ("fsync", fsync_alone),
        ("list of 32", list),
        ("notification by signal", signal),
        ("notification by thread", thread),
    ];
    for (name, run) in kinds {
        let mut group = group(criterion, name);
        libraries.iter().for_each(|library| run(&mut group, library));
        group.finish();
    }
    barriers(criterion, &libraries);
}

/// libc's cost per request grows with the queue: 100,000 would take it most of a minute for each sample.
fn barriers(criterion: &mut Criterion, libraries: &[Library]) {
    const MOST_FOR_LIBC: usize = 10_000;
    let mut group = group(criterion, "writes and fsync");
    group.sample_size(10);
    for count in [100, 1_000, 10_000, 100_000] {
        for library in libraries {
            if library.name != "libc" || count <= MOST_FOR_LIBC {
                queue(&mut group, library, count);
            }
        }
    }
    group.finish();
}

criterion_group!(all, benchmarks);
criterion_main!(all);
