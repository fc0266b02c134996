//! Prompts that were read, for prompts that begin alike.

use ivl_core::fusion::DecodeBatch;
use ivl_core::tokens::shared_prefix_len;

/// Tokens that two prompts must share before it pays to go on from a copy.
const LEAST_SHARED: usize = 16;

/// Caches of single prompts within a budget of bytes, the least recently used forgotten first.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    /// Most recently used last.
    entries: Vec<(Vec<u32>, DecodeBatch)>,
    budget: usize,
}

impl PrefixCache {
    pub(crate) fn new(budget: usize) -> Self {
        Self { entries: Vec::new(), budget }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(|(_, batch)| batch.bytes()).sum()
    }

    /// The longest known beginning of a prompt, and how many tokens it has. The last token is never part of it: its logits
    /// are wanted.
    pub(crate) fn find(&mut self, prompt: &[u32], weights: &[f64]) -> Option<(DecodeBatch, usize)> {
        let usable = |(at, (known, batch)): (usize, &(Vec<u32>, DecodeBatch))| {
            let len = shared_prefix_len(known, prompt).min(prompt.len() - 1);
            (len >= LEAST_SHARED && batch.covers(weights)).then_some((len, at))
        };
        let (len, at) = self.entries.iter().enumerate().filter_map(usable).max()?;
        let beginning = self.entries[at].1.beginning(len, weights)?;
        let used = self.entries.remove(at);
        self.entries.push(used);
        Some((beginning, len))
    }

    /// Whether [`find`](Self::find) has something.
    pub(crate) fn knows(&self, prompt: &[u32], weights: &[f64]) -> bool {
        self.entries.iter().any(|(known, batch)| {
            shared_prefix_len(known, prompt).min(prompt.len() - 1) >= LEAST_SHARED && batch.covers(weights)
        })
    }

    /// Whether a prompt is worth remembering: nothing known holds all of it.
    pub(crate) fn wants(&self, prompt: &[u32], weights: &[f64]) -> bool {
        self.budget > 0
            && prompt.len() > LEAST_SHARED
            && !self.entries.iter().any(|(known, batch)| known.starts_with(prompt) && batch.covers(weights))
    }

    /// Remembers a prompt that was read, in place of those that it continues.
    pub(crate) fn insert(&mut self, prompt: &[u32], batch: DecodeBatch) {
        if batch.bytes() > self.budget {
            return;
        }
        let weights = batch.weights(0).to_vec();
        self.entries.retain(|(known, old)| {
            !(prompt.starts_with(known)
                && old.weights(0).iter().zip(&weights).all(|(a, b)| (*a != 0.0) == (*b != 0.0)))
        });
        self.entries.push((prompt.to_vec(), batch));
        while self.bytes() > self.budget {
            self.entries.remove(0);
        }
    }
}
