//! The power-cut proof: what aio_fsync and io_fsync acknowledged is on the disk, whatever else is lost. docs/power-cut.md
//! tells how it works.

#[path = "power_cut/disk.rs"]
mod disk;
#[path = "power_cut/image.rs"]
mod image;
#[path = "power_cut/mounts.rs"]
mod mounts;
#[path = "power_cut/promises.rs"]
mod promises;
#[path = "power_cut/random.rs"]
mod random;
#[path = "power_cut/record.rs"]
mod record;
#[path = "power_cut/run.rs"]
mod run;
mod support;

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use run::{Interface, Kind, Library, Run, Tally};
use support::Arguments;

const USAGE: &str = "\
usage: cargo test --test power_cut [-- [--seeds=FIRST-LAST] [--images=N] NAME...]

Runs the scenarios whose names contain a NAME. Environment:
AIO_RS_REQUIRE_ALL=1           a skip is a failure
AIO_RS_LIB_DIR=DIR             a built library           AIO_RS_PORTABLE_LIB_DIR=DIR   a built portable one

      --seeds=N, --seeds=FIRST-LAST     a record of each scenario for each seed (one, new)
      --images=N         images of each record (6)
";

/// How many records a control may take to lose something.
const CONTROL_TRIES: u64 = 10;

/// Who calls fsync, on what.
struct Scenario {
    name: &'static str,
    run: Run,
    /// A control loses something: or the proof sees nothing.
    keeps: bool,
}

const fn keeps(name: &'static str, library: Library, interface: Interface, kind: Kind) -> Scenario {
    Scenario { name, run: Run { library, interface, kind, barriers: true, flushes: true }, keeps: true }
}

const fn loses(name: &'static str, library: Library, interface: Interface, kind: Kind) -> Scenario {
    Scenario { keeps: false, ..keeps(name, library, interface, kind) }
}

const fn on_a_lying_disk(name: &'static str, kind: Kind) -> Scenario {
    let run = Run { library: Library::Own, interface: Interface::Posix, kind, barriers: true, flushes: false };
    Scenario { name, run, keeps: false }
}

const fn without_barriers(name: &'static str) -> Scenario {
    let library = Library::Own;
    let run = Run { library, interface: Interface::Posix, kind: Kind::Ext4, barriers: false, flushes: true };
    Scenario { name, run, keeps: false }
}

const SCENARIOS: &[Scenario] = &[
    keeps("aio_rs_posix_ext4", Library::Own, Interface::Posix, Kind::Ext4),
    keeps("aio_rs_posix_xfs", Library::Own, Interface::Posix, Kind::Xfs),
    #[cfg(libaio)]
    keeps("aio_rs_libaio_ext4", Library::Own, Interface::Libaio, Kind::Ext4),
    #[cfg(libaio)]
    keeps("aio_rs_libaio_xfs", Library::Own, Interface::Libaio, Kind::Xfs),
    keeps("aio_rs_portable_ext4", Library::Portable, Interface::Posix, Kind::Ext4),
    keeps("plain_calls_ext4", Library::Other, Interface::Calls, Kind::Ext4),
    keeps("plain_calls_xfs", Library::Other, Interface::Calls, Kind::Xfs),
    loses("glibc_ext4", Library::Other, Interface::Posix, Kind::Ext4),
    loses("glibc_xfs", Library::Other, Interface::Posix, Kind::Xfs),
    #[cfg(libaio)]
    loses("libaio_alone_ext4", Library::Other, Interface::Libaio, Kind::Ext4),
    #[cfg(libaio)]
    loses("libaio_alone_xfs", Library::Other, Interface::Libaio, Kind::Xfs),
    without_barriers("nobarrier_ext4"),
    on_a_lying_disk("lying_disk_ext4", Kind::Ext4),
    on_a_lying_disk("lying_disk_xfs", Kind::Xfs),
];

/// What is asked for on the command line.
struct Wanted {
    arguments: Arguments,
    seeds: RangeInclusive<u64>,
    images: usize,
}

impl Wanted {
    fn of_process() -> Result<Wanted, String> {
        let arguments = Arguments::of_process(USAGE, &["seeds", "images"])?;
        let of_the_clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs() % 1_000_000);
        let (mut seeds, mut images) = (of_the_clock..=of_the_clock, 6);
        for (option, value) in &arguments.own {
            let bad = |_| format!("`--{option}={value}`: expected --seeds=N, --seeds=FIRST-LAST or --images=N");
            if option == "images" {
                images = value.parse().map_err(bad)?;
            } else {
                let (first, last) = value.split_once('-').unwrap_or((value, value));
                seeds = first.parse().map_err(bad)?..=last.parse().map_err(bad)?;
            }
        }
        arguments.refuse_unknown("power_cut", &SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>())?;
        Ok(Wanted { arguments, seeds, images })
    }

    fn scenarios(&self) -> impl Iterator<Item = &'static Scenario> {
        SCENARIOS.iter().filter(|scenario| self.arguments.selects(scenario.name))
    }
}

