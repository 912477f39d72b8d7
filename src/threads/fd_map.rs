//! A map by descriptor in the library's own memory: whoever uses it must not wait for malloc, nor end the process where there is
//! no memory.

use crate::slab::{Id, Index, Slab};

pub struct FdMap<V> {
    entries: Slab<(i32, V)>,
    by_fd: Index,
}

impl<V: Copy + Default> FdMap<V> {
    pub const fn new() -> FdMap<V> {
        FdMap { entries: Slab::new(), by_fd: Index::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, fd: i32) -> Option<&V> {
        self.find(fd).map(|id| &self.entries[id].1)
    }

    /// The descriptor's entry, added if there is none. None: no memory.
    pub fn entry(&mut self, fd: i32) -> Option<&mut V> {
        let id = match self.find(fd) {
            Some(id) => id,
            None => self.add(fd)?,
        };
        Some(&mut self.entries[id].1)
    }

    fn add(&mut self, fd: i32) -> Option<Id> {
        let FdMap { entries, by_fd } = self;
        entries.reserve(1).ok()?;
        by_fd.reserve(1, |id| key(entries[id].0)).ok()?;
        let id = entries.insert((fd, V::default()));
        by_fd.insert(key(fd), id);
        Some(id)
    }

    pub fn remove(&mut self, fd: i32) -> Option<V> {
        self.find(fd).and_then(|id| self.remove_at(id))
    }

    /// All places that may hold an entry. One that is added by whoever has just removed another takes its place.
    pub fn places(&self) -> std::ops::Range<Id> {
        0..Id::try_from(self.entries.opened()).unwrap_or(Id::MAX)
    }

    /// What a place holds, and for which descriptor.
    pub fn at(&self, place: Id) -> Option<(i32, &V)> {
        self.entries.get(place).map(|(fd, value)| (*fd, value))
    }

    pub fn at_mut(&mut self, place: Id) -> Option<&mut V> {
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    pub fn remove_at(&mut self, place: Id) -> Option<V> {
        let fd = self.entries.get(place)?.0;
        let entries = &self.entries;
        self.by_fd.remove(key(fd), place, |id| key(entries[id].0));
        Some(self.entries.remove(place).1)
    }

    fn find(&self, fd: i32) -> Option<Id> {
        self.by_fd.find(key(fd), |id| self.entries[id].0 == fd)
    }
}

fn key(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_until_they_are_removed() {
        let mut map = FdMap::new();
        for fd in 0..1_000 {
            *map.entry(fd).unwrap() = fd * 2;
        }
        assert_eq!(map.remove(10), Some(20));
        assert_eq!(map.remove(10), None);
        assert!(map.get(10).is_none() && map.get(11) == Some(&22) && !map.is_empty());
        *map.entry(11).unwrap() = 5;
        let mut left = 0;
        for place in map.places() {
            if let Some(value) = map.remove_at(place) {
                left += 1;
                // Is not met again.
                *map.entry(2_000 + left).unwrap() = value;
            }
        }
        assert_eq!(left, 999);
        (1..=left).for_each(|fd| assert!(map.remove(2_000 + fd).is_some()));
        assert!(map.is_empty());
    }
}
