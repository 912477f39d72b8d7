//! sysbench's fileio by libaio. It counts what it submits exactly, and puts a checksum into each block.

use std::path::Path;

use super::{Directory, LIMIT, direct_works, installed, libaio_requests, preloaded, support};

const FILES: u32 = 4;
const BLOCKS: u32 = 4096;

/// What sysbench is asked to do.
#[derive(Clone, Copy, Debug)]
struct Load {
    mode: &'static str,
    threads: u32,
    depth: u32,
    /// Reads and writes.
    transfers: u32,
    sync: Sync,
    validate: bool,
}

#[derive(Clone, Copy, Debug)]
enum Sync {
    None,
    /// fsync of every file after so many transfers.
    Every(u32),
    /// fdatasync of its file after every write.
    Always,
}

impl Load {
    fn arguments(self) -> Vec<String> {
        let Load { mode, threads, depth, transfers, sync, validate } = self;
        // Synchronisations in between are events, too.
        let (events, options): (u32, &[String]) = match sync {
            Sync::None => (transfers, &["--file-fsync-freq=0".into()]),
            Sync::Every(number) => (transfers + transfers / number * FILES, &[format!("--file-fsync-freq={number}")]),
            Sync::Always => (transfers, &["--file-fsync-all=on".into(), "--file-fsync-mode=fdatasync".into()]),
        };
        let mut arguments = vec![
            format!("--file-test-mode={mode}"),
            format!("--threads={threads}"),
            format!("--file-async-backlog={depth}"),
            format!("--events={events}"),
            format!("--validate={}", if validate { "on" } else { "off" }),
        ];
        arguments.extend_from_slice(options);
        arguments
    }
}

fn sysbench(mut command: std::process::Command, arguments: &[String], what: &str, files: &Path) -> String {
    command.current_dir(files).args(["fileio", "--time=0", "--file-extra-flags=direct", "--file-block-size=4096"]);
    command.arg(format!("--file-num={FILES}")).arg(format!("--file-total-size={}", BLOCKS * 4096));
    command.args(arguments).arg(what);
    let ran = support::run(command, LIMIT, &files.join("output")).expect("sysbench runs");
    assert_eq!(ran.end, support::End::Exit(0), "{arguments:?}\n{}", ran.output);
    ran.output
}

fn plain() -> std::process::Command {
    std::process::Command::new("sysbench")
}

fn run(loads: &[Load], files: &Path) {
    for load in loads {
        let Some(command) = preloaded("sysbench", "stats") else { return };
        let mut arguments = load.arguments();
        arguments.push("--file-io-mode=async".into());
        let output = sysbench(command, &arguments, "run", files);
        assert_eq!(libaio_requests(&output), u64::from(load.transfers), "{load:?}\n{output}");
    }
}

pub fn sysbench_submits_in_depth() {
    let directory = Directory::new("sysbench-depth");
    if !installed("sysbench") {
        return;
    }
    if !direct_works(directory.path()) {
        return support::skip(&format!("no O_DIRECT in {}", directory.path().display()));
    }
    sysbench(plain(), &[], "prepare", directory.path());
    // It has one buffer for all requests of a thread, so that deep data cannot be checked: not by whatever AIO.
    let load = Load { mode: "rndrw", threads: 2, depth: 32, transfers: 20_000, sync: Sync::None, validate: false };
    run(
        &[
            load,
            Load { mode: "rndwr", threads: 1, transfers: 10_000, sync: Sync::Every(100), ..load },
            Load { mode: "seqrewr", threads: 1, depth: 128, transfers: 4096, ..load },
        ],
        directory.path(),
    );
}

pub fn sysbench_validates() {
    let directory = Directory::new("sysbench-valid");
    if !installed("sysbench") {
        return;
    }
    if !direct_works(directory.path()) {
        return support::skip(&format!("no O_DIRECT in {}", directory.path().display()));
    }
    let load = Load { mode: "rndrw", threads: 1, depth: 1, transfers: 5000, sync: Sync::Every(100), validate: true };
    sysbench(plain(), &load.arguments(), "prepare", directory.path());
    let all = Load { mode: "seqrd", transfers: BLOCKS, sync: Sync::None, ..load };
    let always = Load { mode: "rndwr", transfers: 1000, sync: Sync::Always, ..load };
    run(&[load, always, Load { mode: "seqrewr", ..all }, always, all], directory.path());
    // What the library wrote is there without it, too.
    let mut arguments = all.arguments();
    arguments.push("--file-io-mode=sync".into());
    sysbench(plain(), &arguments, "run", directory.path());
}
