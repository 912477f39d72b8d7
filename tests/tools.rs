//! A program on the library under Valgrind and ThreadSanitizer: with the files of `suppressions/` they report nothing.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn there(command: &str) -> bool {
    Command::new(command).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn compile(directory: &Path, options: &[&str]) -> Result<PathBuf, String> {
    let program = directory.join("program");
    let source = Path::new(ROOT).join("tests/c/buffers_change_hands.c");
    let mut cc = support::cc();
    cc.args(["-std=gnu11", "-g", "-O1", "-pthread"]).args(options).arg(source).args(support::out(&program));
    support::compile(cc)?;
    Ok(program)
}

/// Its end and what it said.
fn run(mut command: Command, directory: &Path) -> (bool, String) {
    command.env("TMPDIR", directory).env_remove("AIO_RS").env_remove("LD_LIBRARY_PATH");
    let output = command.output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// (DRD now and then takes the futex call that wakes waiters, which reads nothing, for a read of an aiocb that has been freed.)
fn valgrind_reports_nothing() {
    if !there("valgrind") {
        return support::skip("valgrind is not installed");
    }
    let directory = support::fresh_dir("tools-valgrind");
    let program = compile(&directory, &[]).expect("it compiles");
    let suppressions = format!("--suppressions={ROOT}/suppressions/valgrind.supp");
    for tool in ["memcheck", "helgrind"] {
        let mut valgrind = Command::new("valgrind");
        valgrind.arg(format!("--tool={tool}")).args([&suppressions, "--error-exitcode=66"]).arg(&program);
        let (succeeded, said) = run(preloaded(valgrind), &directory);
        assert!(succeeded && said.contains("ERROR SUMMARY: 0 errors"), "{tool}: {said}");
        assert!(!said.contains("unhandled") && !said.contains("arning: unknown"), "{tool}: {said}");
    }
    fs::remove_dir_all(directory).expect("the directory is removed");
}

fn preloaded(mut command: Command) -> Command {
    command.env("LD_PRELOAD", support::shared_library());
    command
}

fn thread_sanitizer_reports_nothing() {
    let directory = support::fresh_dir("tools-tsan");
    let library = support::shared_library();
    let rpath = format!("-Wl,-rpath,{}", support::library_dir().display());
    let options = ["-fsanitize=thread", library.to_str().expect("a path"), &rpath];
    match compile(&directory, &options) {
        Err(_) => support::skip("the C compiler has no ThreadSanitizer"),
        Ok(program) => {
            let mut command = Command::new(program);
            command.env("TSAN_OPTIONS", format!("exitcode=66 suppressions={ROOT}/suppressions/tsan.supp"));
            let (succeeded, said) = run(command, &directory);
            assert!(succeeded && !said.contains("WARNING: ThreadSanitizer"), "{said}");
        }
    }
    fs::remove_dir_all(directory).expect("the directory is removed");
}

/// A tracer or another library that wraps the same calls, before the library in the search order or behind it.
fn other_wrappers_see_every_close() {
    let directory = support::fresh_dir("tools-wrapper");
    let [wrapper, program] = ["wrapper", "closes"].map(|name| {
        let file = directory.join(name);
        let mut cc = support::cc();
        cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", if name == "wrapper" { "-shared" } else { "-pthread" }]);
        cc.args(["-fPIC"]).arg(format!("{ROOT}/tests/tools/{name}.c")).args(support::out(&file)).args(["-ldl", "-lrt"]);
        support::compile(cc).expect("it compiles");
        file
    });
    let (library, wrapper) = (support::shared_library(), wrapper.as_path());
    for order in [[library.as_path(), wrapper], [wrapper, library.as_path()]] {
        let [first, second] = order.map(|file| file.display().to_string());
        let mut command = Command::new(&program);
        command.env("LD_PRELOAD", format!("{first}:{second}"));
        let (succeeded, said) = run(command, &directory);
        assert!(succeeded, "{first} before {second}: {said}");
    }
    fs::remove_dir_all(directory).expect("the directory is removed");
}

fn main() -> std::process::ExitCode {
    let tests =
        support::tests![valgrind_reports_nothing, thread_sanitizer_reports_nothing, other_wrappers_see_every_close];
    support::run_tests("tools", support::processors(), tests)
}
