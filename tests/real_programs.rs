//! Programs that nobody wrote for this library, preloaded with it: fio with data verification, qemu-img and stress-ng here,
//! a database, sysbench and the tools of storage in the modules. Each run proves that it used aio_rs: by the statistics at
//! exit, or by the names of its threads; a server that is killed by what it has mapped.
//!
//! The test of a program that is not installed is skipped; a failure under AIO_RS_REQUIRE_ALL=1.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "real_programs/mariadb.rs"]
mod mariadb;
#[path = "real_programs/storage.rs"]
mod storage;
mod support;
#[path = "real_programs/sysbench.rs"]
mod sysbench;

const LIMIT: Duration = Duration::from_secs(60);

/// A command under the library; None, and the test is skipped, where it is not installed.
fn preloaded(program: &str, settings: &str) -> Option<Command> {
    if !installed(program) {
        return None;
    }
    let mut command = Command::new(program);
    command.env_remove("LD_LIBRARY_PATH").env("LD_PRELOAD", support::shared_library()).env("AIO_RS", settings);
    Some(command)
}

/// Whether a program is there; the test is skipped where it is not.
fn installed(program: &str) -> bool {
    match Command::new(program).arg("--version").stdin(Stdio::null()).output() {
        Ok(_) => true,
        Err(error) => {
            support::skip(&format!("{program}: {error}"));
            false
        }
    }
}

/// Removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        Directory(support::fresh_dir(name))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What fio is asked to do.
#[derive(Clone, Copy, Debug)]
struct Load {
    interface: Interface,
    direct: bool,
    pattern: &'static str,
    depth: u32,
    /// An option for synchronisation, or "".
    sync: &'static str,
}

/// fio's engine, and the line of the statistics that shows that it ran on the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    Posix,
    Libaio,
}

impl Load {
    fn arguments(self, directory: &Path, report: &Path) -> Vec<String> {
        let mut arguments = vec![
            "--name=load".to_string(),
            if self.interface == Interface::Posix { "--ioengine=posixaio" } else { "--ioengine=libaio" }.into(),
            "--size=1m".into(),
            "--bs=4k".into(),
            "--numjobs=4".into(),
            "--verify=crc32c".into(),
            "--verify_fatal=1".into(),
            // Otherwise it leaves files in the working directory.
            "--verify_state_save=0".into(),
            "--output-format=json".into(),
            format!("--output={}", report.display()),
            format!("--directory={}", directory.display()),
            format!("--direct={}", u8::from(self.direct)),
            format!("--rw={}", self.pattern),
            format!("--iodepth={}", self.depth),
        ];
        if !self.sync.is_empty() {
            arguments.push(self.sync.into());
        }
        arguments
    }
}

/// The number behind a key of JSON text.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let rest = text.split_once(&format!("\"{key}\""))?.1;
    let digits = rest.trim_start_matches([' ', ':']);
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// fio's report of its jobs: reads and writes made. Err when a job reports an error.
fn jobs(report: &str) -> Result<(u64, u64), String> {
    let (mut count, mut reads, mut writes) = (0, 0, 0);
    for job in report.split("\"jobname\"").skip(1) {
        let part = |name: &str| job.split_once(&format!("\"{name}\" : {{")).map(|parts| parts.1);
        let total = |name: &str, key: &str| part(name).and_then(|text| number_after(text, key));
        let missing = || format!("a job of another shape than expected: {job}");
        let error = number_after(job, "error").ok_or_else(missing)?;
        if error != 0 {
            return Err(format!("a job reports error {error}"));
        }
        for (name, sum) in [("read", &mut reads), ("write", &mut writes)] {
            *sum += total(name, "total_ios").ok_or_else(missing)?;
            // Of the reads' short ones fio 3.33 makes a count of its fdatasyncs, whatever the engine.
            for key in ["drop_ios", "short_ios"].iter().take(if name == "read" { 1 } else { 2 }) {
                let wrong = total(name, key).ok_or_else(missing)?;
                if wrong != 0 {
                    return Err(format!("{wrong} {key} of a {name}"));
                }
            }
        }
        count += 1;
    }
    if count == 4 { Ok((reads, writes)) } else { Err(format!("{count} jobs")) }
}

