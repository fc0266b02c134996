//! TokenStream: one step at a time, streamed, for one prompt or a left-padded batch.

use std::collections::VecDeque;

use burn::tensor::{DType, Tensor};

use crate::cache::Cache;
use crate::causal_lm::token_tensor;
use crate::causal_lm::{CausalLm, PaddedBatch};
use crate::decode::{Continuation, SamplingConfig};
use crate::error::Error;

/// Positions read per forward while a prompt is taken in: bounds the attention scores of long prompts.
pub(crate) const PREFILL: usize = 512;

/// What to generate.
#[derive(Debug, Clone)]
pub struct GenerateConfig {
    /// At most this many tokens for each prompt.
    pub max_new_tokens: usize,
    /// How tokens are chosen.
    pub sampling: SamplingConfig,
    /// Row `r` of the batch draws with the seed `seed + r`, independent of the other rows.
    pub seed: u64,
    /// Tokens that end the text; they are reported, but they add no text.
    pub end_tokens: Vec<u32>,
    /// Strings that end the text; the text is cut before them.
    pub stop_strings: Vec<String>,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            sampling: SamplingConfig::default(),
            seed: 0,
            end_tokens: Vec::new(),
            stop_strings: Vec::new(),
        }
    }
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop string.
    Stop,
    /// The limit of new tokens, or the end of the context.
    Length,
}

impl FinishReason {
    /// The word of the OpenAI API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// One new token of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratedToken {
    /// Which prompt.
    pub row: usize,
    /// The token.
    pub token: u32,
    /// Its log-probability under the model.
    pub logprob: f32,
    /// Text that became certain with this token; on the last step, all the rest.
    pub text: String,
    /// Set on the last step of the row.
    pub finish: Option<FinishReason>,
}

/// Continues prompts: an iterator over new tokens, computed as they are asked for.
///
/// Prompts of different lengths are padded on the left; a row that ends leaves the batch. Dropping the iterator stops
/// the work.
///
/// # Errors
/// Before the first token: [`Error::EmptyPrompt`], [`Error::PromptTooLong`], [`Error::TokenOutOfRange`],
/// [`Error::InvalidSetting`]. While it runs, an item may be [`Error::NoFiniteLogit`], after which it ends.
pub fn generate<'a, S: AsRef<[u32]>>(
    lm: &'a dyn CausalLm,
    prompts: &[S],
    config: &GenerateConfig,
) -> Result<TokenStream<'a>, Error> {
    let batch = PaddedBatch::new(prompts, lm.vocab())?;
    let limit = lm.max_positions();
    if batch.seq >= limit {
        return Err(Error::PromptTooLong { got: batch.seq, limit, what: lm.name().to_owned() });
    }
    let rows = prompts.iter().enumerate();
    let rows: Vec<Continuation> = rows
        .map(|(row, prompt)| Continuation::new(row, prompt.as_ref(), config, lm))
        .collect::<Result<_, Error>>()?;
    let mut cache = lm.new_cache(&batch.padding);
    cache.expect(batch.seq);
    cache.prompt(batch.seq);
    let rows = if config.max_new_tokens == 0 { Vec::new() } else { rows };
    Ok(TokenStream { lm, cache, rows, input: Input::Prompt(batch), ready: VecDeque::new() })
}

enum Input {
    Prompt(PaddedBatch),
    Tokens(Vec<u32>),
}

/// The iterator that [`generate`] returns.
pub struct TokenStream<'a> {
    lm: &'a dyn CausalLm,
    cache: Cache,
    rows: Vec<Continuation>,
    input: Input,
    ready: VecDeque<GeneratedToken>,
}

impl TokenStream<'_> {
    fn next_logits(&mut self) -> Tensor<2> {
        let device = self.lm.device();
        match &self.input {
            Input::Tokens(tokens) => {
                let tokens = token_tensor(tokens, tokens.len(), &device);
                self.lm.next_logits(tokens, &mut self.cache)
            }
            Input::Prompt(batch) => {
                let mut start = 0;
                loop {
                    let end = (start + PREFILL).min(batch.seq);
                    let logits = self.lm.next_logits(batch.columns(start, end, &device), &mut self.cache);
                    if end == batch.seq {
                        return logits;
                    }
                    start = end;
                }
            }
        }
    }

    fn advance(&mut self) -> Result<(), Error> {
        let logits = self.next_logits();
        let vocab = logits.dims()[1];
        let logits: Vec<f32> = to_host(logits);
        let (mut kept, mut tokens) = (Vec::new(), Vec::new());
        for (index, (row, logits)) in self.rows.iter_mut().zip(logits.chunks(vocab)).enumerate() {
            let step = row.step(logits, self.lm.vocab())?;
            if step.finish.is_none() {
                kept.push(index);
                tokens.push(step.token);
            }
            self.ready.push_back(step);
        }
        if kept.len() < self.rows.len() {
            let mut index = 0;
            self.rows.retain(|_| {
                index += 1;
                kept.binary_search(&(index - 1)).is_ok()
            });
            if !kept.is_empty() {
                self.cache.select(&kept);
            }
        }
        self.input = Input::Tokens(tokens);
        Ok(())
    }
}

impl Iterator for TokenStream<'_> {
    type Item = Result<GeneratedToken, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && !self.rows.is_empty()
            && let Err(error) = self.advance()
        {
            self.rows.clear();
            self.ready.clear();
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}

/// Reads a float tensor back as f32, row-major.
pub(crate) fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    // The cast makes the element type certain, so that reading it back cannot fail.
    tensor.cast(DType::F32).into_data().try_into_vec().unwrap_or_default()
}
