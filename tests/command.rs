//! The command `aio-rs`, as a person at a terminal or in a script sees it.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Submits a write and an fsync and waits for both.
const CLIENT: &str = r#"
#define _POSIX_C_SOURCE 200809L
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    static struct aiocb cb[2];
    for (int i = 0; i < 2; i++) {
        const struct aiocb *list[1] = { &cb[i] };
        cb[i].aio_fildes = open(argv[1], O_RDWR | O_CREAT, 0600);
        cb[i].aio_buf = "data";
        cb[i].aio_nbytes = 4;
        if ((i == 0 ? aio_write(&cb[i]) : aio_fsync(O_SYNC, &cb[i])) != 0)
            return 3;
        while (aio_error(&cb[i]) == EINPROGRESS)
            aio_suspend(list, 1, NULL);
        if (aio_return(&cb[i]) < 0)
            return 4;
    }
    puts("client done");
    return argc - 2;
}
"#;

/// The command, told which library to use.
fn aio_rs() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aio-rs"));
    command.env("AIO_RS_LIBRARY", support::shared_library());
    command.env_remove("AIO_RS").env_remove("LD_PRELOAD");
    command.stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the command starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn compile(directory: &Path, name: &str, options: &[&str]) -> PathBuf {
    compile_text(directory, name, CLIENT, &[&["-std=c99"], options].concat())
}

fn compile_text(directory: &Path, name: &str, text: &str, options: &[&str]) -> PathBuf {
    let source = directory.join(format!("{name}.c"));
    let program = directory.join(name);
    fs::write(&source, text).expect("the source is written");
    let mut cc = support::cc();
    cc.args(options).args(support::out(&program)).arg(source);
    support::compile(cc).unwrap_or_else(|error| panic!("{error}"));
    program
}

/// Asserts that the program was refused before it ran, with this in the message.
fn assert_refused(ran: &Output, code: i32, reason: &str) {
    assert_eq!(ran.status.code(), Some(code), "{}", stderr(ran));
    assert!(stderr(ran).starts_with("aio-rs: ") && stderr(ran).contains(reason), "{}", stderr(ran));
    assert_eq!(stdout(ran), "");
}

fn the_tour_checks_measures_and_leaves_nothing_behind() {
    let directory = support::fresh_dir("command-tour");
    let ran = output(aio_rs().args(["--rounds", "1", "--dir"]).arg(&directory));
    let text = stdout(&ran);
    assert!(ran.status.success(), "{text}{}", stderr(&ran));
    assert!(text.contains("fsync kept its promise: 50 of 50 (libc: "), "{text}");
    // Where direct writes are done when io_submit returns, there is nothing to try.
    let by_libaio = ["40 of 40 (plain libaio: ", "not tried (plain libaio: "];
    assert!(by_libaio.iter().any(|line| text.contains(&format!("fsync kept its promise: {line}"))), "{text}");
    assert!(text.contains("cached read, depth 32"), "{text}");
    assert!(text.contains("passed every check"), "{text}");
    assert!(!text.contains('\x1b') && stderr(&ran).is_empty(), "plain text: {text}{}", stderr(&ran));
    assert_eq!(fs::read_dir(&directory).expect("the directory").count(), 0);
    fs::remove_dir(directory).expect("the directory is removed");
}

fn the_tour_finds_the_library_of_its_build_directory() {
    let ran = output(aio_rs().env_remove("AIO_RS_LIBRARY").args(["--rounds", "0"]));
    assert!(ran.status.success(), "{}{}", stdout(&ran), stderr(&ran));
    assert!(!stdout(&ran).contains("depth"), "nothing is measured: {}", stdout(&ran));
}

