//! Faults: a FUSE file system of the test's own holds and fails operations and records their order as the kernel
//! saw them; a client process performs AIO calls on it through the library linked, static and preloaded, and
//! through libc's AIO, which is expected to fail where the list below says so.
//!
//! Skipped where FUSE is not to be had; a failure under AIO_RS_REQUIRE_ALL=1.

use std::time::Duration;

#[path = "fuse/fs.rs"]
mod fs;
#[path = "fuse/lab.rs"]
mod lab;
#[path = "fuse/random.rs"]
mod random;
#[path = "fuse/scenarios.rs"]
mod scenarios;
mod support;

use fs::Record;
use lab::{Interface, Lab, Library, Outcome};
use random::{Plan, Policy, Shape};
use support::Test;

/// An error of writing back is told once to each open descriptor of a file. One fsync serves barriers of several, so the
/// others must be asked: on Linux this is not seen here, the portable build synchronises each again, by fdatasync.
const SYNCS_AGAIN: bool = cfg!(feature = "portable");

/// What libc's AIO, or libaio, is expected to make of a scenario.
enum Libc {
    Conforms,
    Fails,
}

fn available() -> bool {
    let reason = fs::unavailable();
    reason.iter().for_each(|reason| support::skip(reason));
    reason.is_none()
}

fn run(name: &str, on: (Library, Interface), expected: Libc, scenario: fn(&mut Lab) -> Outcome) {
    if !available() {
        return;
    }
    if matches!(on, (Library::Libc | Library::Preloaded, Interface::Libaio)) && !support::has_libaio() {
        return support::skip("needs libaio-dev");
    }
    if on.0 == Library::Libc && matches!(expected, Libc::Fails) {
        return must_fail(name, on, scenario);
    }
    let (outcome, records) = attempt(name, on, Duration::from_secs(10), scenario);
    match outcome {
        Ok(()) => {}
        Err(error) if error.starts_with(lab::SKIP) => support::skip(error.trim_start_matches(lab::SKIP)),
        Err(error) => panic!("{error}\n{}", fs::show(&records)),
    }
}

/// Whether libc's threads are quick enough to do what they must not is up to the scheduler: one failure will do.
fn must_fail(name: &str, on: (Library, Interface), scenario: fn(&mut Lab) -> Outcome) {
    for _ in 0..20 {
        if attempt(name, on, Duration::from_millis(500), scenario).0.is_err() {
            return;
        }
    }
    panic!("libc conforms: mend the list");
}

fn attempt(
    name: &str,
    (library, interface): (Library, Interface),
    patience: Duration,
    scenario: fn(&mut Lab) -> Outcome,
) -> (Outcome, Vec<Record>) {
    let settings = if name == "few_workers_serve_many_requests" { "threads=2" } else { "threads=64" };
    let mut lab = Lab::new(library, interface, settings, patience);
    let outcome = scenario(&mut lab);
    let records = lab.records();
    (outcome, records)
}

/// Defines `tests`: each scenario with each library.
macro_rules! scenarios {
    ($interface:ident: $($name:ident: $libc:ident,)+) => {
        pub fn tests() -> Vec<Test> {
            let mut tests = Vec::new();
            scenarios!(@with tests $interface libc Libc $($name: $libc,)+);
            scenarios!(@with tests $interface linked Linked $($name: $libc,)+);
            scenarios!(@with tests $interface static_ Static $($name: $libc,)+);
            scenarios!(@with tests $interface preloaded Preloaded $($name: $libc,)+);
            tests
        }
    };
    (@with $tests:ident $interface:ident $word:ident $library:ident $($name:ident: $libc:ident,)+) => {
        $($tests.push(Test {
            name: concat!(stringify!($word), "::", stringify!($name)).to_string(),
            run: || {
                let on = (Library::$library, Interface::$interface);
                run(stringify!($name), on, Libc::$libc, scenarios::$name);
            },
        });)+
    };
}

mod posix {
    use super::*;

