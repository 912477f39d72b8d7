//! Runs the C programs of tests/c: each linked with the .so, with the .a, preloaded over libc and on the portable build,
//! and on libc itself as the oracle. The conventions are at the top of tests/c/check.h.
//!
//!     cargo test --test c_suite [-- NAME...]
//!
//! AIO_RS_MODES=shared,glibc      only these modes          AIO_RS_LIB_DIR=DIR            a built library
//! AIO_RS_CC=COMMAND              another compiler          AIO_RS_PORTABLE_LIB_DIR=DIR   a built portable one
//! AIO_RS_RUNNER=COMMAND          run programs behind it    AIO_RS_JOBS=N                 programs at once
//! AIO_RS_ROUTES=stream           with these routes only (programs that name some keep theirs)
//! AIO_RS_TEST_DIR=DIR            another place for the programs' files: another file system, say
//! AIO_RS_REQUIRE_ALL=1           a skip is a failure, unless the program declares `may-skip`

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{End, Ran};

const CFLAGS: &[&str] = &["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"];

/// How often a program that libc is expected to fail may pass there before that is taken for the truth.
const FAULT_TRIES: u32 = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Glibc,
    Shared,
    Static,
    Preload,
    Portable,
}

impl Mode {
    const ALL: [Mode; 5] = [Mode::Glibc, Mode::Shared, Mode::Static, Mode::Preload, Mode::Portable];

    fn name(self) -> &'static str {
        match self {
            Mode::Glibc => "glibc",
            Mode::Shared => "shared",
            Mode::Static => "static",
            Mode::Preload => "preload",
            Mode::Portable => "portable",
        }
    }

    fn parse(name: &str) -> Result<Mode, String> {
        let found = Mode::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| format!("unknown mode `{name}`"))
    }

    fn parse_list(text: &str) -> Result<Vec<Mode>, String> {
        text.split(',').map(|name| Mode::parse(name.trim())).collect()
    }
}

/// What the program does on libc.
#[derive(PartialEq, Eq)]
enum OnGlibc {
    Conforms,
    Fails(String),
    /// Fails when two events meet; a run in which they do not is no proof of anything.
    Races(String),
    Skip(String),
}

/// A C program and the directives at its top.
struct Program {
    name: String,
    source: PathBuf,
    glibc: OnGlibc,
    env: Vec<(String, String)>,
    timeout: Duration,
    glibc_timeout: Option<Duration>,
    modes: Vec<Mode>,
    root: bool,
    may_skip: bool,
    /// Not for the inline route: it would hold the call itself.
    holds_reads: bool,
    /// It uses libaio's interface; then libaio takes libc's part.
    libaio: bool,
}

impl Program {
    fn read(source: PathBuf) -> Result<Program, String> {
        let text = fs::read_to_string(&source).map_err(|error| format!("{}: {error}", source.display()))?;
        let name = source.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let mut program = Program {
            name,
            source,
            glibc: OnGlibc::Conforms,
            env: Vec::new(),
            timeout: Duration::from_secs(180),
            glibc_timeout: None,
            modes: Mode::ALL.into_iter().filter(|&mode| mode != Mode::Glibc).collect(),
            root: false,
            may_skip: false,
            holds_reads: text.contains("held_read") || text.contains("hold(") && text.contains("aio_read"),
            libaio: false,
        };
        program.parse_top(&text).map_err(|what| format!("{}: {what}", program.source.display()))?;
        Ok(program)
    }

    fn parse_top(&mut self, text: &str) -> Result<(), String> {
        let top: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//")).map(str::trim).collect();
        if top.first().is_none_or(|first| first.is_empty() || self.directive(first) != Ok(false)) {
            return Err("the first line must be a comment that says the promise".to_string());
        }
        let mut directives = false;
        for line in &top[1..] {
            let is_one = self.directive(line)?;
            if directives && !is_one {
                return Err(format!("unknown directive `{line}`"));
            }
            directives |= is_one;
        }
        Ok(())
    }

