//! Records in memory of the library's own: a `Slab` of equal slots, and an `Index` that finds one by a key.
//!
//! Both live in mapped pages, so that a submission never calls malloc (a signal handler may submit). Neither locks:
//! whoever holds the table's lock owns them. Slots never move. A failed mapping is `ENOMEM`, before anything changed.

use std::mem::size_of;
use std::ops;
use std::ptr::NonNull;

use crate::sys::errno::{Errno, Result};
use crate::sys::hash::mix;
use crate::sys::memory;

/// Names a slot of one slab.
pub type Id = u32;

/// No slot.
pub const NONE: Id = Id::MAX;

const FIRST_CHUNK: usize = 256;
const CHUNKS: usize = 24;

enum Slot<T> {
    Free { next: Id },
    Used(T),
}

/// Slots in chunks of 256, 512, 1,024, …: a chunk once mapped stays, and pages not yet used cost no memory.
pub struct Slab<T> {
    chunks: [Option<NonNull<Slot<T>>>; CHUNKS],
    /// The first chunk, and how many of its slots were ever used: most of the time there are no others.
    first: NonNull<Slot<T>>,
    opened_first: Id,
    /// Slots ever used; those below it hold a valid `Slot`.
    opened: usize,
    free: Id,
    free_count: usize,
    capacity: usize,
}

// SAFETY: a slab owns its slots like a Vec does; the pointers are never shared.
unsafe impl<T: Send> Send for Slab<T> {}

impl<T> Slab<T> {
    pub const fn new() -> Slab<T> {
        Slab {
            chunks: [None; CHUNKS],
            first: NonNull::dangling(),
            opened_first: 0,
            opened: 0,
            free: NONE,
            free_count: 0,
            capacity: 0,
        }
    }

    /// Makes sure that the next `count` calls of `insert` find a slot.
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        while self.free_count + (self.capacity - self.opened) < count {
            let chunk = locate(self.capacity).0;
            let place = self.chunks.get_mut(chunk).ok_or(Errno(libc::ENOMEM))?;
            let slots = FIRST_CHUNK << chunk;
            let mapped = memory::map(slots * size_of::<Slot<T>>())?.cast();
            *place = Some(mapped);
            if chunk == 0 {
                self.first = mapped;
            }
            self.capacity += slots;
        }
        Ok(())
    }

    /// Fills a slot that `reserve` promised.
    pub fn insert(&mut self, value: T) -> Id {
        let id = self.free;
        if id == NONE {
            let id = self.open_slot();
            // SAFETY: the slot lies in a mapped chunk and owns nothing yet.
            unsafe { self.slot(id).write(Slot::Used(value)) };
            return id;
        }
        // SAFETY: a slot on the free list holds a valid `Slot::Free`.
        let Slot::Free { next } = (unsafe { self.slot(id).replace(Slot::Used(value)) }) else { corrupt() };
        self.free = next;
        self.free_count -= 1;
        id
    }

    fn open_slot(&mut self) -> Id {
        let id = Id::try_from(self.opened).unwrap_or(NONE);
        if self.opened >= self.capacity || id == NONE {
            corrupt();
        }
        self.opened += 1;
        if self.opened <= FIRST_CHUNK {
            self.opened_first += 1;
        }
        id
    }

    pub fn remove(&mut self, id: Id) -> T {
        let free = Slot::Free { next: self.free };
        let slot = self.used(id);
        // SAFETY: `used` returns a slot that is valid for reads and writes; the old value moves out, the new one in.
        match unsafe { slot.replace(free) } {
            Slot::Used(value) => {
                self.free = id;
                self.free_count += 1;
                value
            }
            Slot::Free { .. } => corrupt(),
        }
    }

    /// The value in a slot, if it is in use.
    pub fn get(&self, id: Id) -> Option<&T> {
        if usize::try_from(id).is_ok_and(|index| index >= self.opened) {
            return None;
        }
        // SAFETY: an opened slot holds a valid `Slot`; `&self` keeps it from changing.
        match unsafe { self.slot(id).as_ref() } {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// All values.
    #[cfg(target_os = "linux")]
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..Id::try_from(self.opened).unwrap_or(0)).filter_map(|id| self.get(id))
    }

    /// Number of slots in use.
    pub fn len(&self) -> usize {
        self.opened - self.free_count
    }

    /// No slot from here on was ever used.
    pub fn opened(&self) -> usize {
        self.opened
    }

    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.get(id)?;
        Some(&mut self[id])
    }

    fn used(&self, id: Id) -> NonNull<Slot<T>> {
        match usize::try_from(id) {
            // SAFETY: the first chunk is mapped, and has more slots than that.
            Ok(index) if id < self.opened_first => unsafe { self.first.add(index) },
            _ => self.used_later(id),
        }
    }

    #[inline(never)]
    fn used_later(&self, id: Id) -> NonNull<Slot<T>> {
        if usize::try_from(id).is_ok_and(|index| index < self.opened) { self.slot(id) } else { corrupt() }
    }

    fn slot(&self, id: Id) -> NonNull<Slot<T>> {
        let Ok(index) = usize::try_from(id) else { corrupt() };
        let (chunk, offset) = locate(index);
        match self.chunks.get(chunk) {
            // SAFETY: `locate` yields an offset below the chunk's number of slots.
            Some(Some(slots)) => unsafe { slots.add(offset) },
            _ => corrupt(),
        }
    }
}

