//! Speculative decoding: a cheap draft guesses some tokens ahead, the target checks them in one pass.
//!
//! The target is a base with values, the draft usually a smaller base *with the same values*: what the values say about
//! the drafted tokens is computed while drafting and reused in the check, so that they read every token once.
//!
//! Exact, and more than in distribution: target and draft choose with the same numbers (a [`Sampler`](crate::decode::Sampler) is a
//! race whose times are fixed by seed, step and token), and a drafted token is accepted if the target chooses it too. What
//! is written is what the target chooses at every place, as [`generate`](crate::decode::generate) does: the same tokens for the
//! same seed, whatever the draft is, under every setting of the sampler. This is drafter-invariant speculative decoding
//! ([Daliri et al. 2024](https://arxiv.org/abs/2408.07978)); its acceptance rate is at least `(1 - d) / (1 + d)`, with
//! `d` the total variation between the two processed distributions, where the rejection sampling of
//! [Leviathan et al. 2023](https://arxiv.org/abs/2211.17192) has `1 - d` and writes other tokens than plain decoding.

mod generation;
mod lookup;
mod pace;

pub use generation::{SpeculationTotals, SpeculativeGeneration, speculate};
pub use pace::{Pace, SpeculativeRound};

use std::time::{Duration, Instant};

use burn::tensor::{DType, Tensor};

use self::lookup::Lookup;
use crate::cache::Cache;
use crate::causal_lm::CausalLm;
use crate::causal_lm::token_tensor;
use crate::cross_tokenizer::text_cache::shared;
use crate::decode::Continuation;
use crate::decode::generate::{PREFILL, to_host};
use crate::error::Error;
use crate::fusion::fused_lm::{ValueRows, topmost};
use crate::fusion::{DecodeBatch, FusedLm};
use crate::vocab::{VocabMap, VocabProjection};

/// What guesses tokens.
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
}

impl Draft {
    /// A smaller base of the target's vocabulary. `with_values` adds the target's values to it, with the weights that each
    /// text gives them.
    ///
    /// # Errors
    /// [`Error::ForeignDraft`] if it has another vocabulary.
    pub fn model(lm: Box<dyn CausalLm>, target: &FusedLm, with_values: bool) -> Result<Self, Error> {
        let map = VocabMap::same_ids(target.vocab(), lm.vocab()).map_err(foreign)?;
        let projection = map.on(&lm.device());
        let model = DraftModel { projection, unknown: map.without_value(), lm, with_values };
        Ok(Self { source: Source::Model(Box::new(model)) })
    }

    /// What followed the last tokens, at most `ngram` of them, when they stood in prompt or answer before.
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
}

