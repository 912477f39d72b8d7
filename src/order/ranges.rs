//! Requests of one descriptor that must not overtake each other: the treaps of their ranges.

use super::Order;
use super::node::{Desc, Lane, Node, TreeLinks, Trees, some};
use super::types::{Admission, Kind, Policy, Target};
use crate::slab::{Id, NONE};
use crate::sys::hash::mix;

pub(super) struct Best {
    pub(super) seq: u64,
    pub(super) id: Id,
}

/// How many requests of a descriptor may stay out of its treaps: all go in at once when somebody asks.
const MOST_UNTRACKED_READS: u32 = if cfg!(test) { 3 } else { 1024 };
const MOST_UNTRACKED_WRITES: u32 = if cfg!(test) { 3 } else { 64 };

impl<P: Copy> Order<P> {
    /// Counts a request that has nobody to wait for: a read where nothing is written, a write in turn where nothing else
    /// happens.
    pub(super) fn stays_untracked(&mut self, id: Id, lane: Lane) -> bool {
        let Node { desc, priority, takes_turns, .. } = self.nodes[id];
        let whole = self.is_whole(desc);
        let desc = &mut self.descs[desc];
        if whole || desc.trees.writes != NONE {
            return false;
        }
        match lane {
            Lane::Reads if desc.untracked_writes == 0 && desc.untracked_reads < MOST_UNTRACKED_READS => {
                desc.untracked_reads += 1;
                true
            }
            Lane::Writes if takes_turns && desc.untracked_writes < MOST_UNTRACKED_WRITES => {
                let joins = match desc.untracked_writes {
                    0 => desc.untracked_reads == 0 && desc.trees.reads == NONE,
                    _ => desc.untracked_priority == priority,
                };
                if joins {
                    desc.untracked_priority = priority;
                    desc.untracked_writes += 1;
                }
                joins
            }
            _ => false,
        }
    }

    /// Somebody asks: what is untracked and may concern it goes into the treaps.
    pub(super) fn track_others(&mut self, newcomer: Id, lane: Lane) {
        let desc = self.nodes[newcomer].desc;
        let Desc { untracked_reads, untracked_writes, file, .. } = self.descs[desc];
        let reads = if lane == Lane::Writes { untracked_reads } else { 0 };
        let mut left = reads + untracked_writes;
        let mut id = self.files[file].requests.head;
        while left > 0 && id != newcomer && id != NONE {
            let node = &self.nodes[id];
            if let Some(lane) = node.lane
                && node.desc == desc
                && !node.in_tree
            {
                *self.untracked(desc, lane) -= 1;
                self.track(id, lane);
                left -= 1;
            }
            id = self.nodes[id].in_file.next;
        }
    }

    pub(super) fn untracked(&mut self, desc: Id, lane: Lane) -> &mut u32 {
        let desc = &mut self.descs[desc];
        match lane {
            Lane::Reads => &mut desc.untracked_reads,
            Lane::Writes => &mut desc.untracked_writes,
        }
    }

    pub(super) fn track(&mut self, id: Id, lane: Lane) {
        self.nodes[id].in_tree = true;
        let desc = self.nodes[id].desc;
        let root = *self.descs[desc].trees.root(lane);
        *self.descs[desc].trees.root(lane) = self.tree_insert(root, id);
    }

    pub(super) fn untrack(&mut self, id: Id) {
        let Some(lane) = self.nodes[id].lane else { return };
        let desc = self.nodes[id].desc;
        if self.nodes[id].in_tree {
            let root = *self.descs[desc].trees.root(lane);
            *self.descs[desc].trees.root(lane) = self.tree_remove(root, id);
        } else {
            *self.untracked(desc, lane) -= 1;
        }
    }

    /// Which treap of its descriptor a request belongs to. None: it conflicts with nobody.
    pub(super) fn lane(&self, new: &Admission<P>, desc: Id) -> Option<Lane> {
        let is_stream = self.descs[desc].target_is_stream;
        let lane = if new.kind == Kind::Read { Lane::Reads } else { Lane::Writes };
        match self.policy {
            _ if new.kind.is_barrier() => None,
            _ if is_stream => Some(lane),
            _ if self.is_whole(desc) => Some(Lane::Writes),
            Policy::Posix if new.kind != Kind::Append => None,
            // Nothing is known about the file, or nothing is transferred.
            _ => (matches!(new.target, Target::File(_)) && new.length > 0).then_some(lane),
        }
    }

    /// Whether requests of a descriptor conflict with every other of their treap: streams, and all under `order=strict`.
    pub(super) fn is_whole(&self, desc: Id) -> bool {
        let desc = &self.descs[desc];
        desc.target_is_stream || (self.policy == Policy::Strict && self.files[desc.file].key.is_some())
    }

    pub(super) fn range(&self, id: Id) -> (u64, u64) {
        (self.nodes[id].start, self.nodes[id].end)
    }

    /// The treaps in which a request looks for conflicts: a read conflicts with writes, a write with both.
    pub(super) fn rivals(&self, id: Id) -> [Id; 2] {
        let desc = self.nodes[id].desc;
        let Trees { reads, writes } = self.descs[desc].trees;
        match self.nodes[id].lane {
            None => [NONE; 2],
            Some(Lane::Reads) if self.is_whole(desc) => [reads, NONE],
            Some(Lane::Writes) if self.is_whole(desc) => [writes, NONE],
            Some(Lane::Reads) => [writes, NONE],
            Some(Lane::Writes) => [reads, writes],
        }
    }