/// Chunk and place in it of the slot with this number.
fn locate(index: usize) -> (usize, usize) {
    let scaled = index / FIRST_CHUNK + 1;
    let chunk = usize::try_from(scaled.ilog2()).unwrap_or(CHUNKS);
    (chunk, index - FIRST_CHUNK * ((1 << chunk) - 1))
}

/// A stale or foreign id is a bug of the library; going on would write into somebody's file.
#[cold]
pub fn corrupt() -> ! {
    std::process::abort()
}

impl<T> ops::Index<Id> for Slab<T> {
    type Output = T;

    fn index(&self, id: Id) -> &T {
        // SAFETY: `used` returns an opened slot, which holds a valid value; `&self` keeps it from changing.
        match unsafe { self.used(id).as_ref() } {
            Slot::Used(value) => value,
            Slot::Free { .. } => corrupt(),
        }
    }
}

impl<T> ops::IndexMut<Id> for Slab<T> {
    fn index_mut(&mut self, id: Id) -> &mut T {
        // SAFETY: as in `index`; `&mut self` makes the reference the only one.
        match unsafe { self.used(id).as_mut() } {
            Slot::Used(value) => value,
            Slot::Free { .. } => corrupt(),
        }
    }
}

impl<T> Drop for Slab<T> {
    fn drop(&mut self) {
        for id in 0..Id::try_from(self.opened).unwrap_or(0) {
            // SAFETY: every opened slot holds a valid value, dropped once, here.
            unsafe { self.slot(id).drop_in_place() };
        }
        for (chunk, slots) in self.chunks.iter().enumerate() {
            if let Some(slots) = slots {
                // SAFETY: mapped by `reserve` with this size; nothing refers to it any more.
                unsafe { memory::unmap(slots.cast(), (FIRST_CHUNK << chunk) * size_of::<Slot<T>>()) };
            }
        }
    }
}

/// An open-addressed hash table of ids, at most half full. It stores no keys: the caller's closures know them.
pub struct Index {
    buckets: Option<NonNull<Id>>,
    /// Number of buckets, a power of two, or 0.
    size: usize,
    len: usize,
}

// SAFETY: as for Slab.
unsafe impl Send for Index {}

const FIRST_SIZE: usize = 1024;

impl Index {
    pub const fn new() -> Index {
        Index { buckets: None, size: 0, len: 0 }
    }

    /// Makes room for `count` more ids. `key` gives the key of an id that is inside.
    pub fn reserve(&mut self, count: usize, key: impl Fn(Id) -> u64) -> Result<()> {
        let needed = (self.len + count) * 2;
        if needed <= self.size {
            return Ok(());
        }
        let mut larger = Index::with_size(needed.next_power_of_two().max(FIRST_SIZE))?;
        for &id in self.buckets().iter().filter(|id| **id != NONE) {
            larger.insert(key(id), id);
        }
        *self = larger;
        Ok(())
    }