/// Libc itself in the library's place keeps none of the promises, so the tour must fail.
fn the_tour_fails_when_the_library_does() {
    let directory = support::fresh_dir("command-tour-fails");
    let source = directory.join("empty.c");
    let library = directory.join("empty.so");
    fs::write(&source, "int nothing_of_aio_rs;").expect("the source is written");
    let mut cc = support::cc();
    cc.args(["-shared", "-fPIC"]).args(support::out(&library)).arg(source);
    support::compile(cc).unwrap_or_else(|error| panic!("{error}"));
    let ran = output(aio_rs().env("AIO_RS_LIBRARY", &library).args(["--rounds", "0"]));
    assert_eq!(ran.status.code(), Some(1), "{}", stdout(&ran));
    assert!(stdout(&ran).contains("did not run on aio_rs"), "{}", stdout(&ran));
    assert!(stdout(&ran).contains("aio_fsync reports a write that failed: 0 of 10"), "{}", stdout(&ran));
    fs::remove_dir_all(directory).expect("the directory is removed");
}

fn the_benchmark_compares_all_engines_and_draws() {
    let directory = support::fresh_dir("command-bench");
    let (json, svg) = (directory.join("bench.json"), directory.join("bench.svg"));
    let mut command = aio_rs();
    command.args(["bench", "--quick", "--rounds", "1", "--dir"]).arg(&directory);
    let ran = output(command.arg("--json").arg(&json).arg("--svg").arg(&svg));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let table = stdout(&ran);
    for part in ["cached read, depth 1", "aio_rs", "libc", "kernel AIO", "io_uring", "threads", "p99 us"] {
        assert!(table.contains(part), "no {part} in\n{table}");
    }
    for line in ["fsync kept its promise: 50 of 50 (libc: ", "(plain libaio: "] {
        assert!(table.contains(line), "no {line} in\n{table}");
    }
    let json: serde_json::Value = serde_json::from_slice(&fs::read(json).expect("the figures")).expect("JSON");
    let promises = &json["fsync_kept_its_promise"];
    assert_eq!(promises[0]["aio_rs"]["kept"], 50, "{promises}");
    assert_eq!(promises[1]["aio_rs"]["kept"], promises[1]["aio_rs"]["trials"], "{promises}");
    let results = json["results"].as_array().expect("a list");
    for engine in ["aio_rs", "libc", "threads"] {
        let rate = |result: &serde_json::Value| result["rounds"][0]["requests_per_second"].as_f64();
        let own = results.iter().filter(|result| result["engine"] == engine);
        assert!(own.clone().count() >= 6 && own.clone().all(|result| rate(result) > Some(0.0)), "{engine}: {json}");
    }
    let picture = fs::read_to_string(svg).expect("the picture");
    assert!(picture.starts_with("<svg") && picture.contains("aio_rs"), "{picture}");
    assert_refused(&output(aio_rs().args(["bench", "--dir", "/nonexistent"])), 1, "/nonexistent");
}

/// Every row behind the facts names a route, or why the file system has the kernel keep its pages.
fn check_rows(text: &str) {
    let (_, rows) = text.split_once("\n\n").unwrap_or_else(|| panic!("{text}"));
    assert!(rows.lines().count() >= 3, "{text}");
    for row in rows.lines() {
        let (name, answer) = row.trim_start().split_at_checked(28).unwrap_or_else(|| panic!("{row}: {text}"));
        let may_be_kept =
            name.starts_with("read, not in the page cache") && answer.trim() == "the kernel keeps it there";
        assert!(["inline", "direct", "stream", "worker"].contains(&answer.trim()) || may_be_kept, "{row}: {text}");
    }
}