/// The counters of a line of the statistics: "aio_rs: requests: read 10, write 20".
fn statistics(text: &str, name: &str) -> HashMap<String, u64> {
    let start = format!("aio_rs: {name}: ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("");
    let pair = |part: &str| {
        let (key, value) = part.trim().rsplit_once(' ')?;
        Some((key.to_string(), value.parse().ok()?))
    };
    line.split(',').filter_map(pair).collect()
}

/// The requests made by libaio's interface.
fn libaio_requests(text: &str) -> u64 {
    statistics(text, "libaio").get("requests").copied().unwrap_or(0)
}

fn fio(load: Load, directory: &Path) -> Result<(), String> {
    let Some(mut fio) = preloaded("fio", "stats") else {
        return Ok(());
    };
    let report = directory.join("report.json");
    // Threads, not processes: a job that is a process ends by _exit and prints no statistics.
    fio.args(load.arguments(directory, &report)).arg("--thread");
    let ran = support::run(fio, LIMIT, &directory.join("output")).map_err(|error| error.to_string())?;
    if ran.end != support::End::Exit(0) {
        return Err(format!("{}\n{}", ran.end, ran.output));
    }
    let report = fs::read_to_string(&report).map_err(|error| format!("fio's report: {error}"))?;
    let (reads, writes) = jobs(&report)?;
    if load.interface == Interface::Libaio {
        // It waits for its syncs itself.
        let counted = libaio_requests(&ran.output);
        let made = reads + writes;
        return if counted == made {
            Ok(())
        } else {
            Err(format!("fio made {made} requests, not {counted}: {}", ran.output))
        };
    }
    let requests = statistics(&ran.output, "requests");
    let counted = |name: &str| requests.get(name).copied().unwrap_or(0);
    if (counted("read"), counted("write")) != (reads, writes) || writes == 0 {
        return Err(format!("fio made {reads} reads and {writes} writes, not: {}", ran.output));
    }
    if counted("fsync") == 0 && !load.sync.is_empty() {
        return Err(format!("no aio_fsync: {}", ran.output));
    }
    Ok(())
}

fn fio_loads(name: &str, interface: Interface, direct: bool) {
    let directory = Directory::new(name);
    if direct && !direct_works(directory.path()) {
        return support::skip(&format!("no O_DIRECT in {}", directory.path().display()));
    }
    for pattern in ["randrw", "randwrite"] {
        for depth in [1, 32, 256] {
            for sync in ["", "--fsync=1", "--fdatasync=8"] {
                let load = Load { interface, direct, pattern, depth, sync };
                let outcome = fio(load, directory.path());
                assert!(outcome.is_ok(), "{load:?}: {}", outcome.err().unwrap_or_default());
            }
        }
    }
}

fn direct_works(directory: &Path) -> bool {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::File::options();
    options.create(true).write(true).truncate(true).custom_flags(libc::O_DIRECT);
    options.open(directory.join("direct")).is_ok()
}

fn fio_verifies_buffered_data() {
    fio_loads("fio-buffered", Interface::Posix, false);
}

fn fio_verifies_direct_data() {
    fio_loads("fio-direct", Interface::Posix, true);
}

fn fio_verifies_by_libaio() {
    fio_loads("fio-libaio", Interface::Libaio, true);
}

/// QEMU's images by libaio: it moves the head of the ring itself, and flushes by IO_CMD_FDSYNC.
fn qemu_img_writes_and_copies() {
    let directory = Directory::new("qemu-img");
    if !direct_works(directory.path()) {
        return support::skip(&format!("no O_DIRECT in {}", directory.path().display()));
    }
    let (image, copy) = (directory.path().join("image"), directory.path().join("copy"));
    let source = format!("driver=file,filename={},cache.direct=on,aio=native", image.display());
    fs::write(&image, vec![0; 16 << 20]).expect("an image");
    let bench = ["bench", "-f", "raw", "-w", "-c", "4096", "-d", "64", "-s", "4096", "-t", "none", "-i", "native"];
    let convert = ["convert", "-m", "8", "-W", "-t", "none", "-O", "raw", "--image-opts", &source];
    let commands = [
        (bench.as_slice(), &["--pattern", "65", "--flush-interval", "64"].map(Path::new)[..], &image, 4096),
        (convert.as_slice(), &[], &copy, 8),
    ];
    for (first, second, last, least) in commands {
        let Some(mut qemu) = preloaded("qemu-img", "stats") else { return };
        qemu.args(first).args(second).arg(last);
        let ran = support::run(qemu, LIMIT, &directory.path().join("output")).expect("qemu-img runs");
        assert_eq!(ran.end, support::End::Exit(0), "{}", ran.output);
        let counted = libaio_requests(&ran.output);
        assert!(counted >= least, "{counted} requests by libaio: {}", ran.output);
        let data = fs::read(last).expect("the image");
        assert!(data.len() == 16 << 20 && data.iter().all(|byte| *byte == 65), "{first:?}: other data than written");
    }
}

/// Ends the process group of a program that is still running.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            if let Ok(group) = libc::pid_t::try_from(self.0.id()) {
                // SAFETY: a system call without pointers; the group's leader has not been reaped.
                unsafe { libc::kill(-group, libc::SIGKILL) };
            }
            let _ = self.0.wait();
        }
    }
}

