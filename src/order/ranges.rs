//! Requests of one descriptor that must not overtake each other: the treaps of their ranges.

use super::Order;
use super::node::{Desc, Node, Tree, TreeLinks, Trees, some};
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
    /// Fast path: admits without a tree insert. Allowed while the descriptor has only reads, or only queued writes of one priority.
    pub(super) fn stays_untracked(&mut self, id: Id, tree: Tree) -> bool {
        let Node { desc, priority, queued_write, .. } = self.nodes[id];
        let fifo = self.is_fifo(desc);
        let desc = &mut self.descs[desc];
        if fifo || desc.trees.writes != NONE {
            return false;
        }
        match tree {
            Tree::Reads if desc.untracked_writes == 0 && desc.untracked_reads < MOST_UNTRACKED_READS => {
                desc.untracked_reads += 1;
                true
            }
            Tree::Writes if queued_write && desc.untracked_writes < MOST_UNTRACKED_WRITES => {
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

    /// Inserts the untracked requests that a newcomer may conflict with into the treaps.
    pub(super) fn track_others(&mut self, newcomer: Id, tree: Tree) {
        let desc = self.nodes[newcomer].desc;
        let Desc { untracked_reads, untracked_writes, file, .. } = self.descs[desc];
        let reads = if tree == Tree::Writes { untracked_reads } else { 0 };
        let mut left = reads + untracked_writes;
        let mut id = self.files[file].requests.head;
        while left > 0 && id != newcomer && id != NONE {
            let node = &self.nodes[id];
            if let Some(tree) = node.tree
                && node.desc == desc
                && !node.in_tree
            {
                *self.untracked(desc, tree) -= 1;
                self.track(id, tree);
                left -= 1;
            }
            id = self.nodes[id].in_file.next;
        }
    }

    pub(super) fn untracked(&mut self, desc: Id, tree: Tree) -> &mut u32 {
        let desc = &mut self.descs[desc];
        match tree {
            Tree::Reads => &mut desc.untracked_reads,
            Tree::Writes => &mut desc.untracked_writes,
        }
    }

    pub(super) fn track(&mut self, id: Id, tree: Tree) {
        self.nodes[id].in_tree = true;
        let desc = self.nodes[id].desc;
        let root = *self.descs[desc].trees.root(tree);
        *self.descs[desc].trees.root(tree) = self.tree_insert(root, id);
    }

    pub(super) fn untrack(&mut self, id: Id) {
        let Some(tree) = self.nodes[id].tree else { return };
        let desc = self.nodes[id].desc;
        if self.nodes[id].in_tree {
            let root = *self.descs[desc].trees.root(tree);
            *self.descs[desc].trees.root(tree) = self.tree_remove(root, id);
        } else {
            *self.untracked(desc, tree) -= 1;
        }
    }

    /// Which treap of its descriptor a request belongs to. None: it conflicts with nobody.
    pub(super) fn tree(&self, new: &Admission<P>, desc: Id) -> Option<Tree> {
        let is_stream = self.descs[desc].target_is_stream;
        let tree = if new.kind == Kind::Read { Tree::Reads } else { Tree::Writes };
        match self.policy {
            _ if new.kind.is_barrier() => None,
            _ if is_stream => Some(tree),
            _ if self.is_fifo(desc) => Some(Tree::Writes),
            Policy::Posix if new.kind != Kind::Append => None,
            // Nothing is known about the file, or nothing is transferred.
            _ => (matches!(new.target, Target::File(_)) && new.length > 0).then_some(tree),
        }
    }

    /// Whether requests of a descriptor conflict with every other of their treap: streams, and all under `order=strict`.
    pub(super) fn is_fifo(&self, desc: Id) -> bool {
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
        match self.nodes[id].tree {
            None => [NONE; 2],
            Some(Tree::Reads) if self.is_fifo(desc) => [reads, NONE],
            Some(Tree::Writes) if self.is_fifo(desc) => [writes, NONE],
            Some(Tree::Reads) => [writes, NONE],
            Some(Tree::Writes) => [reads, writes],
        }
    }

    /// The youngest of all requests that a new one conflicts with. It waits for that one only, so that each completion wakes one
    /// waiter instead of making all of them test again.
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
        if node.tree_links.max_end <= start || node.tree_links.max_seq <= best.seq {
            return;
        }
        if node.start < end {
            self.search_latest(node.tree_links.right, (start, end), best);
            if node.end > start && node.seq > best.seq {
                *best = Best { seq: node.seq, id: at };
            }
        }
        self.search_latest(node.tree_links.left, (start, end), best);
    }

    pub(super) fn search_oldest(&self, at: Id, (start, end): (u64, u64), best: &mut Best) {
        if at == NONE {
            return;
        }
        let node = &self.nodes[at];
        if node.tree_links.max_end <= start || node.tree_links.min_seq >= best.seq {
            return;
        }
        self.search_oldest(node.tree_links.left, (start, end), best);
        if node.start < end {
            if node.end > start && node.seq < best.seq {
                *best = Best { seq: node.seq, id: at };
            }
            self.search_oldest(node.tree_links.right, (start, end), best);
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
            self.nodes[id].tree_links.left = left;
            self.nodes[id].tree_links.right = right;
            return self.refresh(id);
        }
        if self.goes_left(id, root) {
            self.nodes[root].tree_links.left = self.tree_insert(self.nodes[root].tree_links.left, id);
        } else {
            self.nodes[root].tree_links.right = self.tree_insert(self.nodes[root].tree_links.right, id);
        }
        self.refresh(root)
    }

    /// Splits a treap into the nodes before `id` and those behind it.
    pub(super) fn tree_split(&mut self, root: Id, id: Id) -> (Id, Id) {
        if root == NONE {
            return (NONE, NONE);
        }
        if self.goes_left(id, root) {
            let (left, right) = self.tree_split(self.nodes[root].tree_links.left, id);
            self.nodes[root].tree_links.left = right;
            (left, self.refresh(root))
        } else {
            let (left, right) = self.tree_split(self.nodes[root].tree_links.right, id);
            self.nodes[root].tree_links.right = left;
            (self.refresh(root), right)
        }
    }

    pub(super) fn tree_remove(&mut self, root: Id, id: Id) -> Id {
        if root == id {
            let TreeLinks { left, right, .. } = self.nodes[id].tree_links;
            return self.tree_merge(left, right);
        }
        if self.goes_left(id, root) {
            self.nodes[root].tree_links.left = self.tree_remove(self.nodes[root].tree_links.left, id);
        } else {
            self.nodes[root].tree_links.right = self.tree_remove(self.nodes[root].tree_links.right, id);
        }
        self.refresh(root)
    }

    pub(super) fn tree_merge(&mut self, left: Id, right: Id) -> Id {
        if left == NONE || right == NONE {
            return if left == NONE { right } else { left };
        }
        if self.rank(left) > self.rank(right) {
            self.nodes[left].tree_links.right = self.tree_merge(self.nodes[left].tree_links.right, right);
            self.refresh(left)
        } else {
            self.nodes[right].tree_links.left = self.tree_merge(left, self.nodes[right].tree_links.left);
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
        let TreeLinks { left, right, .. } = node.tree_links;
        for child in [left, right].into_iter().filter(|child| *child != NONE) {
            let tree = &self.nodes[child].tree_links;
            max_end = max_end.max(tree.max_end);
            min_seq = min_seq.min(tree.min_seq);
            max_seq = max_seq.max(tree.max_seq);
        }
        self.nodes[id].tree_links = TreeLinks { left, right, max_end, min_seq, max_seq };
        id
    }
}