fn the_probe_shows_which_way_requests_take() {
    let directory = support::fresh_dir("command-probe");
    let ran = output(aio_rs().arg("probe").arg(&directory));
    let text = stdout(&ran);
    assert!(ran.status.success() && stderr(&ran).is_empty(), "{text}{}", stderr(&ran));
    for what in ["O_DIRECT", "the kernel's AIO", "read, in the page cache", "fsync"] {
        assert!(text.contains(what), "{what}: {text}");
    }
    check_rows(&text);
    assert_eq!(fs::read_dir(&directory).expect("the directory").count(), 0);
    let by_workers = stdout(&output(aio_rs().env("AIO_RS", "routes=worker").arg("probe").arg(&directory)));
    assert!(by_workers.contains("worker") && !by_workers.contains("inline"), "{by_workers}");
    // A file is only read.
    let file = directory.join("file");
    fs::write(&file, [7; 300_000]).expect("the file is written");
    let ran = output(aio_rs().arg("probe").arg(&file));
    assert!(ran.status.success() && !stdout(&ran).contains("write"), "{}{}", stdout(&ran), stderr(&ran));
    check_rows(&stdout(&ran));
    assert_eq!(fs::read(&file).expect("the file"), [7; 300_000]);
    fs::remove_dir_all(directory).expect("the directory is removed");
    assert_refused(&output(aio_rs().args(["probe", "/nonexistent"])), 1, "/nonexistent");
}

fn the_tour_names_a_directory_it_cannot_use() {
    let ran = output(aio_rs().args(["--dir", "/nonexistent"]));
    assert_refused(&ran, 1, "/nonexistent");
}

fn run_puts_a_program_on_the_library_and_passes_its_status_on() {
    let directory = support::fresh_dir("command-run");
    let program = compile(&directory, "client", &[]);
    let data = directory.join("data");
    let client = |options: &[&str]| {
        let mut command = aio_rs();
        command.arg("run").args(options).arg("--").arg(&program).arg(&data).args(["more", "--stats"]);
        output(&mut command)
    };
    let ran = client(&["--stats", "--threads", "2"]);
    assert_eq!(ran.status.code(), Some(2), "the program counts its arguments: {}", stderr(&ran));
    assert_eq!(stdout(&ran), "client done\n");
    assert!(stderr(&ran).starts_with("aio_rs: interface: POSIX AIO\n"), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("write 1") && stderr(&ran).contains("fsync 1"), "{}", stderr(&ran));
    let quiet = client(&[]);
    assert_eq!((stdout(&quiet).as_str(), stderr(&quiet).as_str()), ("client done\n", ""));
    fs::remove_dir_all(directory).expect("the directory is removed");
}

/// How the program ends: its first argument says.
const ENDS: &str = r#"
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void use(int times)
{
    FILE *file = tmpfile();
    for (int i = 0; i < times; i++) {
        struct aiocb cb;
        memset(&cb, 0, sizeof cb);
        cb.aio_fildes = fileno(file);
        cb.aio_buf = "data";
        cb.aio_nbytes = 4;
        if (aio_write(&cb) != 0)
            _exit(90);
        const struct aiocb *list[1] = { &cb };
        while (aio_error(&cb) == EINPROGRESS)
            aio_suspend(list, 1, NULL);
    }
}
int main(int argc, char **argv)
{
    const char *how = argv[1];
    if (strcmp(how, "nothing") == 0)
        return 3;
    use(2);
    if (strcmp(how, "exit") == 0)
        return 3;
    if (strcmp(how, "closed") == 0) {
        close_range(0, ~0u, 0);
        _exit(3);
    }
    if (strcmp(how, "_exit") == 0)
        _exit(3);
    if (strcmp(how, "fork") == 0) {
        for (int i = 0; i < 3; i++) {
            pid_t pid = fork();
            if (pid == 0) {
                use(10);
                _exit(0);
            }
            waitpid(pid, NULL, 0);
        }
        _exit(3);
    }
    if (strcmp(how, "exec") == 0)
        execl("/proc/self/exe", argv[0], "_exit", NULL);
    if (strcmp(how, "signal") == 0)
        raise(SIGKILL);
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "wait") == 0)
        for (puts("waiting"), fflush(stdout);;)
            pause();
    return argc;
}
"#;

