//! Runs the C programs of tests/c: each linked with the .so, with the .a, preloaded over libc and on the portable build,
//! and on libc itself as the oracle. The conventions are at the top of tests/c/check.h.
//!
//! Programs mostly wait, so several run at once for each processor, the longest first; those that say `alone` run at the
//! end, one by one.

#[path = "c_suite/build.rs"]
mod build;
#[path = "c_suite/program.rs"]
mod program;
mod support;

use program::{Mode, OnGlibc, Program};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use support::{Arguments, End, Ran};

const USAGE: &str = "\
usage: cargo test --test c_suite [-- NAME...]

Runs the programs of tests/c whose names contain one of the NAMEs, or all, in every mode. Environment:
AIO_RS_MODES=shared,glibc      only these modes          AIO_RS_LIB_DIR=DIR            a built library
AIO_RS_CC=COMMAND              another compiler          AIO_RS_PORTABLE_LIB_DIR=DIR   a built portable one
AIO_RS_RUNNER=COMMAND          run programs behind it    AIO_RS_JOBS=N                 programs at once
AIO_RS_ROUTES=stream           with these routes only (programs that name some keep theirs)
AIO_RS_TEST_DIR=DIR            another place for the programs' files: another file system, say
AIO_RS_REQUIRE_ALL=1           a skip is a failure, unless the program declares `may-skip`

";

/// Programs at once for each processor.
const JOBS_PER_PROCESSOR: usize = 4;

/// How often a program that libc is expected to fail may pass there before that is taken for the truth.
const FAULT_TRIES: u32 = 4;

/// What came of one program in one mode.
enum Verdict {
    /// With what is worth saying about it.
    Pass(String),
    Fail(String),
    Skip(String),
    /// Declared meaningless in this mode.
    NotApplicable(String),
}

struct Outcome {
    program: usize,
    mode: Mode,
    verdict: Verdict,
    /// How libc's failure looked, when one was expected and came.
    end: Option<End>,
}

/// A counting semaphore.
struct Permits(Mutex<usize>, Condvar);

struct Permit<'a>(&'a Permits);

impl Permits {
    fn take(&self) -> Permit<'_> {
        let free = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let free = self.1.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(|poisoned| poisoned.into_inner()) -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += 1;
        self.0.1.notify_one();
    }
}

