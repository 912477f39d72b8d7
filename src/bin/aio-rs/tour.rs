//! The tour: one POSIX AIO program, run on libc and on aio_rs in turn, and what came out of it.

use crate::client::Line;
use crate::report::Report;
use crate::workload::{FILE_SIZE, WORKLOADS};
use crate::{elf, library};
use indicatif::{ProgressBar, ProgressStyle};
use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

#[derive(clap::Args)]
pub struct Args {
    /// Where the data file goes; default: TMPDIR, else /var/tmp, which is seldom in memory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Rounds of the measurement; 0 only checks
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
}

/// Who answers the client's `aio_*` calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Libc,
    AioRs,
}

pub const SIDES: [Side; 2] = [Side::Libc, Side::AioRs];

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Libc => "libc",
            Side::AioRs => "aio_rs",
        }
    }
}

pub fn main(args: &Args) -> ExitCode {
    let report = match tour(args) {
        Ok(report) => report,
        Err(message) => {
            eprintln!("aio-rs: {message}");
            return ExitCode::FAILURE;
        }
    };
    // A reader that has gone away (`aio-rs | head`) is no failure of the tour.
    let printed = write!(std::io::stdout(), "{report}");
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => eprintln!("aio-rs: {error}"),
        _ if report.failures().is_empty() => return ExitCode::SUCCESS,
        _ => {}
    }
    ExitCode::FAILURE
}

fn tour(args: &Args) -> Result<Report, String> {
    let stage = Stage::new(args)?;
    let mut report = Report::new(&stage.library, &stage.directory, &filesystem(&stage.data));
    for side in SIDES {
        stage.bar.set_message(format!("checks on {}", side.name()));
        stage.run_client(side, "check", |line| report.add(side, line))?;
    }
    for round in 1..=args.rounds {
        stage.bar.set_message(format!("round {round} of {}", args.rounds));
        let mut sides = SIDES;
        // The first of a round may find the disk busier: take turns.
        sides.rotate_left(round % 2);
        for side in sides {
            stage.run_client(side, "bench", |line| report.add(side, line))?;
        }
    }
    stage.bar.finish_and_clear();
    Ok(report)
}

/// What every run of the client needs.
struct Stage {
    executable: PathBuf,
    library: PathBuf,
    directory: PathBuf,
    data: File,
    bar: ProgressBar,
}

impl Stage {
    fn new(args: &Args) -> Result<Stage, String> {
        let executable = library::executable()?;
        let library = library::find()?;
        elf::check(&executable, &library).map_err(|reason| format!("no tour: {reason}"))?;
        let directory = directory(args);
        let data =
            data_file(&directory).map_err(|error| format!("no data file in {}: {error}", directory.display()))?;
        Ok(Stage { executable, library, directory, data, bar: progress_bar(args.rounds) })
    }

    /// Runs the client on the data file and hands over each line it prints.
    fn run_client(&self, side: Side, task: &str, mut take: impl FnMut(Line)) -> Result<(), String> {
        let failed = |reason: String| format!("the client on {} {reason}", side.name());
        let data = self.data.try_clone().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(&self.executable);
        command.args(["client", task]).stdin(data).stdout(Stdio::piped());
        match side {
            Side::Libc => command.env_remove("LD_PRELOAD"),
            Side::AioRs => command.env("LD_PRELOAD", &self.library),
        };
        let mut child = command.spawn().map_err(|error| failed(format!("did not start: {error}")))?;
        let output = child.stdout.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines());
        for line in output.map_while(Result::ok).filter_map(|line| Line::parse(&line)) {
            take(line);
            self.bar.inc(1);
        }
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        if status.success() { Ok(()) } else { Err(failed(format!("ended with {status}"))) }
    }
}

fn directory(args: &Args) -> PathBuf {
    let usual = Path::new("/var/tmp");
    let named = args.dir.clone().or_else(|| env::var_os("TMPDIR").map(PathBuf::from));
    named.unwrap_or_else(|| if usual.is_dir() { usual.into() } else { env::temp_dir() })
}

/// A file without a name: it is gone with the last process that has it open, however that ends. It is written once,
/// so that direct writes find their blocks allocated.
fn data_file(directory: &Path) -> std::io::Result<File> {
    let mut file = tempfile::tempfile_in(directory)?;
    let piece = vec![b'.'; 1 << 20];
    for _ in 0..FILE_SIZE / piece.len() {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Invisible when standard error is no terminal.
fn progress_bar(rounds: usize) -> ProgressBar {
    const LINES_OF_A_CHECK: usize = 8;
    let steps = SIDES.len() * (LINES_OF_A_CHECK + rounds * WORKLOADS.len());
    let style = ProgressStyle::with_template("{msg:20} {wide_bar} {pos:>3}/{len}");
    let bar = ProgressBar::new(steps as u64);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The name of the file's file system, or its magic number.
pub fn filesystem(file: &File) -> String {
    // SAFETY: a `statfs` of zeros is valid.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `facts` is writable.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut facts) } != 0 {
        return "unknown file system".into();
    }
    match facts.f_type as u64 {
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x0102_1994 => "tmpfs".into(),
        0x794c_7630 => "overlayfs".into(),
        0x6969 => "nfs".into(),
        0x2fc1_2fc1 => "zfs".into(),
        0xf2f5_2010 => "f2fs".into(),
        0x6573_5546 => "fuse".into(),
        0x0102_1997 => "9p".into(),
        magic => format!("file system {magic:#x}"),
    }
}