    fn with_size(size: usize) -> Result<Index> {
        let buckets = memory::map(size * size_of::<Id>())?.cast::<Id>();
        // SAFETY: the mapping has room for `size` ids; all bits set is NONE.
        unsafe { buckets.write_bytes(0xff, size) };
        Ok(Index { buckets: Some(buckets), size, len: 0 })
    }

    /// Adds an id; `reserve` made the room.
    pub fn insert(&mut self, key: u64, id: Id) {
        let mask = self.size.wrapping_sub(1);
        let mut at = mix(key) & mask;
        let buckets = self.buckets_mut();
        while let Some(bucket) = buckets.get_mut(at) {
            if *bucket == NONE {
                *bucket = id;
                self.len += 1;
                return;
            }
            at = (at + 1) & mask;
        }
        corrupt()
    }

    /// The id with this key for which `is` holds.
    pub fn find(&self, key: u64, is: impl Fn(Id) -> bool) -> Option<Id> {
        let at = self.position(key, is)?;
        self.buckets().get(at).copied()
    }

    fn position(&self, key: u64, is: impl Fn(Id) -> bool) -> Option<usize> {
        let mask = self.size.wrapping_sub(1);
        let mut at = mix(key) & mask;
        loop {
            match *self.buckets().get(at)? {
                NONE => return None,
                id if is(id) => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Takes an id out, and moves those behind it up so that no search ends too early.
    pub fn remove(&mut self, key: u64, id: Id, key_of: impl Fn(Id) -> u64) {
        let Some(mut hole) = self.position(key, |other| other == id) else {
            return;
        };
        let mask = self.size - 1;
        let mut at = hole;
        let buckets = self.buckets_mut();
        loop {
            at = (at + 1) & mask;
            match buckets.get(at).copied() {
                None | Some(NONE) => break,
                Some(other) => {
                    let home = mix(key_of(other)) & mask;
                    if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                        buckets.swap(at, hole);
                        hole = at;
                    }
                }
            }
        }
        if let Some(bucket) = buckets.get_mut(hole) {
            *bucket = NONE;
        }
        self.len -= 1;
    }

    fn buckets(&self) -> &[Id] {
        match self.buckets {
            // SAFETY: `with_size` mapped and filled `size` ids; `&self` keeps them from changing.
            Some(start) => unsafe { std::slice::from_raw_parts(start.as_ptr(), self.size) },
            None => &[],
        }
    }

    fn buckets_mut(&mut self) -> &mut [Id] {
        match self.buckets {
            // SAFETY: as in `buckets`, and `&mut self` makes the slice the only one.
            Some(start) => unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.size) },
            None => &mut [],
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if let Some(buckets) = self.buckets {
            // SAFETY: mapped by `with_size` with this size; nothing refers to it any more.
            unsafe { memory::unmap(buckets.cast(), self.size * size_of::<Id>()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slab_reuses_slots_and_keeps_values() {
        let mut slab = Slab::new();
        let mut ids = Vec::new();
        for value in 0..10_000u64 {
            slab.reserve(1).unwrap();
            ids.push((slab.insert(value), value));
        }
        assert!(ids.iter().all(|&(id, value)| slab[id] == value));
        let (gone, kept) = ids.split_at(5_000);
        for &(id, value) in gone {
            assert_eq!(slab.remove(id), value);
        }
        assert_eq!(slab.len(), 5_000);
        for value in 0..5_000u64 {
            slab.reserve(1).unwrap();
            let id = slab.insert(value + 100_000);
            assert!(gone.iter().any(|g| g.0 == id), "a new slot although free ones were left");
        }
        assert!(kept.iter().all(|&(id, value)| slab[id] == value));
    }

    #[test]
    fn index_finds_what_is_inside_and_nothing_else() {
        let keys: Vec<u64> = (0..3_000u64).map(|n| n * 4096).collect();
        let key = |id: Id| keys[usize::try_from(id).unwrap()];
        let mut index = Index::new();
        for id in 0..3_000u32 {
            index.reserve(1, key).unwrap();
            index.insert(key(id), id);
        }
        for id in (0..3_000u32).step_by(2) {
            index.remove(key(id), id, key);
        }
        for id in 0..3_000u32 {
            let found = index.find(key(id), |other| key(other) == key(id));
            assert_eq!(found, (id % 2 == 1).then_some(id));
        }
    }
}