/// The figures come however the program ends, of its children as well; and the command ends as it did.
fn run_tells_the_figures_whichever_way_the_program_ends() {
    use std::os::unix::process::ExitStatusExt;
    let directory = support::fresh_dir("command-ends");
    let program = compile_text(&directory, "ends", ENDS, &["-std=gnu11"]);
    let run = |how: &str| output(aio_rs().args(["run", "--stats", "--"]).arg(&program).arg(how));
    for (how, writes, processes) in [
        ("exit", 2, "1 started with the library, 1 made"),
        ("_exit", 2, "1 started with the library, 1 made"),
        ("closed", 2, "1 started with the library, 1 made"),
        ("fork", 32, "1 started with the library, 4 made"),
        ("exec", 4, "2 started with the library, 2 made"),
        ("nothing", 0, "1 started with the library, 0 made"),
    ] {
        let ran = run(how);
        let said = stderr(&ran);
        assert_eq!(ran.status.code(), Some(3), "{how}: {said}");
        assert!(said.contains(&format!("write {writes},")) && said.contains(processes), "{how}: {said}");
        let interface = if writes == 0 { "none" } else { "POSIX AIO" };
        assert!(said.starts_with(&format!("aio_rs: interface: {interface}\n")), "{how}: {said}");
    }
    for (how, signal) in [("signal", libc::SIGKILL), ("abort", libc::SIGABRT)] {
        let ran = run(how);
        assert_eq!(ran.status.signal(), Some(signal), "{how}: {}", stderr(&ran));
        assert!(stderr(&ran).contains("write 2,"), "{how}: {}", stderr(&ran));
    }
    // It prints once, whatever the variable says besides.
    let ran = output(aio_rs().env("AIO_RS", "stats").args(["run", "--stats", "--"]).arg(&program).arg("exit"));
    assert_eq!(stderr(&ran).matches("interface").count(), 1, "{}", stderr(&ran));
    fs::remove_dir_all(directory).expect("the directory is removed");
}

/// A signal that is sent to the command is meant for the program.
fn run_passes_signals_on() {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::process::ExitStatusExt;
    let directory = support::fresh_dir("command-signals");
    let program = compile_text(&directory, "ends", ENDS, &["-std=gnu11"]);
    let mut command = aio_rs();
    command.args(["run", "--stats", "--"]).arg(&program).arg("wait").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "waiting\n");
    let pid = libc::pid_t::try_from(child.id()).expect("a number");
    // SAFETY: the child has not been waited for.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    let mut said = String::new();
    child.stderr.take().expect("its messages").read_to_string(&mut said).expect("text");
    let status = child.wait().expect("its end");
    assert_eq!(status.signal(), Some(libc::SIGTERM), "{said}");
    assert!(said.contains("write 2,"), "{said}");
    fs::remove_dir_all(directory).expect("the directory is removed");
}

fn run_keeps_what_the_environment_holds() {
    let ran = output(aio_rs().env("LD_PRELOAD", "libpthread.so.0").env("AIO_RS", "threads=9,idle=1s").args([
        "run",
        "--threads",
        "3",
        "--",
        "env",
    ]));
    let text = stdout(&ran);
    let preload = format!("LD_PRELOAD={}:libpthread.so.0", support::shared_library().display());
    assert!(text.lines().any(|line| line == preload), "{text}");
    assert!(text.lines().any(|line| line == "AIO_RS=idle=1s,threads=3"), "{text}");
}

fn run_refuses_a_static_program() {
    let directory = support::fresh_dir("command-static");
    for (name, option) in [("static", "-static"), ("static-pie", "-static-pie")] {
        let program = compile(&directory, name, &[option]);
        let data = directory.join("data");
        let ran = output(aio_rs().args(["run", "--"]).arg(&program).arg(&data));
        assert_refused(&ran, 126, "static");
        assert!(!data.exists(), "it must not have run");
    }
    fs::remove_dir_all(directory).expect("the directory is removed");
}

