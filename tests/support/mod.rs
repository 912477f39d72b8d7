//! What the integration tests share: the C library as a C program sees it (built on demand), the compiler, and programs
//! run under a time limit.
#![allow(dead_code, unused_imports, unused_macros)] // each test uses its part

mod arguments;
mod harness;

pub use arguments::Arguments;
pub(crate) use harness::tests;
pub use harness::{Test, require_all, run_tests, skip};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// What libaio_rs.a needs beside libc (`rustc --print native-static-libs`).
pub const STATIC_LIBS: &[&str] = &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

/// Whether libaio's own header, and so its library, is installed.
pub fn has_libaio() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let name = format!("libaio-{}.c", std::process::id());
        let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let written = fs::write(&source, "#include <libaio.h>\n");
        let output = written.and_then(|()| cc().args(["-E", "-o", "/dev/null"]).arg(&source).output());
        let _ = fs::remove_file(&source);
        output.is_ok_and(|output| output.status.success())
    })
}

pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, |number| number.get())
}

/// The target directory of this cargo run.
pub fn target_dir() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).to_path_buf()
}

/// The directory of libaio_rs.so and libaio_rs.a: `AIO_RS_LIB_DIR`, or built here.
pub fn library_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    // A directory for each: another run may be using the other build.
    let (target, features) = if cfg!(feature = "portable") { ("portable", "portable") } else { ("c-suite", "") };
    DIR.get_or_init(|| prebuilt("AIO_RS_LIB_DIR").unwrap_or_else(|| build(target, features)))
}

/// The same of the portable build: `AIO_RS_PORTABLE_LIB_DIR`, or built here.
pub fn portable_library_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| prebuilt("AIO_RS_PORTABLE_LIB_DIR").unwrap_or_else(|| build("portable", "portable")))
}

pub fn shared_library() -> PathBuf {
    library_dir().join("libaio_rs.so")
}

pub fn static_library() -> PathBuf {
    library_dir().join("libaio_rs.a")
}

fn prebuilt(variable: &str) -> Option<PathBuf> {
    let dir = std::env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(fs::canonicalize(&dir).unwrap_or_else(|error| panic!("{variable}={}: {error}", dir.display())))
}

/// Builds the library in a target directory of its own: cargo does not promise to have left the .so and the .a of this
/// very run anywhere, and the lock of the main one may be taken.
fn build(target: &str, features: &str) -> PathBuf {
    let dir = target_dir().join(target);
    let release = !cfg!(debug_assertions);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--lib", "--no-default-features"]);
    cargo.args(["--features", features]).arg("--target-dir").arg(&dir);
    // With debug assertions; but optimised a little, in one unit, and with the debug information of lines only, it takes the
    // programs a third of the processor's time, and linking them, too. Panics abort, as in the release: an optimised
    // function that unwinds may abort where a thread is cancelled.
    let settings = [("OPT_LEVEL", "1"), ("CODEGEN_UNITS", "1"), ("DEBUG", "line-tables-only"), ("PANIC", "abort")];
    for (setting, value) in settings {
        cargo.env(format!("CARGO_PROFILE_DEV_{setting}"), value);
    }
    if release {
        cargo.arg("--release");
    }
    let status = cargo.status().unwrap_or_else(|error| panic!("{}: {error}", env!("CARGO")));
    assert!(status.success(), "building the library in {} failed", dir.display());
    dir.join(if release { "release" } else { "debug" })
}

/// The C compiler: `AIO_RS_CC`, or cc.
pub fn cc() -> Command {
    let name = std::env::var("AIO_RS_CC").unwrap_or_default();
    let mut words = name.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("cc"));
    command.args(words);
    command
}

/// A command that runs a compiled program: behind `AIO_RS_RUNNER` (an emulator) when that is set.
pub fn program(path: &Path) -> Command {
    let runner = std::env::var("AIO_RS_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        None => Command::new(path),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(path);
            command
        }
    }
}

