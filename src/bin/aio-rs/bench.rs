//! `aio-rs bench`: runs the same workloads on aio_rs, libc's AIO, the kernel's AIO, io_uring and threads.

use crate::data_file::filesystem;
use crate::line::Line;
use crate::measure::Figures;
use crate::picture;
use crate::promise::{INTERFACES, Interface, Kept, verdict};
use crate::results::{CONTESTANTS, CURVE, DEPTHS, Results, Task};
use crate::stage::{Side, Stage, progress_bar};
use crate::workload::WORKLOADS;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  aio-rs bench --quick                    half a minute, here
  aio-rs bench --dir /mnt/data --svg bench.svg --json bench.json";

/// Measure aio_rs beside libc, the kernel's AIO, io_uring and threads that pread and pwrite
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the data file goes; default: TMPDIR, else /var/tmp, which is seldom in memory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A smaller file, fewer rounds, fewer depths
    #[arg(long)]
    quick: bool,
    /// Rounds; in each all engines take their turns
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// All figures of all rounds, for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A picture: the rate by depth, and the times that requests take
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub fn main(args: &Args) -> ExitCode {
    match bench(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("aio-rs: {message}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<(), String> {
    let (size, rounds, millis) = if args.quick { (64 << 20, 3, "50") } else { (512 << 20, 7, "500") };
    let rounds = args.rounds.unwrap_or(rounds).max(1);
    let stage = Stage::new(args.dir.as_deref(), size)?;
    let tasks = tasks(args.quick);
    let bar = progress_bar("{msg:46} {wide_bar} {percent:>3} %  {eta} left", rounds * tasks.len() * CONTESTANTS.len());
    let mut results = Results::default();
    for (index, side) in [Side::AioRs, Side::Libc].into_iter().enumerate() {
        bar.set_message(format!("promises of fsync, {}", side.name()));
        stage.run_client(side, &["promises"], |line| add_promise(&mut results, index, &line))?;
    }
    for round in 0..rounds {
        for task in &tasks {
            let mut order: Vec<_> = (0..CONTESTANTS.len()).collect();
            // The disk may still be busy when a round begins: let each engine be first in turn.
            order.rotate_left(round % CONTESTANTS.len());
            for index in order {
                bar.set_message(format!("{}, {}", task.workload, CONTESTANTS[index].name));
                run(&stage, *task, index, millis, &mut results)?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    let heading = format!(
        "{} MiB in {} ({}); processors: {}; medians of {rounds} rounds of {millis} ms",
        size >> 20,
        stage.directory.display(),
        filesystem(&stage.data),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    print!("{}", table(&heading, &results));
    let written = |path: &PathBuf, text: String| {
        fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    if let Some(path) = &args.json {
        written(path, format!("{:#}\n", to_json(&heading, &results)))?;
    }
    if let Some(path) = &args.svg {
        written(path, picture::draw(&results)?)?;
    }
    Ok(())
}

fn tasks(quick: bool) -> Vec<Task> {
    let depths = DEPTHS.into_iter().filter(|depth| !quick || [1, 8, 64].contains(depth));
    let curve = depths.map(|depth| Task { workload: CURVE, depth: Some(depth) });
    WORKLOADS.iter().map(|workload| Task { workload: workload.name, depth: None }).chain(curve).collect()
}

fn run(stage: &Stage, task: Task, index: usize, millis: &str, results: &mut Results) -> Result<(), String> {
    let contestant = CONTESTANTS[index];
    let key = (task, index);
    if results.skipped.contains_key(&key) {
        return Ok(());
    }
    let engine = contestant.kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let depth = task.depth.map(|depth| depth.to_string());
    let mut arguments = vec!["bench", "--millis", millis, "--engine", &engine, "--only", task.workload];
    if let Some(depth) = &depth {
        arguments.extend(["--depth", depth]);
    }
    stage.run_client(contestant.side, &arguments, |line| match line {
        Line::Figures { figures, .. } => results.figures.entry(key).or_default().push(figures),
        Line::Skipped { reason, .. } => drop(results.skipped.insert(key, reason)),
        _ => {}
    })
}

fn add_promise(results: &mut Results, side: usize, line: &Line) {
    let Line::Promise { interface, kept, .. } = line else { return };
    for (own, sums) in INTERFACES.iter().zip(&mut results.promises) {
        if own == interface {
            sums[side] += *kept;
        }
    }
}

fn table(heading: &str, results: &Results) -> String {
    let mut text = format!("{heading}\n\n");
    let _ = writeln!(
        text,
        "{:32} {:10} {:>10} {:>9} {:>9} {:>9}   aio_rs is faster by",
        "", "", "thousand/s", "CPU us", "p50 us", "p99 us"
    );
    for workload in &WORKLOADS {
        let task = Task { workload: workload.name, depth: None };
        for (index, contestant) in CONTESTANTS.iter().enumerate() {
            let title = if index == 0 { workload.name } else { "" };
            let _ = write!(text, "{title:32} {:10} ", contestant.name);
            let median = |what: fn(&Figures) -> f64| results.median(task, index, what).unwrap_or(0.0);
            if results.of(task, index).is_empty() {
                let reason = results.skipped.get(&(task, index));
                let _ = writeln!(text, "left out: {}", reason.map_or("no figures", String::as_str));
                continue;
            }
            let [rate, cpu] = [median(|figures| figures.rate) / 1e3, median(|figures| figures.cpu)];
            let [p50, p99] = [median(|figures| figures.p50), median(|figures| figures.p99)];
            let _ = write!(text, "{rate:10.1} {cpu:9.1} {p50:9.1} {p99:9.1}");
            if let Some([ratio, lowest, highest]) = results.ratio(task, index).filter(|_| index > 0) {
                let _ = write!(text, "   {ratio:.2} ({lowest:.2} to {highest:.2})");
            }
            text.push('\n');
        }
    }
    text.push('\n');
    for (interface, [ours, theirs]) in INTERFACES.into_iter().zip(results.promises) {
        let _ = writeln!(text, "{}", verdict(interface, ours, theirs));
    }
    text
}

fn to_json(heading: &str, results: &Results) -> Value {
    let entry = |((task, index), rounds): (&(Task, usize), &Vec<Figures>)| {
        let round = |figures: &Figures| {
            json!({
                "requests_per_second": figures.rate,
                "cpu_us": figures.cpu,
                "p50_us": figures.p50,
                "p99_us": figures.p99,
            })
        };
        json!({
            "workload": task.workload,
            "depth": task.depth,
            "engine": CONTESTANTS[*index].name,
            "rounds": rounds.iter().map(round).collect::<Vec<_>>(),
        })
    };
    let left_out = |((task, index), reason): (&(Task, usize), &String)| {
        json!({
            "workload": task.workload,
            "depth": task.depth,
            "engine": CONTESTANTS[*index].name,
            "reason": reason,
        })
    };
    let promise = |(interface, [ours, theirs]): (Interface, [Kept; 2])| {
        let count = |kept: Kept| json!({ "kept": kept.kept, "trials": kept.trials });
        json!({ "interface": interface.name(), "aio_rs": count(ours), interface.without(): count(theirs) })
    };
    json!({
        "what": heading,
        "fsync_kept_its_promise": INTERFACES.into_iter().zip(results.promises).map(promise).collect::<Vec<_>>(),
        "results": results.figures.iter().map(entry).collect::<Vec<_>>(),
        "left_out": results.skipped.iter().map(left_out).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rate: f64) -> Figures {
        Figures { rate, cpu: 1.0, p50: 10.0, p99: 20.0 }
    }

    fn results() -> Results {
        let mut results = Results::default();
        let task = Task { workload: WORKLOADS[0].name, depth: None };
        results.figures.insert((task, 0), [20e3, 60e3, 30e3].map(figures).into());
        results.figures.insert((task, 1), [10e3, 20e3, 15e3].map(figures).into());
        results.skipped.insert((task, 3), "Operation not permitted".into());
        let curve = |depth| (Task { workload: CURVE, depth: Some(depth) }, 0);
        results.figures.insert(curve(1), vec![figures(5e3)]);
        results.figures.insert(curve(64), vec![figures(50e3)]);
        results
    }

    #[test]
    fn rounds_are_compared_one_by_one() {
        let task = Task { workload: WORKLOADS[0].name, depth: None };
        assert_eq!(results().ratio(task, 1), Some([2.0, 2.0, 3.0]));
        assert_eq!(results().ratio(task, 4), None);
        let text = table("here", &results());
        assert!(text.contains("2.00 (2.00 to 3.00)"), "{text}");
        assert!(text.contains("io_uring   left out: Operation not permitted"), "{text}");
    }

    #[test]
    fn the_picture_has_a_line_for_each_engine_that_ran() {
        let svg = picture::draw(&results()).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("aio_rs") && svg.contains("<polyline"), "{svg}");
        assert_eq!(results().curve(0), [(1, 5.0), (64, 50.0)]);
    }

    #[test]
    fn the_json_has_every_round() {
        let json = to_json("here", &results());
        let first = &json["results"][0];
        assert_eq!((&first["workload"], &first["engine"]), (&json!(WORKLOADS[0].name), &json!("aio_rs")));
        let rates: Vec<_> =
            first["rounds"].as_array().into_iter().flatten().map(|round| &round["requests_per_second"]).collect();
        assert_eq!(rates, [&json!(20e3), &json!(60e3), &json!(30e3)]);
        assert_eq!(json["left_out"][0]["engine"], "io_uring");
    }
}