    /// The youngest of all requests that a new one conflicts with: those behind it form a chain, not a crowd.
    pub(super) fn latest_conflict(&self, id: Id) -> Option<Id> {
        let range = self.range(id);
        let mut best = Best { seq: 0, id: NONE };
        for tree in self.rivals(id) {
            self.search_latest(tree, range, &mut best);
        }
        some(best.id)
    }

    /// The oldest unfinished request, older than this one, that it conflicts with.
    pub(super) fn oldest_conflict(&self, id: Id) -> Option<Id> {
        let range = self.range(id);
        let mut best = Best { seq: self.nodes[id].seq, id: NONE };
        for tree in self.rivals(id) {
            self.search_oldest(tree, range, &mut best);
        }
        some(best.id)
    }

    pub(super) fn search_latest(&self, at: Id, (start, end): (u64, u64), best: &mut Best) {
        if at == NONE {
            return;
        }
        let node = &self.nodes[at];
        if node.tree.max_end <= start || node.tree.max_seq <= best.seq {
            return;
        }
        if node.start < end {
            self.search_latest(node.tree.right, (start, end), best);
            if node.end > start && node.seq > best.seq {
                *best = Best { seq: node.seq, id: at };
            }
        }
        self.search_latest(node.tree.left, (start, end), best);
    }

    pub(super) fn search_oldest(&self, at: Id, (start, end): (u64, u64), best: &mut Best) {
        if at == NONE {
            return;
        }
        let node = &self.nodes[at];
        if node.tree.max_end <= start || node.tree.min_seq >= best.seq {
            return;
        }
        self.search_oldest(node.tree.left, (start, end), best);
        if node.start < end {
            if node.end > start && node.seq < best.seq {
                *best = Best { seq: node.seq, id: at };
            }
            self.search_oldest(node.tree.right, (start, end), best);
        }
    }

    /// Treap order: by start of range, then by age.
    pub(super) fn goes_left(&self, id: Id, of: Id) -> bool {
        let (one, other) = (&self.nodes[id], &self.nodes[of]);
        (one.start, one.seq) < (other.start, other.seq)
    }

    pub(super) fn tree_insert(&mut self, root: Id, id: Id) -> Id {
        if root == NONE {
            return self.refresh(id);
        }
        if self.rank(id) > self.rank(root) {
            let (left, right) = self.tree_split(root, id);
            self.nodes[id].tree.left = left;
            self.nodes[id].tree.right = right;
            return self.refresh(id);
        }
        if self.goes_left(id, root) {
            self.nodes[root].tree.left = self.tree_insert(self.nodes[root].tree.left, id);
        } else {
            self.nodes[root].tree.right = self.tree_insert(self.nodes[root].tree.right, id);
        }
        self.refresh(root)
    }

    /// Splits a treap into the nodes before `id` and those behind it.
    pub(super) fn tree_split(&mut self, root: Id, id: Id) -> (Id, Id) {
        if root == NONE {
            return (NONE, NONE);
        }
        if self.goes_left(id, root) {
            let (left, right) = self.tree_split(self.nodes[root].tree.left, id);
            self.nodes[root].tree.left = right;
            (left, self.refresh(root))
        } else {
            let (left, right) = self.tree_split(self.nodes[root].tree.right, id);
            self.nodes[root].tree.right = left;
            (self.refresh(root), right)
        }
    }

    pub(super) fn tree_remove(&mut self, root: Id, id: Id) -> Id {
        if root == id {
            let TreeLinks { left, right, .. } = self.nodes[id].tree;
            return self.tree_merge(left, right);
        }
        if self.goes_left(id, root) {
            self.nodes[root].tree.left = self.tree_remove(self.nodes[root].tree.left, id);
        } else {
            self.nodes[root].tree.right = self.tree_remove(self.nodes[root].tree.right, id);
        }
        self.refresh(root)
    }

    pub(super) fn tree_merge(&mut self, left: Id, right: Id) -> Id {
        if left == NONE || right == NONE {
            return if left == NONE { right } else { left };
        }
        if self.rank(left) > self.rank(right) {
            self.nodes[left].tree.right = self.tree_merge(self.nodes[left].tree.right, right);
            self.refresh(left)
        } else {
            self.nodes[right].tree.left = self.tree_merge(left, self.nodes[right].tree.left);
            self.refresh(right)
        }
    }

    /// A node's random rank in the treap: what keeps it balanced, 2 ln n levels on average.
    pub(super) fn rank(&self, id: Id) -> usize {
        mix(self.nodes[id].seq)
    }

    /// Computes the extremes of a node's subtree anew.
    pub(super) fn refresh(&mut self, id: Id) -> Id {
        let node = &self.nodes[id];
        let (mut max_end, mut min_seq, mut max_seq) = (node.end, node.seq, node.seq);
        let TreeLinks { left, right, .. } = node.tree;
        for child in [left, right].into_iter().filter(|child| *child != NONE) {
            let tree = &self.nodes[child].tree;
            max_end = max_end.max(tree.max_end);
            min_seq = min_seq.min(tree.min_seq);
            max_seq = max_seq.max(tree.max_seq);
        }
        self.nodes[id].tree = TreeLinks { left, right, max_end, min_seq, max_seq };
        id
    }
}
