//! Drafts: what guesses tokens.

use std::time::Instant;

use burn::tensor::DType;

use super::guesses::Guesses;
use super::lookup::Lookup;
use super::target::Target;
use crate::cache::Cache;
use crate::causal_lm::{CausalLm, prefill};
use crate::decode::Continuation;
use crate::error::Error;
use crate::fusion::{CumulativeLogits, DecodeBatch, VocabProjection};
use crate::row_chunks::PREFILL_CHUNK;
use crate::tokens::{shared_prefix_len, to_host, token_tensor};
use crate::vocab::{Vocab, VocabMap};

/// A source of drafted tokens.
pub struct Draft {
    source: Source,
}

enum Source {
    Model(Box<DraftModel>),
    Lookup(Lookup),
}

struct DraftModel {
    lm: Box<dyn CausalLm>,
    projection: VocabProjection,
    /// Ids of the target that the draft cannot write.
    unknown: Vec<u32>,
    with_values: bool,
    /// The cache, and the tokens in it.
    read: Option<(Cache, Vec<u32>)>,
}

impl Draft {
    /// A smaller base of the target's vocabulary. `with_values` adds the target's values to it, with the weights that each
    /// text gives them.
    ///
    /// # Errors
    /// [`Error::ForeignDraft`] if it has another vocabulary.
    pub fn model(lm: Box<dyn CausalLm>, target: &Vocab, with_values: bool) -> Result<Self, Error> {
        let map = Self::check_vocab(target, lm.vocab())?;
        let projection = map.on(&lm.device());
        let model = DraftModel { projection, unknown: map.without_value(), lm, with_values, read: None };
        Ok(Self { source: Source::Model(Box::new(model)) })
    }

    /// The map from a draft model's vocabulary to the target's.
    ///
    /// # Errors
    /// [`Error::ForeignDraft`] if they differ.
    pub fn check_vocab(target: &Vocab, draft: &Vocab) -> Result<VocabMap, Error> {
        VocabMap::same_ids(target, draft).map_err(foreign)
    }

    /// The tokens that followed the last tokens, at most `ngram` of them, where they stood in prompt or answer before.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if `ngram` is 0.
    pub fn prompt_lookup(ngram: usize) -> Result<Self, Error> {
        if ngram == 0 {
            return Err(Error::InvalidSetting {
                name: "ngram",
                expected: "at least 1",
                got: ngram.to_string(),
            });
        }
        Ok(Self { source: Source::Lookup(Lookup { ngram }) })
    }

    /// At most `most` guesses of the tokens after a text.
    pub(super) fn guess(
        &mut self,
        target: Target<'_>,
        batch: &mut DecodeBatch,
        text: &[u32],
        continuation: &Continuation,
        most: usize,
    ) -> Result<Guesses, Error> {
        match &mut self.source {
            _ if most == 0 => Ok(Guesses::default()),
            Source::Lookup(lookup) => Ok(lookup.guesses(text, most)),
            Source::Model(model) => model.guess(target, batch, text, continuation, most),
        }
    }
}

impl DraftModel {
    /// At most `most` tokens that the draft chooses with the numbers with which the target will.
    fn guess(
        &mut self,
        target: Target<'_>,
        batch: &mut DecodeBatch,
        text: &[u32],
        continuation: &Continuation,
        most: usize,
    ) -> Result<Guesses, Error> {
        let mut guesses = Guesses::default();
        // To guess `most` tokens it reads one less of them.
        let most = most.min((self.lm.max_positions() + 1).saturating_sub(text.len()));
        if most == 0 {
            return Ok(guesses);
        }
        let (mut cache, mut unread) = self.catch_up(text)?;
        let began = Instant::now();
        let mut sampler = continuation.sampler().clone();
        while guesses.tokens.len() < most {
            let logits = self.lm.next_logits(token_tensor(&unread, 1, &self.lm.device()), &mut cache)?;
            let mut logits = self.projection.rows(logits).cast(DType::F32).unsqueeze_dim(1);
            if self.with_values {
                let last = token_tensor(&unread[unread.len() - 1..], 1, &target.device());
                let values = target.value_rows(&last, batch)?;
                logits = target.add_rows(CumulativeLogits::new(logits), &values, batch).last();
                guesses.values.push(values);
            }
            let mut logits: Vec<f32> = to_host::<3>(logits);
            self.unknown.iter().for_each(|&id| logits[id as usize] = f32::NEG_INFINITY);
            // A draft that cannot choose is no error of the text's.
            let Ok(choice) = sampler.sample(&logits) else { break };
            guesses.tokens.push(choice.token);
            if continuation.ends(choice.token) {
                break;
            }
            unread = vec![choice.token];
        }
        guesses.took = began.elapsed();
        let known = text.iter().chain(&guesses.tokens).take(cache.len()).copied().collect();
        self.read = Some((cache, known));
        Ok(guesses)
    }

    /// Reads a text up to its last tokens, one or two, which are returned with the cache.
    fn catch_up(&mut self, text: &[u32]) -> Result<(Cache, Vec<u32>), Error> {
        let (mut cache, read) = self.read.take().unwrap_or_else(|| (self.lm.new_cache(&[0]), Vec::new()));
        let mut next = shared_prefix_len(&read, text).min(text.len() - 1);
        cache.truncate(next);
        // Usually one token or two are new. The time to read a whole text does not count as that of a guess.
        if text.len() - next > 2 {
            let tokens = token_tensor(&text[next..text.len() - 1], 1, &self.lm.device());
            prefill(tokens, PREFILL_CHUNK, |chunk| self.lm.next_logits(chunk, &mut cache))?;
            next = text.len() - 1;
        }
        Ok((cache, text[next..].to_vec()))
    }
}

/// The refusal of a draft, from that of a value.
fn foreign(error: Error) -> Error {
    match error {
        Error::VocabMismatch { count, compared, id, base_token, value_token, .. } => {
            Error::ForeignDraft { count, compared, id, target_token: base_token, draft_token: value_token }
        }
        error => error,
    }
}
