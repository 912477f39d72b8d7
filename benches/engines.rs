//! The workloads of `aio-rs bench` on its engines, one after the other: what changed since the last run of this benchmark.
//! Which engine is faster, `aio-rs bench` says: there they take turns.

// The command's own; the benchmark uses a part of each.
#[allow(dead_code, unused_imports)]
#[path = "../src/bin/aio-rs/aio.rs"]
mod aio;
#[allow(dead_code, unused_imports)]
#[path = "../src/bin/aio-rs/engine/mod.rs"]
mod engine;
#[allow(dead_code)]
#[path = "../src/figures.rs"]
mod figures;
#[allow(dead_code, unused_imports)]
#[path = "../src/bin/aio-rs/measure.rs"]
mod measure;
#[allow(dead_code, unused_imports)]
#[path = "../src/bin/aio-rs/workload.rs"]
mod workload;

mod side_by_side;

use criterion::{Criterion, Throughput};
use engine::Kind;
use measure::{Extent, measure};
use side_by_side::{aio_rs_path, group};
use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::Duration;
use workload::{Cache, WORKLOADS, Workload};

const FILE_SIZE: usize = 64 << 20;

/// A file without a name, where temporary files go that are seldom in memory.
fn data_file() -> Result<File> {
    let usual = || std::path::PathBuf::from("/var/tmp");
    let mut file = tempfile::tempfile_in(std::env::var_os("TMPDIR").map_or_else(usual, Into::into))?;
    file.write_all(&vec![b'.'; FILE_SIZE])?;
    file.sync_all()?;
    measure::advise(file.as_fd(), libc::POSIX_FADV_DONTNEED)?;
    Ok(file)
}

fn open_for(workload: &Workload, data: &File) -> Result<File> {
    let flags = if workload.cache == Cache::Bypassed { libc::O_DIRECT } else { 0 };
    let path = format!("/proc/self/fd/{}", data.as_raw_fd());
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// An iteration is `depth` requests of each thread.
fn bench(criterion: &mut Criterion, data: &File, workload: &Workload, engines: &[(&str, Kind)]) {
    let mut group = group(criterion, workload.name);
    group.sample_size(10);
    group.throughput(Throughput::Elements((workload.depth * workload.threads) as u64));
    for &(name, kind) in engines {
        let run = |rounds: u64| {
            let requests = rounds * workload.depth as u64;
            let figures = measure(workload, kind, &open_for(workload, data)?, Extent::Requests(requests))?;
            Ok(Duration::from_secs_f64((requests * workload.threads as u64) as f64 / figures.rate))
        };
        let tried: Result<Duration> = run(1);
        if let Err(error) = tried {
            println!("{}/{name}: left out: {error}", workload.name);
            continue;
        }
        group.bench_function(name, |bencher| bencher.iter_custom(|rounds| run(rounds).expect("as at the first try")));
    }
    group.finish();
}

/// libc and aio_rs have the same symbols: the second has a process of its own, under LD_PRELOAD.
fn main() {
    let preloaded = aio::library_version().is_some();
    let engines: &[_] = match preloaded {
        true => &[("aio_rs", Kind::Posix)],
        false => &[
            ("libc", Kind::Posix),
            ("kernel AIO", Kind::Kernel),
            ("io_uring", Kind::Uring),
            ("threads", Kind::Threads),
        ],
    };
    let mut criterion = Criterion::default().configure_from_args();
    let data = data_file().expect("a data file");
    WORKLOADS.iter().for_each(|workload| bench(&mut criterion, &data, workload, engines));
    criterion.final_summary();
    if !preloaded {
        let this = std::env::current_exe().expect("this executable has a path");
        let arguments = std::env::args_os().skip(1);
        let ended = Command::new(this).args(arguments).env("LD_PRELOAD", aio_rs_path()).status();
        assert!(ended.expect("it starts").success());
    }
}
