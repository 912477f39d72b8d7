//! What the tour measures. The tour and its client read the same table.

pub const BLOCK: usize = 4096;
pub const FILE_SIZE: usize = 64 << 20;
/// Writes between two fsyncs.
pub const GROUP: usize = 8;

#[derive(Clone, Copy, PartialEq)]
pub enum Access {
    Read,
    Write,
    /// Writes, and an `aio_fsync` behind every [`GROUP`] of them.
    Commit,
}

pub struct Workload {
    pub name: &'static str,
    pub access: Access,
    pub direct: bool,
    pub depth: usize,
}

const fn workload(name: &'static str, access: Access, direct: bool, depth: usize) -> Workload {
    Workload { name, access, direct, depth }
}

pub const WORKLOADS: [Workload; 9] = [
    workload("cached read, depth 1", Access::Read, false, 1),
    workload("cached read, depth 32", Access::Read, false, 32),
    workload("buffered write, depth 1", Access::Write, false, 1),
    workload("buffered write, depth 32", Access::Write, false, 32),
    workload("direct read, depth 1", Access::Read, true, 1),
    workload("direct read, depth 32", Access::Read, true, 32),
    workload("direct write, depth 1", Access::Write, true, 1),
    workload("direct write, depth 32", Access::Write, true, 32),
    workload("buffered write, fsync every 8", Access::Commit, false, GROUP),
];
