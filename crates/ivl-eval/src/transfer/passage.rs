//! A demonstration in a base's tokens.

use burn::tensor::{Int, Tensor};
use ivl_core::tokens::PaddedBatch;
use ivl_core::{Cache, CausalLm, Error};

/// Positions of the padded texts in one forward pass.
const POSITIONS: usize = 8192;

/// A text, and which of its tokens are the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passage {
    /// Token ids of the base.
    pub ids: Vec<u32>,
    /// Whether each token is part of the answer; the first is predicted by nothing and never counts.
    pub loss_mask: Vec<bool>,
}

impl Passage {
    /// The tokens of the answer.
    pub fn answer(&self) -> impl Iterator<Item = u32> + '_ {
        let predicted = self.ids.iter().zip(&self.loss_mask).skip(1);
        predicted.filter(|(_, is_answer)| **is_answer).map(|(&id, _)| id)
    }
}

/// Some passages of like length in one left-padded pass.
pub(crate) struct Pass {
    batch: PaddedBatch,
    /// Indices into the batch of the positions that predict a token of an answer.
    pub(crate) positions: Vec<usize>,
    /// Those tokens.
    pub(crate) targets: Vec<u32>,
    /// Which passage each belongs to.
    pub(crate) owners: Vec<usize>,
}

/// Indices by length, in groups whose padded positions fit in a pass.
pub(super) fn groups(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| lengths[index]);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in order {
        match groups.last_mut() {
            Some(group) if (group.len() + 1) * lengths[index] <= POSITIONS && group.len() < 64 => {
                group.push(index);
            }
            _ => groups.push(vec![index]),
        }
    }
    groups
}

impl Pass {
    /// Hands over passes over all passages, but for those without an answer. `progress` receives the passages read so far.
    pub(crate) fn over(
        passages: &[Passage],
        lm: &dyn CausalLm,
        progress: &mut dyn FnMut(usize),
        mut read: impl FnMut(&Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let lengths: Vec<usize> = passages.iter().map(|passage| passage.ids.len()).collect();
        let mut done = 0;
        for group in groups(&lengths) {
            let pass = Self::new(passages, &group, lm)?;
            if !pass.targets.is_empty() {
                read(&pass)?;
            }
            done += group.len();
            progress(done);
        }
        Ok(())
    }

    /// Its tokens, `[rows, seq]`, on the device of a model, and a cache to read them with.
    pub(crate) fn open(&self, lm: &dyn CausalLm) -> (Tensor<2, Int>, Cache) {
        let mut cache = lm.new_cache(&self.batch.padding);
        cache.set_expected_len(self.batch.seq);
        (self.batch.columns(0, self.batch.seq, &lm.device()), cache)
    }

    /// One pass over the passages with these indices.
    fn new(passages: &[Passage], indices: &[usize], lm: &dyn CausalLm) -> Result<Self, Error> {
        // The last token predicts nothing.
        let read = |&index: &usize| &passages[index].ids[..passages[index].ids.len().saturating_sub(1)];
        let rows: Vec<&[u32]> = indices.iter().map(read).collect();
        let batch = PaddedBatch::new(&rows, lm.vocab())?;
        let limit = lm.max_positions();
        if batch.seq > limit {
            return Err(Error::TextTooLong { got: batch.seq, limit, what: lm.info().name });
        }
        let mut pass = Self { batch, positions: Vec::new(), targets: Vec::new(), owners: Vec::new() };
        for (row, &index) in indices.iter().enumerate() {
            let Passage { ids, loss_mask } = &passages[index];
            let first = row * pass.batch.seq + pass.batch.padding[row];
            for next in (1..ids.len()).filter(|&next| loss_mask[next]) {
                pass.positions.push(first + next - 1);
                pass.targets.push(ids[next]);
                pass.owners.push(index);
            }
        }
        Ok(pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_every_index_once_and_fit() {
        let lengths = [5, 4000, 3, 4000, 9000, 7];
        let groups = groups(&lengths);
        let mut all: Vec<usize> = groups.concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        for group in groups {
            let longest = group.iter().map(|&index| lengths[index]).max().unwrap_or(0);
            assert!(group.len() == 1 || group.len() * longest <= POSITIONS, "{group:?}");
        }
    }
}