/// A script is its interpreter's, however well it is named.
fn run_follows_a_script_to_its_interpreter() {
    let directory = support::fresh_dir("command-script");
    let script = |name: &str, interpreter: &Path| {
        let path = directory.join(name);
        fs::write(&path, format!("#!{}\necho script ran\n", interpreter.display())).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        path
    };
    let good = output(aio_rs().arg("run").arg(script("good", Path::new("/bin/sh"))));
    assert_eq!(stdout(&good), "script ran\n", "{}", stderr(&good));
    let interpreter = compile(&directory, "interpreter", &["-static"]);
    let bad = output(aio_rs().arg("run").arg(script("bad", &interpreter)));
    assert_refused(&bad, 126, "static");
    fs::remove_dir_all(directory).expect("the directory is removed");
}

fn run_refuses_a_setuid_program() {
    let directory = support::fresh_dir("command-setuid");
    let Some(program) = setuid_program(&directory) else {
        return support::skip("no setuid program of another user here");
    };
    assert_refused(&output(aio_rs().args(["run", "--"]).arg(&program)), 126, "setuid");
    fs::remove_dir_all(directory).expect("the directory is removed");
}

/// Root makes one that belongs to somebody else; other users find root's.
fn setuid_program(directory: &Path) -> Option<PathBuf> {
    // SAFETY: it takes nothing and cannot fail.
    if unsafe { libc::getuid() } != 0 {
        let known = ["/bin/su", "/usr/bin/passwd", "/usr/bin/sudo"].map(PathBuf::from);
        let setuid = |path: &PathBuf| path.metadata().is_ok_and(|data| data.permissions().mode() & libc::S_ISUID != 0);
        return known.into_iter().find(setuid);
    }
    let path = directory.join("setuid");
    fs::copy("/bin/true", &path).expect("a copy");
    std::os::unix::fs::chown(&path, Some(65534), None).ok()?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).expect("its mode");
    Some(path)
}

fn run_tells_what_it_cannot_find() {
    let ran = output(aio_rs().args(["run", "--", "no-such-program-anywhere"]));
    assert_refused(&ran, 127, "no-such-program-anywhere");
    let ran = output(aio_rs().args(["run", "--", "/etc/passwd"]));
    assert_refused(&ran, 126, "/etc/passwd");
    let ran = output(aio_rs().env("AIO_RS_LIBRARY", "/nonexistent.so").args(["run", "--", "true"]));
    assert_refused(&ran, 125, "/nonexistent.so");
}

fn help_tells_how_to_begin() {
    let help = output(aio_rs().arg("--help"));
    assert!(help.status.success() && stdout(&help).contains("aio-rs run -- "), "{}", stdout(&help));
    let run = output(aio_rs().args(["run", "--help"]));
    for word in ["--stats", "--threads", "Examples:", "126"] {
        assert!(run.status.success() && stdout(&run).contains(word), "{word}: {}", stdout(&run));
    }
    let version = output(aio_rs().arg("--version"));
    assert_eq!(stdout(&version), concat!("aio-rs ", env!("CARGO_PKG_VERSION"), "\n"));
    let wrong = output(aio_rs().args(["run", "--threads", "0", "--", "true"]));
    assert_eq!(wrong.status.code(), Some(2));
}

fn main() -> std::process::ExitCode {
    let tests = support::tests![
        the_tour_checks_measures_and_leaves_nothing_behind,
        the_tour_finds_the_library_of_its_build_directory,
        the_tour_fails_when_the_library_does,
        the_benchmark_compares_all_engines_and_draws,
        the_probe_shows_which_way_requests_take,
        the_tour_names_a_directory_it_cannot_use,
        run_puts_a_program_on_the_library_and_passes_its_status_on,
        run_tells_the_figures_whichever_way_the_program_ends,
        run_passes_signals_on,
        run_keeps_what_the_environment_holds,
        run_refuses_a_static_program,
        run_follows_a_script_to_its_interpreter,
        run_refuses_a_setuid_program,
        run_tells_what_it_cannot_find,
        help_tells_how_to_begin
    ];
    support::run_tests("command", support::processors(), tests)
}