struct Suite {
    programs: Vec<Program>,
    /// Held while a program is compiled or linked: its modes share files.
    building: Vec<Mutex<()>>,
    compilers: Permits,
    modes: Vec<Mode>,
    built: PathBuf,
    scratch: PathBuf,
    require_all: bool,
    routes: Option<String>,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Suite {
    fn run(&self) {
        let wanted = std::env::var("AIO_RS_JOBS").ok().and_then(|jobs| jobs.parse().ok());
        let jobs = wanted.unwrap_or_else(|| support::processors() * JOBS_PER_PROCESSOR);
        let (alone, together): (Vec<_>, Vec<_>) = self.runs().into_iter().partition(|&(at, _)| self.programs[at].alone);
        self.run_all(&together, jobs);
        self.run_all(&alone, 1);
    }

    /// What is to be run, the longest first.
    fn runs(&self) -> Vec<(usize, Mode)> {
        let modes_of =
            |(at, program): (usize, &Program)| program.modes_of(&self.modes).into_iter().map(move |mode| (at, mode));
        let mut runs: Vec<(usize, Mode)> = self.programs.iter().enumerate().flat_map(modes_of).collect();
        runs.sort_by_key(|&(at, mode)| std::cmp::Reverse(self.programs[at].seconds(mode)));
        runs
    }

    fn run_all(&self, runs: &[(usize, Mode)], jobs: usize) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(&(at, mode)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (verdict, end) = self.run_in(at, mode);
                self.report(Outcome { program: at, mode, verdict, end });
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..jobs.min(runs.len()) {
                scope.spawn(work);
            }
        });
    }

    fn run_in(&self, at: usize, mode: Mode) -> (Verdict, Option<End>) {
        let program = &self.programs[at];
        if let (Mode::Glibc, OnGlibc::Skip(why)) = (mode, &program.glibc) {
            return (Verdict::NotApplicable(why.clone()), None);
        }
        if program.root && !is_root() {
            return (self.skip(program, "needs root"), None);
        }
        let by_libaio = program.libaio && matches!(mode, Mode::Glibc | Mode::Preload);
        if by_libaio && !support::has_libaio() {
            return (self.skip(program, "needs libaio-dev"), None);
        }
        let executable = match self.build(at, mode, by_libaio) {
            Ok(executable) => executable,
            Err(message) => return (Verdict::Fail(message), None),
        };
        let scratch = self.scratch.join(format!("{}-{}", program.name, mode.name()));
        let once = || self.execute(program, mode, &executable, &scratch);
        let mut ran = once();
        // What libc is expected to get wrong it may get right at first.
        let expected = mode == Mode::Glibc && matches!(program.glibc, OnGlibc::Fails(_) | OnGlibc::Races(_));
        for _ in 1..FAULT_TRIES {
            if !expected || !matches!(&ran, Ok(ran) if ran.end == End::Exit(0)) {
                break;
            }
            ran = once();
        }
        match ran {
            Ok(ran) => self.judge(program, mode, ran),
            Err(error) => (Verdict::Fail(format!("cannot run {}: {error}", executable.display())), None),
        }
    }

    fn build(&self, at: usize, mode: Mode, by_libaio: bool) -> Result<PathBuf, String> {
        let program = &self.programs[at];
        let _one = self.building[at].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _permit = self.compilers.take();
        let object = self.built.join(format!("{}{}.o", program.name, if by_libaio { "-libaio" } else { "" }));
        build::compile_object(&program.source, &object, by_libaio)?;
        build::link(mode, &object, by_libaio)
    }

    fn execute(&self, program: &Program, mode: Mode, executable: &Path, scratch: &Path) -> std::io::Result<Ran> {
        fs::create_dir_all(scratch)?;
        let mut command = support::program(executable);
        command.env_remove("AIO_RS").env_remove("LD_PRELOAD").env_remove("AIO_RS_TEST_PORTABLE");
        // cargo's names the directory of its own libaio_rs.so, and wins over the program's rpath.
        command.env_remove("LD_LIBRARY_PATH");
        command.env("AIO_RS_TEST_MODE", mode.name()).env("TMPDIR", scratch).current_dir(scratch);
        if mode == Mode::Preload {
            command.env("LD_PRELOAD", support::shared_library());
        }
        if mode != Mode::Glibc {
            command.envs(program.env.iter().cloned());
            self.choose_routes(program, &mut command);
            if mode == Mode::Portable || cfg!(feature = "portable") {
                command.env("AIO_RS_TEST_PORTABLE", "1");
            }
        }
        let output = scratch.with_extension("out");
        let ran = support::run(command, program.limit(mode), &output);
        // Left-overs of a killed program; whatever cannot be removed goes with the suite's directory.
        let _ = fs::remove_dir_all(scratch);
        ran
    }

    fn choose_routes(&self, program: &Program, command: &mut Command) {
        let for_held_reads = || program.holds_reads.then_some("stream");
        let Some(routes) = self.routes.as_deref().or_else(for_held_reads) else { return };
        let own = program.env.iter().find(|(name, _)| name == "AIO_RS").map_or("", |(_, value)| value);
        if !own.contains("routes=") {
            command.env("AIO_RS", format!("{own},routes={routes}"));
        }
    }

    fn judge(&self, program: &Program, mode: Mode, ran: Ran) -> (Verdict, Option<End>) {
        let took = format!("{:.2} s, CPU {:.2} s", ran.took.as_secs_f64(), ran.cpu.as_secs_f64());
        let said = ran.output.trim_end();
        if ran.end == End::Exit(77) {
            return (self.skip(program, said.trim_start_matches("skip: ")), None);
        }
        let fails_on_glibc = match (mode, &program.glibc) {
            (Mode::Glibc, OnGlibc::Fails(what) | OnGlibc::Races(what)) => Some(what),
            _ => None,
        };
        match (fails_on_glibc, ran.end) {
            (None, End::Exit(0)) => (Verdict::Pass(took), None),
            (Some(what), End::Exit(0)) if matches!(program.glibc, OnGlibc::Races(_)) => {
                (Verdict::Pass(format!("{took}, not seen in {FAULT_TRIES} runs: {what}")), None)
            }
            (None, end) => (Verdict::Fail(format!("{end} after {took}\n{said}")), None),
            (Some(what), End::Exit(0)) => (Verdict::Fail(format!("passes, but was expected to fail: {what}")), None),
            (Some(what), end) => {
                let seen = said.lines().last().map_or(String::new(), |line| format!("\n{line}"));
                (Verdict::Pass(format!("fails as expected, {end}: {what}{seen}")), Some(end))
            }
        }
    }

    fn skip(&self, program: &Program, why: &str) -> Verdict {
        if self.require_all && !program.may_skip {
            return Verdict::Fail(format!("skipped: {why}"));
        }
        Verdict::Skip(why.to_string())
    }

    fn report(&self, outcome: Outcome) {
        let (word, text) = match &outcome.verdict {
            Verdict::Pass(text) => ("pass", text),
            Verdict::Fail(text) => ("FAIL", text),
            Verdict::Skip(text) => ("skip", text),
            Verdict::NotApplicable(text) => ("n/a ", text),
        };
        let name = self.programs.get(outcome.program).map_or("", |program| &program.name);
        let mut outcomes = self.outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        println!("{word}  {:8}  {name:30}  {}", outcome.mode.name(), text.replace('\n', "\n        "));
        outcomes.push(outcome);
    }

    /// The table "what glibc gets wrong", or libaio, from what this run saw.
    fn table_of_faults(&self, outcomes: &[Outcome], libaio: bool) -> Option<String> {
        let mut rows: Vec<String> = Vec::new();
        for (index, program) in self.programs.iter().enumerate().filter(|(_, program)| program.libaio == libaio) {
            let (OnGlibc::Fails(what) | OnGlibc::Races(what)) = &program.glibc else {
                continue;
            };
            let of_program = || outcomes.iter().filter(|outcome| outcome.program == index);
            let Some(end) = of_program().find_map(|outcome| outcome.end) else {
                continue;
            };
            let ours: Vec<bool> = of_program().filter(|o| o.mode != Mode::Glibc).filter_map(passed).collect();
            let name = &program.name;
            rows.push(format!("| [{name}](../tests/c/{name}.c) | {what} | {} | {} |", how(end), tally(&ours)));
        }
        let other = if libaio { "libaio".to_string() } else { format!("glibc {}", glibc_version()) };
        let head = format!("| test | what happens | {other} | aio_rs |\n| --- | --- | --- | --- |");
        (!rows.is_empty()).then(|| format!("{head}\n{}\n", rows.join("\n")))
    }
}

