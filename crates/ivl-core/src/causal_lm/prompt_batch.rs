//! Several prompts as one batch; what they begin with in common, such as a task's examples, is read once.

use burn::tensor::Tensor;

use crate::cache::Cache;
use crate::causal_lm::{CausalLm, prefill};
use crate::error::Error;
use crate::row_chunks::PREFILL_CHUNK;
use crate::tokens::{PaddedBatch, shared_prefix_len, token_tensor};

/// Prompts as one batch, padded on the left so that they end together.
///
/// A long beginning that all prompts have in common is read once, by one row. With `rest` the length of the longest remainder, row `r`
/// then keeps the first `len(r) - rest` tokens of it. So all rows go on with as many tokens, and padding stays at their start.
#[derive(Debug, Clone)]
pub struct PromptBatch {
    beginning: Vec<u32>,
    /// What each row keeps of the beginning.
    kept: Vec<usize>,
    /// What the rows read themselves, padding included.
    rest: PaddedBatch,
}

impl PromptBatch {
    /// A batch for a model, whose tokens are not checked. No beginning is shared if that saves less than half of the tokens of a
    /// padded batch, or if rows of the model's cache cannot go on from beginnings of different lengths.
    pub fn new<S: AsRef<[u32]>>(lm: &dyn CausalLm, prompts: &[S]) -> Self {
        let prompts: Vec<&[u32]> = prompts.iter().map(AsRef::as_ref).collect();
        Self::shared(lm, &prompts).unwrap_or_else(|| Self {
            beginning: Vec::new(),
            kept: vec![0; prompts.len()],
            rest: PaddedBatch::unchecked(&prompts),
        })
    }

    fn shared(lm: &dyn CausalLm, prompts: &[&[u32]]) -> Option<Self> {
        let lens = || prompts.iter().map(|prompt| prompt.len());
        let common = prompts.iter().map(|prompt| shared_prefix_len(prompts[0], prompt)).min()?;
        let (shortest, longest) = (lens().min()?, lens().max()?);
        // Each row reads a token itself, for the logits after it.
        let rest = longest - common.min(shortest.checked_sub(1)?);
        let kept: Vec<usize> = lens().map(|len| len.checked_sub(rest)).collect::<Option<_>>()?;
        let read = *kept.iter().max()?;
        if 2 * (read + prompts.len() * rest) > prompts.len() * longest {
            return None;
        }
        let info = lm.info();
        // A recurrent model goes back to few lengths of a text only.
        let parts = info.cache_bytes.per_text == 0
            && info.length_dependence.is_length_invariant(&(0..longest))
            && lm.new_cache(&[0]).can_join();
        let rests: Vec<&[u32]> = prompts.iter().zip(&kept).map(|(prompt, &kept)| &prompt[kept..]).collect();
        let beginning = prompts[0][..read].to_vec();
        parts.then(|| Self { beginning, rest: PaddedBatch::unchecked(&rests), kept })
    }

    /// Length of the longest prompt.
    pub fn longest(&self) -> usize {
        self.kept.iter().max().map_or(0, |kept| kept + self.rest.seq)
    }

    /// Opens a cache of all rows, and reads what the prompts share. The cache expects texts of `len` tokens, padding included: see
    /// [`Cache::set_expected_len`].
    ///
    /// # Errors
    /// Those of the model.
    pub fn open(&self, lm: &dyn CausalLm, len: usize) -> Result<Cache, Error> {
        let mut cache = if self.beginning.is_empty() {
            lm.new_cache(&self.rest.padding)
        } else {
            self.read_beginning(lm)?
        };
        cache.set_expected_len(len);
        Ok(cache)
    }

    /// Reads the rest of the prompts with a cache that was [opened](Self::open) for them. `None` if no prompt has a token.
    ///
    /// # Shapes
    /// - output: the logits after the prompts, `[rows, vocab]`
    ///
    /// # Errors
    /// Those of the model.
    pub fn read(&self, lm: &dyn CausalLm, cache: &mut Cache) -> Result<Option<Tensor<2>>, Error> {
        if self.rest.seq == 0 {
            return Ok(None);
        }
        prefill(self.rest.tokens(&lm.device()), PREFILL_CHUNK, |chunk| lm.next_logits(chunk, cache))
    }

    /// A cache of rows that have read what they keep of the beginning.
    fn read_beginning(&self, lm: &dyn CausalLm) -> Result<Cache, Error> {
        let mut whole = lm.new_cache(&[0]);
        whole.set_expected_len(self.beginning.len());
        let tokens = token_tensor(&self.beginning, 1, &lm.device());
        prefill(tokens, PREFILL_CHUNK, |chunk| lm.next_logits(chunk, &mut whole))?;
        let row = |&kept: &usize| {
            let mut row = whole.clone();
            row.truncate(kept);
            row
        };
        let mut parts: Vec<Cache> = self.kept.iter().map(row).collect();
        // In pairs: a row is copied as often as the number of rows can be halved.
        while parts.len() > 1 {
            let mut joined = Vec::with_capacity(parts.len().div_ceil(2));
            let mut left = parts.into_iter();
            while let Some(mut part) = left.next() {
                left.next().map_or(Ok(()), |other| part.join(other))?;
                joined.push(part);
            }
            parts = joined;
        }
        parts.pop().ok_or(Error::EmptyPrompt)
    }
}