    scenarios! {
        Posix:
        fsync_waits_for_a_running_write: Conforms,
        fsync_waits_for_a_running_read: Conforms,
        fsync_does_not_overtake_a_less_urgent_write: Fails,
        fsync_covers_a_dup: Fails,
        fsync_covers_a_second_open: Fails,
        fsync_of_a_read_only_descriptor_covers_the_file: Fails,
        fsync_does_not_cover_other_files: Conforms,
        fsync_does_not_wait_for_later_requests: Fails,
        later_requests_run_past_a_waiting_fsync: Fails,
        lists_with_an_fsync_keep_its_order: Fails,
        one_fsync_serves_all_barriers_that_are_ready: Fails,
        close_waits_for_no_fsync_that_runs_on_another_descriptor: Fails,
        a_failed_fsync_is_reported_to_every_barrier_it_served: Fails,
        a_barrier_that_still_waits_is_not_served_with_one_that_is_ready: Fails,
        a_running_fsync_serves_no_later_barrier: Conforms,
        an_fsync_succeeds_after_one_that_failed: Conforms,
        fsync_reports_a_covered_write_that_found_no_space: Fails,
        fsync_reports_a_covered_write_that_failed: Fails,
        every_barrier_reports_a_failed_write_it_covers: Fails,
        a_write_that_failed_before_is_not_reported: Conforms,
        a_cancelled_write_is_no_failure: Conforms,
        a_waiting_fsync_can_be_cancelled_and_is_not_issued: Conforms,
        results_are_those_of_the_file_system: Conforms,
        a_hung_read_delays_nothing_else: Fails,
        submitting_asks_the_server_nothing: Conforms,
        other_files_run_on_beside_many_hung_writes: Fails,
        what_waits_behind_a_hung_write_can_be_cancelled: Conforms,
        everything_ends_when_the_file_system_goes_away: Conforms,
        everything_ends_after_a_lazy_unmount: Conforms,
        exit_with_a_hung_write_waits_only_in_the_kernel: Conforms,
        few_workers_serve_many_requests: Conforms,
    }
}

#[cfg(libaio)]
mod libaio {
    use super::*;

    scenarios! {
        Libaio:
        fsync_waits_for_a_running_write: Fails,
        fsync_waits_for_a_running_read: Fails,
        fsync_covers_a_dup: Fails,
        fsync_covers_a_second_open: Fails,
        fsync_of_a_read_only_descriptor_covers_the_file: Fails,
        fsync_does_not_cover_other_files: Conforms,
        fsync_does_not_wait_for_later_requests: Fails,
        later_requests_run_past_a_waiting_fsync: Fails,
        lists_with_an_fsync_keep_its_order: Fails,
        a_running_fsync_serves_no_later_barrier: Conforms,
        an_fsync_succeeds_after_one_that_failed: Conforms,
        an_fsync_by_libaio_tells_only_its_own_error: Fails,
        an_fsync_by_libaio_waits_for_aio_write_without_another: Fails,
        a_waiting_fsync_can_be_cancelled_and_is_not_issued: Fails,
        a_hung_read_delays_nothing_else: Conforms,
        submitting_asks_the_server_nothing: Conforms,
        everything_ends_when_the_file_system_goes_away: Conforms,
        everything_ends_after_a_lazy_unmount: Conforms,
    }
}

/// Schedules of each plan, and how many: thousands where the library is linked, fewer by the other ways into the same code.
fn random_schedules(library: Library, plan: Plan, count: u64) {
    if !available() {
        return;
    }
    let outcome = random::run(library, plan, count);
    match (library, outcome) {
        (Library::Libc, outcome) => {
            assert!(outcome.is_err(), "libc conforms in {count} schedules: do they ask enough?")
        }
        (_, Err(error)) => panic!("{error}"),
        (_, Ok(())) => {}
    }
}

/// Defines `random_tests`.
macro_rules! random_schedules {
    ($($name:ident: $library:ident, $shape:ident, $policy:ident, $count:literal;)+) => {
        fn random_tests() -> Vec<Test> {
            vec![$(Test {
                name: concat!("random_schedules::", stringify!($name)).to_string(),
                run: || {
                    let plan = Plan { shape: Shape::$shape, policy: Policy::$policy };
                    random_schedules(Library::$library, plan, $count);
                },
            }),+]
        }
    };
}

random_schedules! {
    libc_split: Libc, Split, Overlap, 100;
    libc_mixed: Libc, Mixed, Overlap, 100;
    linked_split: Linked, Split, Overlap, 2000;
    linked_mixed: Linked, Mixed, Overlap, 2000;
    linked_few_workers: Linked, FewWorkers, Overlap, 1000;
    linked_strict_split: Linked, Split, Strict, 1500;
    linked_strict_mixed: Linked, Mixed, Strict, 800;
    linked_strict_few_workers: Linked, FewWorkers, Strict, 500;
    linked_posix_split: Linked, Split, Posix, 1500;
    linked_posix_mixed: Linked, Mixed, Posix, 800;
    linked_posix_few_workers: Linked, FewWorkers, Posix, 500;
    preloaded_split: Preloaded, Split, Overlap, 500;
    preloaded_mixed: Preloaded, Mixed, Overlap, 300;
    preloaded_strict_mixed: Preloaded, Mixed, Strict, 200;
    static_mixed: Static, Mixed, Overlap, 300;
    static_posix_mixed: Static, Mixed, Posix, 200;
}

fn main() -> std::process::ExitCode {
    // The longest first.
    let mut tests = random_tests();
    tests.extend(posix::tests());
    #[cfg(libaio)]
    for test in libaio::tests() {
        tests.push(Test { name: format!("libaio::{}", test.name), ..test });
    }
    support::run_tests("fuse", 2 * support::processors(), tests)
}
