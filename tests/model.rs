//! Random programs on the library's interfaces, each compared with a sequential model (tests/model/posix.c, tests/model/libaio.c).
//!
//! Each row below runs from a seed that is new each time. A failure names the seed it was seen with; from that seed on it is
//! likely to be seen again, for the threads' numbers are the same, if not their timing.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{Arguments, End};

const USAGE: &str = "\
usage: cargo test --test model [-- [SECONDS [FIRST-SEED]] [NAME...]]

Runs the rows whose names contain a NAME, each for so many seconds (3), from this seed on (a new one).

";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Shared,
    Preload,
    Portable,
}

struct Row {
    model: &'static str,
    link: Link,
    settings: &'static str,
}

const ROWS: &[Row] = &[
    Row { model: "posix", link: Link::Shared, settings: "" },
    Row { model: "posix", link: Link::Preload, settings: "" },
    // Cancelling a read that waits for a stream takes that route.
    Row { model: "posix", link: Link::Shared, settings: "routes=stream" },
    Row { model: "posix", link: Link::Shared, settings: "threads=2,idle=1ms" },
    Row { model: "posix", link: Link::Portable, settings: "" },
    Row { model: "libaio", link: Link::Shared, settings: "" },
    Row { model: "libaio", link: Link::Preload, settings: "" },
];

impl Row {
    fn name(&self) -> String {
        let link = match self.link {
            Link::Shared => "linked",
            Link::Preload => "preloaded",
            Link::Portable => "portable",
        };
        format!("{} {link} {}", self.model, self.settings).trim_end().to_string()
    }

    /// Why it cannot run here.
    fn obstacle(&self) -> Option<&'static str> {
        match (self.model, self.link) {
            ("libaio", _) if cfg!(feature = "portable") => Some("the portable build has no such interface"),
            ("libaio", Link::Preload) if !support::has_libaio() => Some("needs libaio-dev"),
            _ => None,
        }
    }

    fn build(&self) -> Result<PathBuf, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let executable = support::target_dir().join(format!("model-{}-{}", self.model, self.link as u8));
        let mut cc = support::cc();
        cc.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"]).arg(root.join("include"));
        cc.arg(root.join(format!("tests/model/{}.c", self.model))).args(support::out(&executable));
        let library = match self.link {
            Link::Shared => Some(support::library_dir()),
            Link::Portable => Some(support::portable_library_dir()),
            Link::Preload => None,
        };
        if let Some(dir) = library {
            cc.arg(dir.join("libaio_rs.so")).arg(format!("-Wl,-rpath,{}", dir.display()));
        } else if self.model == "libaio" {
            cc.args(["-DSYSTEM_LIBAIO", "-laio"]);
        }
        cc.args(["-lutil", "-ldl"]);
        support::compile(cc).map(|()| executable)
    }

    fn run(&self, executable: &Path, seconds: u64, seed: u64) -> Result<String, String> {
        let scratch = support::fresh_dir(&format!("model-{}", self.name().replace([' ', ',', '='], "-")));
        let mut command: Command = support::program(executable);
        command.args([seed.to_string(), format!("{seconds}s")]).env("TMPDIR", &scratch).current_dir(&scratch);
        // cargo's names the directory of its own libaio_rs.so, and wins over the program's rpath.
        command.env_remove("LD_LIBRARY_PATH").env("AIO_RS", self.settings);
        if self.link == Link::Preload {
            command.env("LD_PRELOAD", support::shared_library());
        }
        let limit = Duration::from_secs(seconds + 120);
        let ran = support::run(command, limit, &scratch.with_extension("out"));
        let _ = std::fs::remove_dir_all(&scratch);
        let ran = ran.map_err(|error| format!("{}: {error}", executable.display()))?;
        let said = ran.output.trim().replace('\n', ", ");
        if ran.end == End::Exit(0) { Ok(said) } else { Err(format!("{} (from seed {seed}): {said}", ran.end)) }
    }
}

fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) % 1_000_000 + 1
}

/// What came of a row.
enum Verdict {
    Pass(String),
    Fail(String),
    Skip(String),
}

fn judge(row: &Row, executable: &Result<PathBuf, String>, seconds: u64, seed: u64) -> Verdict {
    match row.obstacle() {
        Some(why) if support::require_all() && !cfg!(feature = "portable") => Verdict::Fail(format!("skipped: {why}")),
        Some(why) => Verdict::Skip(why.to_string()),
        None => match executable.clone().and_then(|executable| row.run(&executable, seconds, seed)) {
            Ok(said) => Verdict::Pass(said),
            Err(error) => Verdict::Fail(error),
        },
    }
}

/// Numbers of passed, failed and skipped rows. Two at once for each processor, as they wait, too.
fn run_all(rows: &[&Row], seconds: u64, seed: u64) -> [usize; 3] {
    // One after the other: some rows have the same program.
    let build = |row: &&Row| row.obstacle().map_or_else(|| row.build(), |why| Err(why.to_string()));
    let executables: Vec<Result<PathBuf, String>> = rows.iter().map(build).collect();
    let (next, counts) = (AtomicUsize::new(0), Mutex::new([0; 3]));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(row), Some(executable)) = (rows.get(at), executables.get(at)) else { return };
            let (word, place, said) = match judge(row, executable, seconds, seed) {
                Verdict::Pass(said) => ("pass", 0, said),
                Verdict::Fail(said) => ("FAIL", 1, said),
                Verdict::Skip(said) => ("skip", 2, said),
            };
            println!("{word}  {:40}  {said}", row.name());
            counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[place] += 1;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..rows.len().min(2 * support::processors()) {
            scope.spawn(work);
        }
    });
    counts.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn run() -> Result<bool, String> {
    let mut arguments = Arguments::of_process(USAGE, &[])?;
    let mut number = || {
        let number = arguments.words.first()?.parse::<u64>().ok()?;
        arguments.words.remove(0);
        Some(number)
    };
    let (seconds, seed) = (number().unwrap_or(3), number().unwrap_or_else(new_seed));
    let names: Vec<String> = ROWS.iter().map(Row::name).collect();
    arguments.refuse_unknown("model", &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let rows: Vec<&Row> = ROWS.iter().filter(|row| arguments.selects(&row.name())).collect();
    if arguments.list {
        rows.iter().for_each(|row| println!("{}: test", row.name()));
        return Ok(true);
    }
    let [passed, failed, skipped] = run_all(&rows, seconds, seed);
    println!("model: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("FAIL  {error}");
            ExitCode::FAILURE
        }
    }
}
