//! Caches of prompts that were read, for prompts that begin alike.

use std::collections::{BTreeMap, HashMap};

use ivl_core::fusion::DecodeBatch;

use super::radix_tree::{RadixTree, Shared};

/// Tokens that two prompts must share before a copy of the cache pays.
const LEAST_SHARED: usize = 16;

/// Caches of single prompts within a budget of bytes; the least recently used is dropped first. The cost of a look-up
/// depends on the length of the prompt, not on the number of entries.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    entries: HashMap<u64, Entry>,
    /// The prompts, by the values that have read them.
    trees: Vec<(Readers, RadixTree)>,
    /// Keys by the time of their last use.
    by_use: BTreeMap<u64, u64>,
    /// Counts uses; also the source of keys.
    clock: u64,
    bytes: usize,
    budget: usize,
    /// The first weights on which the caches of later values depend, since these read predictions.
    weights_read: usize,
}

#[derive(Debug)]
struct Entry {
    prompt: Vec<u32>,
    batch: DecodeBatch,
    readers: Readers,
    bytes: usize,
    last_use: u64,
}

/// Which values have read a prompt: 1 for each that has, or the bits of its weight where other caches depend on it.
type Readers = Vec<u64>;

impl PrefixCache {
    pub(crate) fn new(budget: usize, weights_read: usize) -> Self {
        Self {
            entries: HashMap::new(),
            trees: Vec::new(),
            by_use: BTreeMap::new(),
            clock: 0,
            bytes: 0,
            budget,
            weights_read,
        }
    }

    /// Drops all entries.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.budget, self.weights_read);
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The cache of the longest known beginning of a prompt, and its length in tokens. The last token of the prompt is
    /// never part of it, since its logits are needed. Of recurrent models only beginnings count whose state is known: the prompts
    /// that were read, and a few lengths before their ends.
    pub(crate) fn find(&mut self, prompt: &[u32], weights: &[f64]) -> Option<(DecodeBatch, usize)> {
        let Shared { key, len } = self.longest(prompt, weights)?;
        self.touch(key);
        let beginning = self.entries.get(&key)?.batch.beginning(len, weights)?;
        Some((beginning, len))
    }

    /// Whether [`find`](Self::find) returns something.
    pub(crate) fn knows(&self, prompt: &[u32], weights: &[f64]) -> bool {
        self.longest(prompt, weights).is_some()
    }

    /// Whether a prompt is worth keeping: no entry holds all of it.
    pub(crate) fn wants(&self, prompt: &[u32], weights: &[f64]) -> bool {
        let known =
            |tree: &RadixTree| tree.longest_shared(prompt).is_some_and(|shared| shared.len == prompt.len());
        self.budget > 0 && prompt.len() > LEAST_SHARED && !self.covering(weights).any(known)
    }

    /// Keeps the cache of a prompt, in place of those of its beginnings.
    pub(crate) fn insert(&mut self, prompt: &[u32], batch: DecodeBatch) {
        let bytes = batch.bytes();
        if bytes > self.budget {
            return;
        }
        let readers = self.readers(batch.weights(0));
        let known = self.trees.iter().find(|(of, _)| *of == readers);
        for key in known.map_or_else(Vec::new, |(_, tree)| tree.beginnings(prompt)) {
            self.remove(key);
        }
        self.clock += 1;
        let key = self.clock;
        if let Some(old) = self.tree_of(&readers).insert(prompt, key) {
            self.forget(old);
        }
        self.bytes += bytes;
        self.by_use.insert(key, key);
        self.entries.insert(key, Entry { prompt: prompt.to_vec(), batch, readers, bytes, last_use: key });
        while self.bytes > self.budget {
            let Some((_, &oldest)) = self.by_use.first_key_value() else { break };
            self.remove(oldest);
        }
    }

    fn readers(&self, weights: &[f64]) -> Readers {
        let of = |(value, weight): (usize, &f64)| match value < self.weights_read {
            true => weight.to_bits(),
            false => u64::from(*weight != 0.0),
        };
        weights.iter().enumerate().map(of).collect()
    }

    fn tree_of(&mut self, readers: &Readers) -> &mut RadixTree {
        let at = self.trees.iter().position(|(of, _)| of == readers).unwrap_or_else(|| {
            self.trees.push((readers.clone(), RadixTree::new()));
            self.trees.len() - 1
        });
        &mut self.trees[at].1
    }

    fn longest(&self, prompt: &[u32], weights: &[f64]) -> Option<Shared> {
        let usable = |shared: Shared| {
            let len = shared.len.min(prompt.len() - 1);
            let known = self.entries.get(&shared.key).map_or(0, |entry| entry.batch.resumable(len));
            Shared { len: known, ..shared }
        };
        self.covering(weights)
            .filter_map(|tree| tree.longest_shared(prompt))
            .map(usable)
            .filter(|shared| shared.len >= LEAST_SHARED)
            .max_by_key(|shared| (shared.len, shared.key))
    }

    /// The trees of prompts whose caches can be used under these weights.
    fn covering(&self, weights: &[f64]) -> impl Iterator<Item = &RadixTree> {
        let covers = |tree: &&(Readers, RadixTree)| {
            let any = tree.1.longest_shared(&[]);
            any.and_then(|shared| self.entries.get(&shared.key))
                .is_some_and(|entry| entry.batch.covers(weights))
        };
        self.trees.iter().filter(covers).map(|(_, tree)| tree)
    }

    fn touch(&mut self, key: u64) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.clock += 1;
        self.by_use.remove(&entry.last_use);
        self.by_use.insert(self.clock, key);
        entry.last_use = self.clock;
    }

    fn remove(&mut self, key: u64) {
        if let Some(entry) = self.forget(key)
            && let Some(at) = self.trees.iter().position(|(of, _)| *of == entry.readers)
        {
            self.trees[at].1.remove(&entry.prompt);
            if self.trees[at].1.longest_shared(&[]).is_none() {
                self.trees.swap_remove(at);
            }
        }
    }

    /// Drops an entry, but not its prompt in the tree.
    fn forget(&mut self, key: u64) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.by_use.remove(&entry.last_use);
        self.bytes -= entry.bytes;
        Some(entry)
    }
}