impl DraftModel {
    /// At most `most` tokens that the draft chooses with the numbers with which the target will.
    fn guesses(
        &self,
        state: &mut Option<(Cache, Vec<u32>)>,
        target: &FusedLm,
        batch: &mut DecodeBatch,
        text: &[u32],
        continuation: &Continuation,
        most: usize,
    ) -> Guesses {
        let mut guesses = Guesses::default();
        // To guess `most` tokens it reads one less of them.
        let most = most.min((self.lm.max_positions() + 1).saturating_sub(text.len()));
        if most == 0 {
            return guesses;
        }
        let (mut cache, read) = state.take().unwrap_or_else(|| (self.lm.new_cache(&[0]), Vec::new()));
        let mut next = shared(&read, text).min(text.len() - 1);
        cache.truncate(next);
        // Usually one token or two are new. A whole text is none of the time that a guess takes.
        while text.len() - next > 2 {
            let end = (next + PREFILL).min(text.len() - 1);
            self.lm.next_logits(token_tensor(&text[next..end], 1, &self.lm.device()), &mut cache);
            next = end;
        }
        let began = Instant::now();
        let mut sampler = continuation.sampler().clone();
        let mut unread = text[next..].to_vec();
        while guesses.tokens.len() < most {
            let logits = self.lm.next_logits(token_tensor(&unread, 1, &self.lm.device()), &mut cache);
            let mut logits = self.projection.rows(logits).cast(DType::F32).unsqueeze_dim(1);
            if self.with_values {
                let last = token_tensor(&unread[unread.len() - 1..], 1, &target.device());
                let said = target.value_rows(&last, batch);
                logits = topmost(&target.weigh(logits, &said, batch));
                guesses.values.push(said);
            }
            let mut logits: Vec<f32> = to_host(logits);
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
        *state = Some((cache, known));
        guesses
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

/// Guesses and checks for one text after another; what the draft has read of the last one is kept.
pub struct Speculation {
    draft: Draft,
    pace: Pace,
    /// The draft's cache, and the tokens in it.
    read: Option<(Cache, Vec<u32>)>,
}

/// Some places of a text at which the target's logits are known: after the last token that was written, and after drafted
/// tokens for as long as they are accepted.
#[derive(Debug)]
pub struct DraftBlock {
    drafted: Vec<u32>,
    /// The place whose token is to be chosen next: so many drafted tokens were accepted.
    at: usize,
    judged: usize,
    /// Tokens of the text in the target's caches, before this block.
    start: usize,
    /// The target's base, with the values that it has itself: stages at all places, `[1, places, vocab]` each.
    below: Vec<Tensor<3>>,
    /// The target's own values on top, at the places that all have read and then, if it was needed, at the last one: stages
    /// from the last of `below` on.
    above: Vec<Vec<Tensor<3>>>,
    /// Fused logits on the host, row-major.
    fused: Vec<f32>,
    drafting: Duration,
    verifying: Duration,
}

impl Speculation {
    /// Nothing was guessed yet.
    pub fn new(draft: Draft, pace: Pace) -> Self {
        Self { draft, pace, read: None }
    }

    /// Drafts tokens and lets the target read them.
    ///
    /// `batch` holds a single row that has read all of `text` (prompt and answer) but its last token. Take the
    /// [`logits`](DraftBlock::logits) of the block, choose a token with `continuation`, tell [`DraftBlock::accepts`], and go on while
    /// it says so; then [`settle`](Self::settle).
    pub fn block(
        &mut self,
        target: &FusedLm,
        batch: &mut DecodeBatch,
        text: &[u32],
        continuation: &Continuation,
    ) -> DraftBlock {
        debug_assert_eq!(batch.rows(), 1, "one text at a time");
        // The block ends with a token that is not drafted, and no token stands beyond the limit or the context.
        let most = self.pace.length().min(continuation.remaining().saturating_sub(1));
        let places = text.len() - 1..text.len() + most;
        let most = if target.reads_at_once(&places) { most } else { 0 };
        let start = batch.len();
        let guesses = match &self.draft.source {
            _ if most == 0 => Guesses::default(),
            Source::Lookup(lookup) => lookup.guesses(text, most),
            Source::Model(model) => model.guesses(&mut self.read, target, batch, text, continuation, most),
        };
        let began = Instant::now();
        let tokens: Vec<u32> = text[text.len() - 1..].iter().chain(&guesses.tokens).copied().collect();
        let tokens = token_tensor(&tokens, 1, &target.device());
        let values = match guesses.values.len() {
            0 => None,
            _ => Some(join(guesses.values)),
        };
        let below = target.base_rows(tokens.clone(), batch);
        let values = values.unwrap_or_else(|| target.value_rows(&tokens, batch));
        let base = topmost(&below);
        let [_, places, vocab] = base.dims();
        let known = values.iter().flatten().map(|said| said.dims()[1]).min();
        let base = base.slice([0..1, 0..known.unwrap_or(places), 0..vocab]);
        let above = target.weigh(base, &values, batch);
        let fused = to_host(topmost(&above));
        DraftBlock {
            drafted: guesses.tokens,
            at: 0,
            judged: 0,
            start,
            below,
            above: vec![above],
            fused,
            drafting: guesses.took,
            verifying: began.elapsed(),
        }
    }

    /// Forgets what was read of drafted tokens that were not accepted, and learns for the next block.
    pub fn settle(&mut self, block: &DraftBlock, batch: &mut DecodeBatch) -> SpeculativeRound {
        batch.truncate(block.start + 1 + block.at);
        let round = SpeculativeRound {
            drafted: block.drafted.len(),
            accepted: block.at,
            judged: block.judged,
            drafting: block.drafting,
            verifying: block.verifying,
        };
        self.pace.observe(&round);
        round
    }
}

impl DraftBlock {
    /// Fused logits at the next place.
    pub fn logits(&mut self, target: &FusedLm, batch: &mut DecodeBatch) -> &[f32] {
        self.reach(target, batch);
        let vocab = target.vocab().size();
        &self.fused[self.at * vocab..(self.at + 1) * vocab]
    }

    /// What they are made of, as [`LogitComponents::stages`](crate::fusion::LogitComponents::stages) has it: the base's, then with the first value, and so on.
    pub fn stages(&mut self, target: &FusedLm, batch: &mut DecodeBatch) -> Vec<Vec<f32>> {
        self.reach(target, batch);
        let known = self.above[0][0].dims()[1];
        let (above, place) = match self.above.get(1) {
            Some(last) if self.at >= known => (last, 0),
            _ => (&self.above[0], self.at),
        };
        let below = self.below[..self.below.len() - 1].iter().map(|stage| at_place(stage, self.at));
        below.chain(above.iter().map(|stage| at_place(stage, place))).map(to_host).collect()
    }

    /// The values have not read the last drafted token if, while drafting, there was no need to.
    fn reach(&mut self, target: &FusedLm, batch: &mut DecodeBatch) {
        if self.fused.len() > self.at * target.vocab().size() {
            return;
        }
        let began = Instant::now();
        let last = token_tensor(&self.drafted[self.at - 1..], 1, &target.device());
        let said = target.value_rows(&last, batch);
        let above = target.weigh(at_place(&topmost(&self.below), self.at), &said, batch);
        self.fused.extend(to_host(topmost(&above)));
        self.above.push(above);
        self.verifying += began.elapsed();
    }

    /// Whether the token that was chosen at the next place is the drafted one, so that the place after it is known too.
    pub fn accepts(&mut self, token: u32) -> bool {
        let Some(&drafted) = self.drafted.get(self.at) else { return false };
        self.judged += 1;
        self.at += usize::from(drafted == token);
        drafted == token
    }
}

/// One place of `[1, places, vocab]`.
fn at_place(logits: &Tensor<3>, place: usize) -> Tensor<3> {
    let vocab = logits.dims()[2];
    logits.clone().slice([0..1, place..place + 1, 0..vocab])
}

/// Drafted tokens, and what the values said on the way to them: after the last token of the text and after each drafted one
/// but the last.
#[derive(Default)]
struct Guesses {
    tokens: Vec<u32>,
    values: Vec<ValueRows>,
    took: Duration,
}

/// What each value said at one place after the other, in one tensor.
fn join(places: Vec<ValueRows>) -> ValueRows {
    let values = places.first().map_or(0, Vec::len);
    let at_all_places = |value: usize| -> Option<Tensor<3>> {
        let said: Option<Vec<_>> = places.iter().map(|place| place[value].clone()).collect();
        said.filter(|said| !said.is_empty()).map(|said| Tensor::cat(said, 1))
    };
    (0..values).map(at_all_places).collect()
}