    /// Takes a directive in; false when the line is none.
    fn directive(&mut self, line: &str) -> Result<bool, String> {
        let (key, value) = line.split_once(':').map_or((line, ""), |(key, value)| (key, value.trim()));
        match key {
            "glibc" => self.glibc = on_glibc(value)?,
            "env" => self.env = value.split_whitespace().map(assignment).collect::<Result<_, _>>()?,
            "timeout" => self.timeout = seconds(value)?,
            "glibc-timeout" => self.glibc_timeout = Some(seconds(value)?),
            "modes" => self.modes = Mode::parse_list(value)?,
            "interface" if value == "libaio" => {
                self.libaio = true;
                self.modes.retain(|&mode| mode != Mode::Portable && !cfg!(feature = "portable"));
            }
            "root" if value.is_empty() => self.root = true,
            "may-skip" if !value.is_empty() => self.may_skip = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn limit(&self, mode: Mode) -> Duration {
        match (mode, &self.glibc) {
            (Mode::Glibc, OnGlibc::Fails(_) | OnGlibc::Races(_)) => {
                self.glibc_timeout.unwrap_or(Duration::from_secs(5))
            }
            (Mode::Glibc, _) => self.glibc_timeout.unwrap_or(self.timeout),
            _ => self.timeout,
        }
    }

    fn runs_in(&self, mode: Mode) -> bool {
        mode == Mode::Glibc || self.modes.contains(&mode)
    }
}

fn on_glibc(value: &str) -> Result<OnGlibc, String> {
    if value == "conforms" {
        return Ok(OnGlibc::Conforms);
    }
    match value.split_once(':').map(|(kind, why)| (kind, why.trim())) {
        Some(("fails", why)) if !why.is_empty() => Ok(OnGlibc::Fails(why.to_string())),
        Some(("races", why)) if !why.is_empty() => Ok(OnGlibc::Races(why.to_string())),
        Some(("skip", why)) if !why.is_empty() => Ok(OnGlibc::Skip(why.to_string())),
        _ => Err(format!("`glibc: {value}`: expected conforms, fails: WHAT, races: WHAT or skip: WHY")),
    }
}

fn assignment(word: &str) -> Result<(String, String), String> {
    let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}`: expected NAME=VALUE"))?;
    Ok((name.to_string(), value.to_string()))
}

fn seconds(value: &str) -> Result<Duration, String> {
    value.parse().map(Duration::from_secs).map_err(|_| format!("`{value}` is no number of seconds"))
}

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

struct Suite {
    programs: Vec<Program>,
    modes: Vec<Mode>,
    built: PathBuf,
    scratch: PathBuf,
    require_all: bool,
    routes: Option<String>,
    next: AtomicUsize,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Suite {
    fn run(&self) {
        let wanted = std::env::var("AIO_RS_JOBS").ok().and_then(|jobs| jobs.parse().ok());
        let jobs = wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4)));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| while self.run_next() {});
            }
        });
    }

    fn run_next(&self) -> bool {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(program) = self.programs.get(index) else {
            return false;
        };
        for &mode in self.modes.iter().filter(|&&mode| program.runs_in(mode)) {
            let (verdict, end) = self.run_in(program, mode);
            self.report(Outcome { program: index, mode, verdict, end });
        }
        true
    }

    fn run_in(&self, program: &Program, mode: Mode) -> (Verdict, Option<End>) {
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
        let object = self.built.join(format!("{}{}.o", program.name, if by_libaio { "-libaio" } else { "" }));
        let executable =
            match compile_object(&program.source, &object, by_libaio).and_then(|()| link(mode, &object, by_libaio)) {
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
        let took = format!("{:.2} s", ran.took.as_secs_f64());
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

fn compile_object(source: &Path, object: &Path, by_libaio: bool) -> Result<(), String> {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let mut sources = ["check.h", "gate.h", "sandbox.h", "rings.h"].map(|name| source.with_file_name(name)).to_vec();
    sources.extend([source.to_path_buf(), include.join("aio_rs/libaio.h")]);
    if support::up_to_date(object, &sources.iter().map(PathBuf::as_path).collect::<Vec<_>>()) {
        return Ok(());
    }
    let mut cc = support::cc();
    cc.args(CFLAGS).arg("-I").arg(include).arg("-c").arg(source).args(support::out(object));
    if by_libaio {
        cc.arg("-DSYSTEM_LIBAIO");
    }
    support::compile(cc)
}

fn link(mode: Mode, object: &Path, by_libaio: bool) -> Result<PathBuf, String> {
    let shared_from = |dir: &Path| (dir.join("libaio_rs.so"), format!("-Wl,-rpath,{}", dir.display()));
    let kind = if mode == Mode::Preload { Mode::Glibc } else { mode };
    let executable = object.with_extension(kind.name());
    let mut cc = support::cc();
    cc.arg("-pthread").arg(object).args(support::out(&executable));
    let library = match kind {
        Mode::Glibc | Mode::Preload => None,
        Mode::Shared => Some(shared_from(support::library_dir())),
        Mode::Portable => Some(shared_from(support::portable_library_dir())),
        // The debug information of Rust's std would be in every program.
        Mode::Static => Some((support::static_library(), "-Wl,-S".to_string())),
    };
    if by_libaio {
        cc.arg("-laio");
    }
    if let Some((file, option)) = &library {
        cc.arg(file).arg(option);
        if support::up_to_date(&executable, &[object, file]) {
            return Ok(executable);
        }
    } else if support::up_to_date(&executable, &[object]) {
        return Ok(executable);
    }
    if kind == Mode::Static {
        cc.arg("-Wl,-u,aio_rs_version").args(support::STATIC_LIBS);
    }
    link_in_place(cc, &executable)
}

/// ld writes into an existing file: a program still running from an earlier, killed run would be "text file busy".
fn link_in_place(cc: Command, executable: &Path) -> Result<PathBuf, String> {
    match fs::remove_file(executable) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.to_string()),
        _ => {}
    }
    support::compile(cc).map(|()| executable.to_path_buf())
}

/// The programs whose name contains one of the filters.
fn programs(filters: &[String]) -> Result<Vec<Program>, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c");
    let entries = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut sources: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    sources.sort();
    let mut programs = sources.into_iter().map(Program::read).collect::<Result<Vec<_>, _>>()?;
    programs.retain(|program| filters.is_empty() || filters.iter().any(|filter| program.name.contains(filter)));
    Ok(programs)
}

fn modes_wanted() -> Result<Vec<Mode>, String> {
    match std::env::var("AIO_RS_MODES") {
        Ok(list) if !list.is_empty() => Mode::parse_list(&list),
        _ => Ok(Mode::ALL.to_vec()),
    }
}

/// Compiled programs are kept per compiler, so that a second run need not compile again.
fn built_dir() -> PathBuf {
    let compiler: String = std::env::var("AIO_RS_CC").unwrap_or_default();
    let compiler: String = compiler.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    support::target_dir().join("c-suite").join(format!("programs-{profile}-{compiler}"))
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
        programs,
        modes,
        built: built_dir(),
        scratch: support::fresh_dir("c-suite"),
        require_all: std::env::var("AIO_RS_REQUIRE_ALL").is_ok_and(|value| value == "1"),
        routes: std::env::var("AIO_RS_ROUTES").ok(),
        next: AtomicUsize::new(0),
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

fn main() -> ExitCode {
    let (flags, filters): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with('-'));
    let programs = match programs(&filters) {
        Ok(programs) => programs,
        Err(message) => {
            println!("FAIL  {message}");
            return ExitCode::FAILURE;
        }
    };
    if flags.iter().any(|flag| flag == "--list") {
        programs.iter().for_each(|program| println!("{}: test", program.name));
        return ExitCode::SUCCESS;
    }
    if programs.is_empty() || flags.iter().any(|flag| flag == "--ignored") {
        println!("c_suite: 0 passed, 0 failed, 0 skipped");
        return ExitCode::SUCCESS;
    }
    match run_suite(programs) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            println!("FAIL  {message}");
            ExitCode::FAILURE
        }
    }
}