/// Every process with the number of its parent.
fn processes() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let parent = |stat: String| stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok();
    let process = |entry: fs::DirEntry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((id, parent(fs::read_to_string(entry.path().join("stat")).ok()?)?))
    };
    entries.flatten().filter_map(process).collect()
}

fn descendants(ancestor: u32) -> HashSet<u32> {
    let processes = processes();
    let mut found = HashSet::from([ancestor]);
    loop {
        let children = processes.iter().filter(|(id, parent)| found.contains(parent) && !found.contains(id));
        let children: Vec<u32> = children.map(|&(id, _)| id).collect();
        if children.is_empty() {
            return found;
        }
        found.extend(children);
    }
}

fn has_worker(process: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.flatten().filter_map(name).any(|name| name.trim_end() == "aio_rs/worker")
}

/// Runs a program and counts its processes that have been seen with a worker of the library. Err when it fails.
fn with_workers(mut command: Command, directory: &Path) -> Result<(usize, String), String> {
    let output = directory.join("output");
    let file = fs::File::create(&output).map_err(|error| error.to_string())?;
    let errors = file.try_clone().map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
    let mut running = Running(command.spawn().map_err(|error| error.to_string())?);
    let deadline = Instant::now() + LIMIT;
    let mut seen = HashSet::new();
    let status = loop {
        if let Some(status) = running.0.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if Instant::now() > deadline {
            return Err("it does not end".into());
        }
        seen.extend(descendants(running.0.id()).into_iter().filter(|&process| has_worker(process)));
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = fs::read(&output).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&text).into_owned();
    if status.success() { Ok((seen.len(), text)) } else { Err(format!("{status}\n{text}")) }
}

fn stress_ng_verifies() {
    let Some(mut stress) = preloaded("stress-ng", "") else {
        return;
    };
    let directory = Directory::new("stress-ng");
    stress.args(["--aio", "4", "--aio-requests", "32", "--verify", "--timeout", "4s", "--metrics-brief"]);
    stress.arg("--temp-path").arg(directory.path());
    match with_workers(stress, directory.path()) {
        Ok((workers, text)) => {
            assert!(workers >= 4, "{workers} of its 4 processes ran on aio_rs:\n{text}");
            assert!(!text.contains("fail:") && !text.contains("error:"), "{text}");
        }
        Err(error) => panic!("stress-ng: {error}"),
    }
}

/// Jobs as processes, forked from one that has the library loaded.
fn fio_verifies_in_forked_jobs() {
    let Some(mut fio) = preloaded("fio", "") else {
        return;
    };
    let directory = Directory::new("fio-forked");
    let report = directory.path().join("report.json");
    let load = Load { interface: Interface::Posix, direct: false, pattern: "randrw", depth: 32, sync: "--fdatasync=8" };
    fio.args(load.arguments(directory.path(), &report)).args(["--time_based", "--runtime=2"]);
    match with_workers(fio, directory.path()) {
        Ok((workers, text)) => assert!(workers >= 4, "{workers} of its 4 jobs ran on aio_rs:\n{text}"),
        Err(error) => panic!("fio: {error}"),
    }
    let report = fs::read_to_string(&report).expect("fio's report");
    if let Err(error) = jobs(&report) {
        panic!("{error}");
    }
}

fn main() -> std::process::ExitCode {
    let tests = support::tests![
        fio_verifies_buffered_data,
        fio_verifies_direct_data,
        fio_verifies_by_libaio,
        qemu_img_writes_and_copies,
        stress_ng_verifies,
        fio_verifies_in_forked_jobs,
        mariadb::mariadb_keeps_what_it_committed,
        storage::stressapptest_finds_no_fault,
        storage::thin_tools_keep_their_tree,
        storage::lvm_keeps_its_metadata,
        sysbench::sysbench_submits_in_depth,
        sysbench::sysbench_validates
    ];
    support::run_tests("real_programs", 2 * support::processors(), tests)
}
