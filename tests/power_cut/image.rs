//! What a disk may hold after a power cut: all that a flush covers, and of the rest whatever the cache has let go.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::random::Random;
use crate::record::{Entry, Record};

const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// What is left of the writes that no flush covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survive {
    None,
    /// Each is kept, lost, or kept in part, sector by sector.
    Half,
    All,
}

/// A disk's content: only what was written is stored anywhere else than in memory that was never touched.
#[derive(Clone)]
struct Content {
    bytes: Vec<u8>,
    written: BTreeSet<usize>,
}

impl Content {
    fn write(&mut self, offset: usize, data: &[u8]) {
        let blocks = offset / BLOCK..(offset + data.len()).div_ceil(BLOCK);
        // mkfs.xfs zeroes a log of 64 MB.
        if data.chunks(BLOCK).all(|part| part == &[0; BLOCK][..part.len()])
            && self.written.range(blocks.clone()).next().is_none()
        {
            return;
        }
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
        self.written.extend(blocks);
    }
}

/// Replays a record from one cut to the next.
pub struct Replay<'a> {
    record: &'a Record,
    /// All that is covered by a flush.
    durable: Content,
    /// Entries before this one are in `durable`.
    covered: usize,
    /// Entries before this one have been looked at for flushes.
    seen: usize,
    /// Of a disk that lies, flushes after this entry do nothing.
    lies_from: usize,
}

impl<'a> Replay<'a> {
    pub fn new(record: &'a Record, bytes: usize, lies_from: usize) -> Replay<'a> {
        let durable = Content { bytes: vec![0; bytes], written: BTreeSet::new() };
        Replay { record, durable, covered: 0, seen: 0, lies_from }
    }

    /// Cuts the record before entry `cut`, which is not less than the last time. How many writes no flush covers.
    pub fn cut(&mut self, cut: usize) -> usize {
        let mut covered = self.covered;
        for (index, entry) in (self.seen..cut).zip(self.record.entries(self.seen..cut)) {
            match entry {
                Entry::Flush { covers } if index < self.lies_from => covered = covered.max(covers),
                _ => {}
            }
        }
        for (offset, data) in writes(self.record, self.covered..covered) {
            self.durable.write(offset, data);
        }
        (self.covered, self.seen) = (covered, cut);
        writes(self.record, covered..cut).count()
    }

    /// Writes an image of the disk at the last cut.
    pub fn image(&self, survive: Survive, random: &mut Random, to: &File) -> io::Result<()> {
        to.set_len(0)?;
        to.set_len(self.durable.bytes.len() as u64)?;
        for run in runs(&self.durable.written) {
            to.write_all_at(&self.durable.bytes[run.start * BLOCK..run.end * BLOCK], (run.start * BLOCK) as u64)?;
        }
        for (offset, data) in writes(self.record, self.covered..self.seen) {
            for (at, part) in surviving(survive, data, random) {
                to.write_all_at(part, (offset + at) as u64)?;
            }
        }
        Ok(())
    }
}

fn writes(record: &Record, range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, &[u8])> {
    record.entries(range).filter_map(|entry| match entry {
        Entry::Write { offset, data } => Some((usize::try_from(offset).expect("an offset"), data)),
        Entry::Flush { .. } => None,
    })
}

fn surviving<'a>(survive: Survive, data: &'a [u8], random: &mut Random) -> Vec<(usize, &'a [u8])> {
    let third = random.below(3);
    match (survive, third) {
        (Survive::None, _) | (Survive::Half, 0) => Vec::new(),
        (Survive::All, _) | (Survive::Half, 1) => vec![(0, data)],
        (Survive::Half, _) => {
            let sectors = data.chunks(SECTOR).enumerate().map(|(index, sector)| (index * SECTOR, sector));
            sectors.filter(|_| random.below(2) == 0).collect()
        }
    }
}

/// Consecutive numbers together.
fn runs(numbers: &BTreeSet<usize>) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}
