//! Tokens that may be written and sequences of tokens that may not.

use std::collections::BTreeSet;
use std::sync::Arc;

/// `allowed_token_ids` and `bad_words`.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenRules {
    allowed: Option<Arc<BTreeSet<u32>>>,
    /// Each at least one token.
    forbidden: Arc<Vec<Vec<u32>>>,
    /// The last tokens of the answer: one fewer than the longest forbidden sequence has.
    written: Vec<u32>,
}

impl TokenRules {
    /// `forbidden` sequences must not be empty.
    pub(crate) fn new(allowed: Option<BTreeSet<u32>>, forbidden: Vec<Vec<u32>>) -> Self {
        Self { allowed: allowed.map(Arc::new), forbidden: Arc::new(forbidden), written: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.allowed.is_none() && self.forbidden.is_empty()
    }

    /// Sets the logits of tokens that may not come next to minus infinity.
    pub(crate) fn restrict(&self, logits: &mut [f32]) {
        if let Some(allowed) = &self.allowed {
            for (id, logit) in logits.iter_mut().enumerate() {
                if !allowed.contains(&(id as u32)) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        for sequence in self.forbidden.iter() {
            let Some((&last, before)) = sequence.split_last() else { continue };
            if self.written.ends_with(before) {
                logits[last as usize] = f32::NEG_INFINITY;
            }
        }
    }

    pub(crate) fn accept(&mut self, token: u32) {
        let kept = self.forbidden.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
        self.written.push(token);
        let surplus = self.written.len().saturating_sub(kept);
        self.written.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(rules: &TokenRules) -> Vec<usize> {
        let mut logits = [0.0; 6];
        rules.restrict(&mut logits);
        (0..6).filter(|&id| logits[id] == 0.0).collect()
    }

    #[test]
    fn the_last_token_of_a_forbidden_sequence_is_forbidden_after_the_others() {
        let mut rules = TokenRules::new(None, vec![vec![4], vec![1, 2, 3], vec![2, 5]]);
        assert_eq!(open(&rules), [0, 1, 2, 3, 5]);
        rules.accept(1);
        assert_eq!(open(&rules), [0, 1, 2, 3, 5]);
        rules.accept(2);
        assert_eq!(open(&rules), [0, 1, 2]);
        rules.accept(0);
        assert_eq!(open(&rules), [0, 1, 2, 3, 5]);
    }

    #[test]
    fn only_allowed_tokens_are_left() {
        let rules = TokenRules::new(Some(BTreeSet::from([1, 3, 4])), vec![vec![4]]);
        assert_eq!(open(&rules), [1, 3]);
    }
}