/// Runs a compiler; Err is what it said.
pub fn compile(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Whether `made` exists and is at least as new as all that it is made from.
pub fn up_to_date(made: &Path, from: &[&Path]) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let Some(at) = time(made) else { return false };
    from.iter().all(|path| time(path).unwrap_or_else(SystemTime::now) <= at)
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exit(i32),
    Signal(i32),
    Timeout,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            End::Exit(code) => write!(f, "exit {code}"),
            End::Signal(number) => write!(f, "{}", signal_name(number)),
            End::Timeout => write!(f, "timeout"),
        }
    }
}

fn signal_name(number: i32) -> String {
    let name = match number {
        libc::SIGABRT => "SIGABRT",
        libc::SIGALRM => "SIGALRM",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return format!("signal {number}"),
    };
    name.to_string()
}

pub struct Ran {
    pub end: End,
    /// stdout and stderr as they came; the last 32 KiB.
    pub output: String,
    pub took: Duration,
    /// Time of processors that it and the children it waited for took.
    pub cpu: Duration,
}

/// Runs a command in a process group of its own and kills the group in the end, or after `limit`.
/// The output goes through a file: a pipe would wait for every process that inherited it.
pub fn run(mut command: Command, limit: Duration, output: &Path) -> std::io::Result<Ran> {
    let file = File::options().create(true).truncate(true).read(true).append(false).write(true).open(output)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file.try_clone()?).process_group(0);
    die_with_us(&mut command);
    let started = Instant::now();
    let mut child = command.spawn()?;
    let ended = wait_ended(child.id(), started + limit);
    // The group is killed before its leader is reaped: afterwards the number may be another's.
    // SAFETY: a system call without pointers.
    unsafe { libc::kill(-pid(child.id()), libc::SIGKILL) };
    let status = child.wait()?;
    let end = if ended.is_some() { end_of(status) } else { End::Timeout };
    Ok(Ran { end, output: tail(file)?, took: started.elapsed(), cpu: ended.unwrap_or_default() })
}

/// An interrupted run leaves no programs behind: they are in process groups of their own.
pub fn die_with_us(command: &mut Command) {
    // SAFETY: a system call without pointers, which a forked child may make.
    let ask = || match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: `ask` allocates nothing and takes no lock.
    unsafe { command.pre_exec(ask) };
}

fn pid(id: u32) -> libc::pid_t {
    libc::pid_t::try_from(id).expect("a process id")
}

/// Waits until the process has ended (it stays to be reaped), and tells the time of processors it took; None when it has
/// not ended by the deadline.
fn wait_ended(id: u32, deadline: Instant) -> Option<Duration> {
    let flags = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
    loop {
        // SAFETY: `info` and `usage` are plain structures, valid when zeroed, that outlive the call. The system call takes
        // a fifth argument, which libc's function does not.
        let (ended, usage) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let mut usage: libc::rusage = std::mem::zeroed();
            let done = libc::syscall(libc::SYS_waitid, libc::P_PID, id, &raw mut info, flags, &raw mut usage);
            (done == 0 && info.si_signo != 0, usage)
        };
        if ended {
            let microseconds = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
            let all = microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
            return Some(Duration::from_micros(u64::try_from(all).unwrap_or(0)));
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn end_of(status: ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exit(code),
        (None, signal) => End::Signal(signal.unwrap_or(0)),
    }
}

fn tail(mut file: File) -> std::io::Result<String> {
    const MOST: u64 = 32 * 1024;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A fresh directory in `AIO_RS_TEST_DIR`, or below the target directory.
pub fn fresh_dir(name: &str) -> PathBuf {
    let named = std::env::var_os("AIO_RS_TEST_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = named
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")))
        .join(format!("{name}-{}", std::process::id()));
    // What is in the way is a left-over of an earlier process of this number.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    dir
}

/// `-o`, a path: as two arguments.
pub fn out(path: &Path) -> [OsString; 2] {
    ["-o".into(), path.into()]
}
