//! Runs the tests of a target in which a test may find out that it cannot run here. The standard harness would say that
//! such a test passed.

use super::Arguments;
use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub struct Test {
    pub name: String,
    pub run: fn(),
}

/// Tests by their functions: one that is not listed is unused, of which the compiler warns.
macro_rules! tests {
    ($($function:path),+ $(,)?) => {
        vec![$($crate::support::Test { name: stringify!($function).to_string(), run: $function }),+]
    };
}
pub(crate) use tests;

thread_local! {
    /// Why this thread's test cannot run here.
    static SKIPPED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Says that the test which calls this, and then returns, cannot run here. A failure under AIO_RS_REQUIRE_ALL=1.
pub fn skip(why: &str) {
    assert!(!require_all(), "cannot run here: {why}");
    SKIPPED.set(Some(why.to_string()));
}

pub fn require_all() -> bool {
    std::env::var("AIO_RS_REQUIRE_ALL").is_ok_and(|value| value == "1")
}

/// The `main` of a target. `at_once` is how many tests run at once unless `--test-threads` or RUST_TEST_THREADS says so.
pub fn run_tests(target: &str, at_once: usize, mut tests: Vec<Test>) -> ExitCode {
    let usage =
        format!("usage: cargo test --test {target} [-- NAME...]\n\nRuns the tests whose names contain a NAME.\n\n");
    let parsed = Arguments::of_process(&usage, &[]).and_then(|arguments| {
        let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        arguments.refuse_unknown(target, &names).map(|()| arguments)
    });
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            println!("FAIL  {error}");
            return ExitCode::FAILURE;
        }
    };
    tests.retain(|test| arguments.selects(&test.name));
    if arguments.list {
        tests.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    let (next, counts) = (AtomicUsize::new(0), Mutex::new([0; 3]));
    let work = || {
        while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run(test);
            let word = outcome.as_ref().map_or_else(|why| format!("skipped: {why}"), |word| (*word).to_string());
            println!("test {} ... {word}", test.name);
            let at = match outcome {
                Ok("ok") => 0,
                Ok(_) => 1,
                Err(_) => 2,
            };
            counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[at] += 1;
        }
    };
    thread::scope(|scope| {
        for _ in 0..arguments.test_threads.unwrap_or(at_once).min(tests.len()) {
            scope.spawn(work);
        }
    });
    let [passed, failed, skipped] = counts.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    println!("{target}: {passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Err is why it was skipped. It has a thread of its own, whose name the message of a panic begins with.
fn run(test: &Test) -> Result<&'static str, String> {
    let function = test.run;
    let body = move || {
        function();
        SKIPPED.take()
    };
    let thread = thread::Builder::new().name(test.name.clone()).spawn(body).expect("a thread");
    match thread.join() {
        Ok(None) => Ok("ok"),
        Ok(Some(why)) => Err(why),
        Err(_) => Ok("FAILED"),
    }
}
