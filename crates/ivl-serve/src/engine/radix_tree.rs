//! Token sequences by their beginnings.

use std::collections::HashMap;

/// Index of the root.
const ROOT: usize = 0;

/// A compressed trie of token sequences. Finding the sequence that shares most tokens with another one costs as many steps
/// as they share tokens, however many sequences there are.
#[derive(Debug)]
pub(crate) struct RadixTree {
    nodes: Vec<Node>,
    /// Indices of nodes that can be used again.
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Node {
    parent: usize,
    /// Tokens from the parent to here.
    edge: Vec<u32>,
    /// By the first token of their edges.
    children: HashMap<u32, usize>,
    /// The key of the sequence that ends here.
    key: Option<u64>,
}

/// The sequence that shares most tokens with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Its key.
    pub(crate) key: u64,
    /// Tokens that both begin with.
    pub(crate) len: usize,
}

/// Where a walk along a sequence ends.
struct Walk {
    /// The last node that was entered, perhaps not to the end of its edge.
    node: usize,
    /// Tokens of its edge that fit.
    on_edge: usize,
    /// Tokens that fit in all.
    len: usize,
}

impl RadixTree {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }

    /// The sequence that shares most tokens with the given one; `None` if the tree is empty.
    pub(crate) fn longest_shared(&self, tokens: &[u32]) -> Option<Shared> {
        let Walk { mut node, len, .. } = self.walk(tokens);
        // Every sequence below the node shares what was walked, and each node without children ends one.
        loop {
            if let Some(key) = self.nodes[node].key {
                return Some(Shared { key, len });
            }
            node = *self.nodes[node].children.values().next()?;
        }
    }

    /// Adds a sequence. Returns the key that it had.
    pub(crate) fn insert(&mut self, tokens: &[u32], key: u64) -> Option<u64> {
        let Walk { mut node, on_edge, len } = self.walk(tokens);
        if on_edge < self.nodes[node].edge.len() {
            node = self.split(node, on_edge);
        }
        if len < tokens.len() {
            let edge = tokens[len..].to_vec();
            node = self.add_child(node, edge);
        }
        self.nodes[node].key.replace(key)
    }

    /// Removes a sequence. Returns its key.
    pub(crate) fn remove(&mut self, tokens: &[u32]) -> Option<u64> {
        let Walk { node, on_edge, len } = self.walk(tokens);
        if len < tokens.len() || on_edge < self.nodes[node].edge.len() {
            return None;
        }
        let key = self.nodes[node].key.take();
        self.prune(node);
        key
    }

    /// Keys of the sequences that are proper beginnings of the given one.
    pub(crate) fn beginnings(&self, tokens: &[u32]) -> Vec<u64> {
        let Walk { mut node, on_edge, len } = self.walk(tokens);
        let mut keys = Vec::new();
        if on_edge < self.nodes[node].edge.len() || len == tokens.len() {
            node = self.nodes[node].parent;
        }
        loop {
            keys.extend(self.nodes[node].key);
            if node == ROOT {
                return keys;
            }
            node = self.nodes[node].parent;
        }
    }

    fn walk(&self, tokens: &[u32]) -> Walk {
        let mut walk = Walk { node: ROOT, on_edge: 0, len: 0 };
        while let Some(child) =
            tokens.get(walk.len).and_then(|token| self.nodes[walk.node].children.get(token))
        {
            let edge = &self.nodes[*child].edge;
            let fits = edge.iter().zip(&tokens[walk.len..]).take_while(|(a, b)| a == b).count();
            walk = Walk { node: *child, on_edge: fits, len: walk.len + fits };
            if fits < edge.len() {
                break;
            }
        }
        walk
    }

    fn add_child(&mut self, parent: usize, edge: Vec<u32>) -> usize {
        let first = edge[0];
        let node = Node { parent, edge, ..Node::default() };
        let index = if let Some(index) = self.free.pop() {
            self.nodes[index] = node;
            index
        } else {
            self.nodes.push(node);
            self.nodes.len() - 1
        };
        self.nodes[parent].children.insert(first, index);
        index
    }

    /// Cuts the edge to a node after `at` tokens; the new node between.
    fn split(&mut self, node: usize, at: usize) -> usize {
        let parent = self.nodes[node].parent;
        let lower = self.nodes[node].edge.split_off(at);
        let upper = std::mem::take(&mut self.nodes[node].edge);
        let middle = self.add_child(parent, upper);
        self.nodes[middle].children.insert(lower[0], node);
        (self.nodes[node].edge, self.nodes[node].parent) = (lower, middle);
        middle
    }

    /// Removes a node that ends nothing, and joins edges that need no node between them.
    fn prune(&mut self, mut node: usize) {
        while node != ROOT && self.nodes[node].key.is_none() {
            let parent = self.nodes[node].parent;
            let first = self.nodes[node].edge[0];
            let mut children = self.nodes[node].children.values();
            match (children.next().copied(), children.next()) {
                (None, _) => {
                    self.nodes[parent].children.remove(&first);
                    self.release(node);
                    node = parent;
                }
                (Some(child), None) => {
                    let mut edge = std::mem::take(&mut self.nodes[node].edge);
                    edge.append(&mut self.nodes[child].edge);
                    (self.nodes[child].edge, self.nodes[child].parent) = (edge, parent);
                    self.nodes[parent].children.insert(first, child);
                    self.release(node);
                    return;
                }
                _ => return,
            }
        }
    }

    fn release(&mut self, node: usize) {
        self.nodes[node] = Node::default();
        self.free.push(node);
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn shared(a: &[u32], b: &[u32]) -> usize {
        a.iter().zip(b).take_while(|(a, b)| a == b).count()
    }

    /// Against a list, on sequences of few tokens, so that they share much.
    #[test]
    fn it_finds_what_a_search_through_all_finds() {
        let mut random = SmallRng::seed_from_u64(3);
        let mut sequence =
            || -> Vec<u32> { (0..random.random_range(1..7)).map(|_| random.random_range(0..3)).collect() };
        let (mut tree, mut list) = (RadixTree::new(), HashMap::<Vec<u32>, u64>::new());
        for key in 0..4000 {
            let tokens = sequence();
            if key % 3 == 2 {
                assert_eq!(tree.remove(&tokens), list.remove(&tokens));
            } else {
                assert_eq!(tree.insert(&tokens, key), list.insert(tokens, key));
            }
            let query = sequence();
            let best = list.keys().map(|known| shared(known, &query)).max();
            let found = tree.longest_shared(&query);
            assert_eq!(found.map(|found| found.len), best);
            if let Some(found) = found {
                let known =
                    list.iter().find(|(_, key)| **key == found.key).expect("a sequence of the list").0;
                assert_eq!(shared(known, &query), found.len);
            }
            let mut beginnings = tree.beginnings(&query);
            let mut expected: Vec<u64> = list
                .iter()
                .filter(|(known, _)| known.len() < query.len() && query.starts_with(known))
                .map(|(_, key)| *key)
                .collect();
            beginnings.sort_unstable();
            expected.sort_unstable();
            assert_eq!(beginnings, expected);
        }
        for tokens in list.into_keys() {
            tree.remove(&tokens);
        }
        assert_eq!(tree.nodes.len() - tree.free.len(), 1, "the root is left");
    }
}