fn passed(outcome: &Outcome) -> Option<bool> {
    match outcome.verdict {
        Verdict::Pass(_) => Some(true),
        Verdict::Fail(_) => Some(false),
        Verdict::Skip(_) | Verdict::NotApplicable(_) => None,
    }
}

fn how(end: End) -> String {
    match end {
        End::Exit(_) => "wrong".to_string(),
        End::Signal(_) => format!("dies of {end}"),
        End::Timeout => "hangs".to_string(),
    }
}

fn tally(passes: &[bool]) -> String {
    match (passes.len(), passes.iter().filter(|&&pass| !pass).count()) {
        (0, _) => "not run".to_string(),
        (_, 0) => "passes".to_string(),
        (all, failed) => format!("FAILS ({failed} of {all})"),
    }
}

fn glibc_version() -> String {
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("version.c");
    let written = fs::write(&source, "#include <features.h>\n__GLIBC__ __GLIBC_MINOR__\n");
    let output = written.and_then(|()| support::cc().args(["-E", "-P"]).arg(&source).output());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(".")
}

fn is_root() -> bool {
    // SAFETY: a system call without arguments.
    unsafe { libc::geteuid() == 0 }
}

fn all_programs() -> Result<Vec<Program>, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c");
    let entries = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut sources: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    sources.sort();
    sources.into_iter().map(Program::read).collect()
}

