//! What the benchmark measures, on which engines, and the results.

use crate::engine::Kind;
use crate::measure::{Figures, median};
use crate::promise::{INTERFACES, Kept};
use crate::stage::Side;
use std::collections::BTreeMap;

/// An engine, and the library that answers its `aio_*` calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Contestant {
    pub name: &'static str,
    pub side: Side,
    pub kind: Kind,
}

pub const CONTESTANTS: [Contestant; 5] = [
    Contestant { name: "aio_rs", side: Side::AioRs, kind: Kind::Posix },
    Contestant { name: "libc", side: Side::Libc, kind: Kind::Posix },
    Contestant { name: "kernel AIO", side: Side::Libc, kind: Kind::Kernel },
    Contestant { name: "io_uring", side: Side::Libc, kind: Kind::Uring },
    Contestant { name: "threads", side: Side::Libc, kind: Kind::Threads },
];

/// The workload that is run at each of [`DEPTHS`], too.
pub const CURVE: &str = "direct read, depth 32";
pub const DEPTHS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// A workload at one depth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    pub workload: &'static str,
    /// `None`: the workload's own.
    pub depth: Option<usize>,
}

/// What the rounds have measured so far.
#[derive(Default)]
pub struct Results {
    /// For each of [`INTERFACES`] how often fsync kept its promise: aio_rs's, then the system's.
    pub promises: [[Kept; 2]; INTERFACES.len()],
    /// Of each task and contestant (an index into [`CONTESTANTS`]) the figures of each round.
    pub figures: BTreeMap<(Task, usize), Vec<Figures>>,
    /// Why there are none.
    pub skipped: BTreeMap<(Task, usize), String>,
}

impl Results {
    pub fn of(&self, task: Task, index: usize) -> &[Figures] {
        self.figures.get(&(task, index)).map_or(&[], Vec::as_slice)
    }

    pub fn median(&self, task: Task, index: usize, what: impl Fn(&Figures) -> f64) -> Option<f64> {
        median(self.of(task, index).iter().map(what).collect())
    }

    /// How many times as fast the first contestant was: the median, the lowest and the highest ratio of a round.
    pub fn ratio(&self, task: Task, index: usize) -> Option<[f64; 3]> {
        let ours = self.of(task, 0).iter().map(|figures| figures.rate);
        let mut ratios: Vec<_> = ours.zip(self.of(task, index)).map(|(ours, theirs)| ours / theirs.rate).collect();
        ratios.sort_by(f64::total_cmp);
        Some([median(ratios.clone())?, *ratios.first()?, *ratios.last()?])
    }

    /// Thousands of requests a second by depth.
    pub fn curve(&self, contestant: usize) -> Vec<(usize, f64)> {
        let at = |depth: usize| Task { workload: CURVE, depth: Some(depth) };
        let rate = |depth| Some((depth, self.median(at(depth), contestant, |figures| figures.rate)? / 1e3));
        DEPTHS.into_iter().filter_map(rate).collect()
    }

    /// The 50th and 99th percentiles of the times that requests took, in microseconds.
    pub fn times(&self, workload: &'static str, contestant: usize) -> Option<(f64, f64)> {
        let task = Task { workload, depth: None };
        Some((
            self.median(task, contestant, |figures| figures.p50)?,
            self.median(task, contestant, |figures| figures.p99)?,
        ))
    }
}
