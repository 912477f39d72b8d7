//! The workloads that the tour and the benchmark measure. Their children find a workload in this table by its name.

/// The usual number of bytes in a request.
pub const BLOCK: usize = 4096;
/// Writes between two fsyncs.
pub const GROUP: usize = 8;

#[derive(Clone, Copy, PartialEq)]
pub enum Access {
    Read,
    Write,
    /// Seven reads to three writes.
    Mix,
    /// Writes, and an fsync behind every [`GROUP`] of them.
    Commit,
}

/// The part of the page cache in a workload.
#[derive(Clone, Copy, PartialEq)]
pub enum Cache {
    /// It holds the file.
    Warm,
    /// It is used, but does not hold the file at the start.
    Cold,
    /// The file is open with O_DIRECT.
    Bypassed,
}

#[derive(Clone, Copy)]
pub struct Workload {
    pub name: &'static str,
    pub access: Access,
    pub cache: Cache,
    pub block: usize,
    /// Requests that each thread keeps in flight.
    pub depth: usize,
    pub threads: usize,
}

const fn workload(name: &'static str, access: Access, cache: Cache, depth: usize) -> Workload {
    Workload { name, access, cache, block: BLOCK, depth, threads: 1 }
}

pub const WORKLOADS: [Workload; 12] = [
    workload("cached read, depth 1", Access::Read, Cache::Warm, 1),
    workload("cached read, depth 32", Access::Read, Cache::Warm, 32),
    workload("uncached read, depth 32", Access::Read, Cache::Cold, 32),
    workload("direct read, depth 1", Access::Read, Cache::Bypassed, 1),
    workload("direct read, depth 32", Access::Read, Cache::Bypassed, 32),
    Workload { threads: 2, ..workload("direct read, 2 threads of 16", Access::Read, Cache::Bypassed, 16) },
    workload("direct write, depth 1", Access::Write, Cache::Bypassed, 1),
    workload("direct write, depth 32", Access::Write, Cache::Bypassed, 32),
    Workload { block: 2 * BLOCK, ..workload("direct 70/30 of 8 KiB, depth 16", Access::Mix, Cache::Bypassed, 16) },
    workload("buffered write, depth 1", Access::Write, Cache::Warm, 1),
    workload("buffered write, depth 32", Access::Write, Cache::Warm, 32),
    workload("buffered write, fsync every 8", Access::Commit, Cache::Warm, GROUP),
];

/// The one with this name.
pub fn named(name: &str) -> Option<Workload> {
    WORKLOADS.into_iter().find(|workload| workload.name == name)
}

/// Scattered offsets, the same in every run. No block is repeated before each has come once.
pub struct Offsets {
    block: usize,
    blocks: usize,
    next: usize,
    step: usize,
}

impl Offsets {
    /// For a file of `size` bytes; `seed` chooses the first offset.
    pub fn new(size: usize, block: usize, seed: usize) -> Offsets {
        let blocks = size / block;
        // A step that has no factor in common with the number of blocks visits them all.
        let step = (blocks * 5 / 8 + 1..).find(|step| gcd(*step, blocks) == 1).unwrap_or(1);
        Offsets { block, blocks, next: seed * 977 % blocks, step }
    }

    pub fn next(&mut self) -> usize {
        self.next = (self.next + self.step) % self.blocks;
        self.next * self.block
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_come_by_every_block() {
        for blocks in [1, 2, 48, 64, 1000] {
            let mut offsets = Offsets::new(blocks * BLOCK, BLOCK, 5);
            let mut seen: Vec<_> = (0..blocks).map(|_| offsets.next() / BLOCK).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..blocks), "{blocks}");
        }
    }
}