#[derive(Default)]
struct Results {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Of each scenario that ran.
    tallies: Vec<(&'static str, Tally)>,
}

impl Results {
    fn skip(&mut self, name: &str, why: &str) {
        if support::require_all() {
            self.failed += 1;
            println!("FAIL  {name:21}  skipped: {why}");
        } else {
            self.skipped += 1;
            println!("skip  {name:21}  {why}");
        }
    }

    fn count(&mut self, name: &'static str, tally: &Tally) {
        match self.tallies.iter_mut().find(|(of, _)| *of == name) {
            Some((_, sum)) => sum.add(tally),
            None => self.tallies.push((name, tally.clone())),
        }
    }

    fn table(&self) {
        println!("\n| | images | have lost something acknowledged |\n| --- | ---: | ---: |");
        for (name, tally) in &self.tallies {
            println!("| {name} | {} | {} |", tally.images, tally.losing);
        }
        println!();
    }
}

/// Why none of this can run here, if so.
fn unavailable() -> Option<String> {
    // SAFETY: geteuid only returns a number.
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root".into());
    }
    let open = |path: &str| std::fs::File::options().read(true).write(true).open(path).map(drop);
    let missing = ["/dev/fuse", "/dev/loop-control"].into_iter().find_map(|path| {
        let error = open(path).err()?;
        Some(format!("{path}: {error}"))
    });
    missing.or_else(|| run::prepare().err())
}

/// Why one of them cannot.
fn unavailable_for(run: &Run) -> Option<String> {
    let mkfs = run.kind.mkfs();
    if let Err(error) = Command::new(mkfs).arg("-V").output() {
        return Some(format!("{mkfs}: {error}"));
    }
    let needs_libaio = run.library == Library::Other && run.interface == Interface::Libaio;
    (needs_libaio && !support::has_libaio()).then(|| "needs libaio-dev".into())
}

/// A control is tried again, with other seeds, until it loses something.
fn try_scenario(results: &Mutex<Results>, scenario: &'static Scenario, seed: u64, images: usize) {
    let started = Instant::now();
    let tries = if scenario.keeps { 1 } else { CONTROL_TRIES };
    let results = || results.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for seed in (0..tries).map(|nth| seed + nth * 1_000_000) {
        let result = run::run(&scenario.run, scenario.name, seed, images);
        let (name, took) = (scenario.name, started.elapsed().as_secs_f64());
        let mut results = results();
        let tally = match result {
            Ok(tally) => tally,
            Err(error) => {
                results.failed += 1;
                return println!("FAIL  {name:21}  seed {seed}: {error}");
            }
        };
        results.count(name, &tally);
        let as_expected = scenario.keeps == (tally.losing == 0);
        if as_expected {
            results.passed += 1;
            return println!("pass  {name:21}  {took:.1} s, seed {seed}, {tally}");
        }
        println!("{}  {name:21}  {took:.1} s, seed {seed}, {tally}", if scenario.keeps { "FAIL" } else { "more" });
    }
    results().failed += 1;
    if !scenario.keeps {
        println!("FAIL  {:21}  loses nothing in {tries} records: the proof cannot see losses", scenario.name);
    }
}

/// As many scenarios at once as there are processors: they mostly wait for their disks.
fn run_all(wanted: &Wanted) -> Results {
    let mut results = Results::default();
    if wanted.scenarios().next().is_none() {
        return results;
    }
    if let Some(why) = unavailable() {
        results.skip("power_cut", &why);
        return results;
    }
    let can_run = |scenario: &&Scenario, results: &mut Results| {
        unavailable_for(&scenario.run).is_none_or(|why| {
            results.skip(scenario.name, &why);
            false
        })
    };
    let scenarios: Vec<&Scenario> = wanted.scenarios().filter(|scenario| can_run(scenario, &mut results)).collect();
    let results = Mutex::new(results);
    for seed in wanted.seeds.clone() {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                try_scenario(&results, scenario, seed, wanted.images);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..scenarios.len().min(support::processors()) {
                scope.spawn(work);
            }
        });
    }
    let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    // In the order of the scenarios, whichever ended first.
    let place = |name: &str| SCENARIOS.iter().position(|scenario| scenario.name == name);
    results.tallies.sort_by_key(|(name, _)| place(name));
    results.table();
    results
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, directory, record, bytes, seed] = arguments.as_slice()
        && first == run::DISK
    {
        let bytes = bytes.parse().expect("a size");
        let seed = seed.parse().expect("a seed");
        let ended = disk::run(Path::new(directory), Path::new(record), bytes, seed);
        return ended.map_or_else(
            |error| {
                eprintln!("the disk: {error}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    let wanted = match Wanted::of_process() {
        Ok(wanted) => wanted,
        Err(error) => {
            println!("FAIL  {error}");
            return ExitCode::FAILURE;
        }
    };
    if wanted.arguments.list {
        wanted.scenarios().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    let results = run_all(&wanted);
    println!("power_cut: {} passed, {} failed, {} skipped", results.passed, results.failed, results.skipped);
    if results.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