fn modes_wanted() -> Result<Vec<Mode>, String> {
    match std::env::var("AIO_RS_MODES") {
        Ok(list) if !list.is_empty() => Mode::parse_list(&list),
        _ => Ok(Mode::ALL.to_vec()),
    }
}

fn run_suite(programs: Vec<Program>) -> Result<bool, String> {
    let modes = modes_wanted()?;
    if modes.iter().any(|mode| matches!(mode, Mode::Shared | Mode::Static | Mode::Preload)) {
        support::library_dir();
    }
    if modes.contains(&Mode::Portable) {
        support::portable_library_dir();
    }
    let suite = Suite {
        building: programs.iter().map(|_| Mutex::new(())).collect(),
        compilers: Permits(Mutex::new(support::processors()), Condvar::new()),
        programs,
        modes,
        built: build::directory(),
        scratch: support::fresh_dir("c-suite"),
        require_all: support::require_all(),
        routes: std::env::var("AIO_RS_ROUTES").ok(),
        outcomes: Mutex::new(Vec::new()),
    };
    fs::create_dir_all(&suite.built).map_err(|error| format!("{}: {error}", suite.built.display()))?;
    suite.run();
    let _ = fs::remove_dir_all(&suite.scratch);
    let outcomes = suite.outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (name, libaio) in [("glibc", false), ("libaio", true)] {
        let Some(table) = suite.table_of_faults(&outcomes, libaio) else { continue };
        let path = support::target_dir().join(format!("{name}-failures.md"));
        fs::write(&path, &table).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("\nWhat {name} gets wrong (also in {}):\n\n{table}", path.display());
    }
    Ok(summary(&suite, &outcomes))
}

fn summary(suite: &Suite, outcomes: &[Outcome]) -> bool {
    let count = |wanted: fn(&Verdict) -> bool| outcomes.iter().filter(|outcome| wanted(&outcome.verdict)).count();
    let failed: Vec<&Outcome> = outcomes.iter().filter(|o| matches!(o.verdict, Verdict::Fail(_))).collect();
    for outcome in &failed {
        let name = suite.programs.get(outcome.program).map_or("", |program| &program.name);
        println!("FAIL  {:8}  {name}", outcome.mode.name());
    }
    let passed = count(|verdict| matches!(verdict, Verdict::Pass(_)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skip(_)));
    println!("c_suite: {passed} passed, {} failed, {skipped} skipped", failed.len());
    failed.is_empty()
}

/// Err is what keeps it from starting.
fn run() -> Result<bool, String> {
    let arguments = Arguments::of_process(USAGE, &[])?;
    let mut programs = all_programs()?;
    arguments.refuse_unknown("c_suite", &programs.iter().map(|program| program.name.as_str()).collect::<Vec<_>>())?;
    programs.retain(|program| arguments.selects(&program.name));
    if arguments.list {
        programs.iter().for_each(|program| println!("{}: test", program.name));
        return Ok(true);
    }
    if programs.is_empty() {
        println!("c_suite: 0 passed, 0 failed, 0 skipped");
        return Ok(true);
    }
    run_suite(programs)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            println!("FAIL  {message}");
            ExitCode::FAILURE
        }
    }
}
