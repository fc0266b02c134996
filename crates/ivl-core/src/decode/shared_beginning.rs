//! The beginning that prompts have in common, such as a task's examples: it is read once for all of them.

use crate::causal_lm::{CausalLm, prefill};
use crate::error::Error;
use crate::fusion::DecodeBatch;
use crate::row_chunks::PREFILL_CHUNK;
use crate::tokens::{shared_prefix_len, token_tensor};

/// What each row of a batch keeps of a common beginning.
///
/// With `rest` the length of the longest remainder, row `r` keeps the first `len(r) - rest` tokens. So all rows go on with as many
/// tokens, and padding stays at their start.
pub(super) struct SharedBeginning {
    tokens: Vec<u32>,
    kept: Vec<usize>,
    rest: usize,
}

impl SharedBeginning {
    /// `None` if reading it once saves less than half of the tokens of a padded batch, or rows of the model cannot part.
    pub(super) fn of<S: AsRef<[u32]>>(lm: &dyn CausalLm, prompts: &[S]) -> Option<Self> {
        let first = prompts.first()?.as_ref();
        let lens = || prompts.iter().map(|prompt| prompt.as_ref().len());
        let common = prompts.iter().map(|prompt| shared_prefix_len(first, prompt.as_ref())).min()?;
        let (shortest, longest) = (lens().min()?, lens().max()?);
        // The last token is read by each row, for its logits.
        let rest = longest - common.min(shortest.checked_sub(1)?);
        let kept: Vec<usize> = lens().map(|len| len.checked_sub(rest)).collect::<Option<_>>()?;
        let read = *kept.iter().max()?;
        let saves = 2 * (read + prompts.len() * rest) <= prompts.len() * longest;
        let cache = lm.new_cache(&[0]);
        let parts = lm.info().cache_bytes.per_text == 0 && cache.can_join() && !cache.depends_on_length();
        (saves && parts).then(|| Self { tokens: first[..read].to_vec(), kept, rest })
    }

    /// The tokens `[rows, rest]` after what the rows keep, row-major.
    pub(super) fn unread<S: AsRef<[u32]>>(&self, prompts: &[S]) -> Vec<u32> {
        prompts.iter().zip(&self.kept).flat_map(|(prompt, &kept)| &prompt.as_ref()[kept..]).copied().collect()
    }

    /// Reads the beginning; a batch of rows that have read what they keep of it.
    pub(super) fn read(self, lm: &dyn CausalLm) -> Result<DecodeBatch, Error> {
        let mut whole = DecodeBatch::with_own_weights(lm, &[0]);
        whole.set_prompt_len(self.tokens.len());
        let tokens = token_tensor(&self.tokens, 1, &lm.device());
        prefill(tokens, PREFILL_CHUNK, |chunk| whole.next_own_logits(lm, chunk))?;
        let row = |&kept: &usize| {
            let mut row = whole.clone();
            row.truncate(kept);
            row
        };
        let mut parts: Vec<DecodeBatch> = self.kept.iter().map(row).collect();
        // In pairs: a row is copied as often as the number of rows can be halved.
        while parts.len() > 1 {
            let mut joined = Vec::with_capacity(parts.len().div_ceil(2));
            let mut rest = parts.into_iter();
            while let Some(mut part) = rest.next() {
                rest.next().map_or(Ok(()), |other| part.join(other))?;
                joined.push(part);
            }
            parts = joined;
        }
        let mut batch = parts.pop().ok_or(Error::EmptyPrompt)?;
        batch.set_prompt_len(batch.len() + self.rest);
        Ok(batch)
    }
}
