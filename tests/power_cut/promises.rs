//! What the client was told is on the disk, and whether it is: `client.c` has the same stamps, notes and numbers.

use std::io;
use std::path::Path;

pub const FILES: usize = 3;
const LOG: usize = FILES;
const RENAMED: usize = FILES + 1;
const TARGETS: usize = FILES + 2;
pub const BLOCKS: usize = 256;
pub const BLOCK: usize = 4096;
const SECTOR: usize = 512;
const MAGIC: u32 = 0xa1_0c07;

type Versions = [u32; BLOCKS];

/// One acknowledged sync, and how long the record was by then.
pub struct Note {
    pub position: usize,
    target: usize,
    versions: Versions,
}

/// In the order of their positions.
pub fn read_notes(path: &Path) -> io::Result<Vec<Note>> {
    let words: Vec<u32> = std::fs::read(path)?.as_chunks().0.iter().map(|bytes| u32::from_ne_bytes(*bytes)).collect();
    let mut notes: Vec<Note> = words.chunks_exact(4 + BLOCKS).filter_map(note).collect();
    notes.sort_by_key(|note| note.position);
    Ok(notes)
}

fn note(words: &[u32]) -> Option<Note> {
    let [low, high, target, _, versions @ ..] = words else { return None };
    let position = u64::from(*low) | u64::from(*high) << 32;
    let versions = versions.try_into().ok()?;
    Some(Note { position: usize::try_from(position).ok()?, target: usize::try_from(*target).ok()?, versions })
}

/// What must be found: the latest version of everything that was acknowledged.
pub struct Promises {
    versions: [Versions; TARGETS],
}

impl Promises {
    pub fn new() -> Promises {
        Promises { versions: [[0; BLOCKS]; TARGETS] }
    }

    pub fn add(&mut self, note: &Note) {
        let of_target = &mut self.versions[note.target];
        for (mine, theirs) in of_target.iter_mut().zip(note.versions) {
            *mine = theirs.max(*mine);
        }
    }

    /// What is missing below this directory.
    pub fn missing(&self, directory: &Path) -> Vec<String> {
        let mut missing = Vec::new();
        for (file, versions) in self.versions[..FILES].iter().enumerate() {
            let data = contents(&directory.join(format!("file{file}")), &mut missing);
            for (block, &version) in versions.iter().enumerate().filter(|(_, version)| **version > 0) {
                check_block(&data, (file, block, version), &mut missing);
            }
        }
        self.check_log(&directory.join("log"), &mut missing);
        let version = self.versions[RENAMED][0];
        if version > 0 {
            let data = contents(&directory.join("renamed"), &mut missing);
            check_block(&data, (RENAMED, 0, version), &mut missing);
        }
        missing
    }

    /// Each thread's records must all be there, in their order.
    fn check_log(&self, path: &Path, missing: &mut Vec<String>) {
        let data = contents(path, missing);
        let stamps: Vec<[u32; 4]> = data.chunks_exact(SECTOR).filter_map(stamp).collect();
        for (thread, &count) in self.versions[LOG].iter().enumerate().filter(|(_, count)| **count > 0) {
            let expected = (1..=count).map(|version| [MAGIC, LOG as u32, thread as u32, version]);
            let found = stamps.iter().copied().filter(|[_, _, of, _]| *of == thread as u32).take(count as usize);
            if !found.eq(expected) {
                let found: Vec<u32> = stamps.iter().filter(|s| s[2] == thread as u32).map(|s| s[3]).collect();
                let bytes = data.len();
                missing.push(format!(
                    "log of {bytes} bytes: {count} records of thread {thread} were acknowledged, found {found:?}"
                ));
            }
        }
    }
}

fn contents(path: &Path, missing: &mut Vec<String>) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| {
        missing.push(format!("{}: {error}", path.file_name().unwrap_or_default().display()));
        Vec::new()
    })
}

/// Every sector must have the version, or a later one: those were written, and no power cut undoes a sector.
fn check_block(data: &[u8], (file, block, version): (usize, usize, u32), missing: &mut Vec<String>) {
    let data = data.get(block * BLOCK..).and_then(|rest| rest.get(..BLOCK)).unwrap_or_default();
    let fits = |sector: &[u8]| {
        stamp(sector)
            .is_some_and(|[magic, f, b, v]| (magic, f, b) == (MAGIC, file as u32, block as u32) && v >= version)
    };
    if data.is_empty() || !data.chunks(SECTOR).all(fits) {
        let found: Vec<u32> = data.chunks(SECTOR).filter_map(stamp).map(|[_, _, _, version]| version).collect();
        missing.push(format!("file {file}, block {block}: version {version} was acknowledged, found {found:?}"));
    }
}

/// What fills a sector from its beginning to its end.
fn stamp(sector: &[u8]) -> Option<[u32; 4]> {
    let (cells, _) = sector.as_chunks::<16>();
    let first = cells.first().filter(|first| cells.iter().all(|cell| cell == *first))?;
    let (words, _) = first.as_chunks::<4>();
    words.iter().map(|word| u32::from_ne_bytes(*word)).collect::<Vec<u32>>().try_into().ok()
}
