//! One round of speculative decoding: drafted tokens and the target's logits at their places.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;

use super::draft::Draft;
use super::guesses::Guesses;
use super::pace::{Pace, SpeculativeRound};
use super::target::Target;
use crate::decode::Continuation;
use crate::error::Error;
use crate::fusion::{CumulativeLogits, DecodeBatch, RowWeighted, ValueRows};
use crate::tokens::{to_host, token_tensor};

/// Guesses and checks for one text after another; what the draft has read of the last one is kept.
pub struct Speculation {
    draft: Draft,
    pace: Pace,
}

/// Some places of a text at which the target's logits are known: after the last token that was written, and after drafted
/// tokens for as long as they are accepted.
#[derive(Debug)]
pub struct DraftBlock {
    drafted: Vec<u32>,
    /// The place whose token is to be chosen next: the number of accepted tokens.
    at: usize,
    judged: usize,
    /// Tokens of the text in the target's caches, before this block.
    start: usize,
    /// The target's base, with the values that it has itself, at all places.
    below: CumulativeLogits,
    /// `below`, and the target's own values on top: at the places that all values have read.
    above: CumulativeLogits,
    /// As `above`, at the last place, if the values have read it since.
    at_last: Option<CumulativeLogits>,
    /// Fused logits on the host, row-major.
    fused: Vec<f32>,
    drafting: Duration,
    verifying: Duration,
}

impl Speculation {
    /// Nothing was guessed yet.
    pub fn new(draft: Draft, pace: Pace) -> Self {
        Self { draft, pace }
    }

    /// Drafts tokens and lets the target read them.
    ///
    /// `batch` holds a single row that has read all of `text` (prompt and answer) but its last token. Take the
    /// [`logits`](DraftBlock::logits) of the block, choose a token with `continuation`, tell [`DraftBlock::accepts`], and
    /// repeat while it returns true; then [`settle`](Self::settle).
    ///
    /// # Errors
    /// Those of the models.
    pub fn block(
        &mut self,
        target: &dyn RowWeighted,
        batch: &mut DecodeBatch,
        text: &[u32],
        continuation: &Continuation,
    ) -> Result<DraftBlock, Error> {
        debug_assert_eq!(batch.rows(), 1, "one text at a time");
        // The block ends with a token that is not drafted, and no token exceeds the limit or the context.
        let most = self.pace.length().min(continuation.remaining().saturating_sub(1));
        let places = text.len() - 1..text.len() + most;
        let most = if target.info().length_dependence.is_length_invariant(&places) { most } else { 0 };
        let (target, start) = (Target::new(target), batch.len());
        let guesses = self.draft.guess(target, batch, text, continuation, most)?;
        verify(target, batch, text[text.len() - 1], guesses, start)
    }

    /// Forgets what was read of drafted tokens that were not accepted, and adapts the length of the next block.
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

/// Lets the target read the last token of a text and the tokens drafted after it.
fn verify(
    target: Target<'_>,
    batch: &mut DecodeBatch,
    last: u32,
    guesses: Guesses,
    start: usize,
) -> Result<DraftBlock, Error> {
    let began = Instant::now();
    let tokens: Vec<u32> = std::iter::once(last).chain(guesses.tokens.iter().copied()).collect();
    let tokens = token_tensor(&tokens, 1, &target.device());
    let below = target.base_rows(tokens.clone(), batch)?;
    let values = match guesses.values.len() {
        0 => target.value_rows(&tokens, batch)?,
        _ => join(&guesses.values),
    };
    let [_, places, vocab] = below.base().dims();
    // The values have not read the last drafted token if they read while drafting.
    let known = values.iter().flatten().map(|logits| logits.dims()[1]).min();
    let known = known.unwrap_or(places);
    let base = below.clone().map(|logits| logits.slice([0..1, 0..known, 0..vocab]));
    let above = target.add_rows(base, &values, batch);
    let fused = to_host(above.last());
    Ok(DraftBlock {
        drafted: guesses.tokens,
        at: 0,
        judged: 0,
        start,
        below,
        above,
        at_last: None,
        fused,
        drafting: guesses.took,
        verifying: began.elapsed(),
    })
}

impl DraftBlock {
    /// Fused logits at the next place.
    ///
    /// # Errors
    /// Those of the values.
    pub fn logits(&mut self, target: &dyn RowWeighted, batch: &mut DecodeBatch) -> Result<&[f32], Error> {
        self.reach(target, batch)?;
        let vocab = target.vocab().size();
        Ok(&self.fused[self.at * vocab..(self.at + 1) * vocab])
    }

    /// The [`CumulativeLogits`] at the next place: the base's, then with the first value, and so on.
    ///
    /// # Errors
    /// Those of the values.
    pub fn cumulative_logits(
        &mut self,
        target: &dyn RowWeighted,
        batch: &mut DecodeBatch,
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.reach(target, batch)?;
        let known = self.above.base().dims()[1];
        let (above, place) = match &self.at_last {
            Some(last) if self.at >= known => (last, 0),
            _ => (&self.above, self.at),
        };
        Ok(above.iter().map(|logits| to_host(at_place(logits, place))).collect())
    }

    /// Lets the values read the last drafted token, if they have not read it while drafting.
    fn reach(&mut self, target: &dyn RowWeighted, batch: &mut DecodeBatch) -> Result<(), Error> {
        if self.fused.len() > self.at * target.vocab().size() {
            return Ok(());
        }
        let (began, target) = (Instant::now(), Target::new(target));
        let last = token_tensor(&self.drafted[self.at - 1..], 1, &target.device());
        let values = target.value_rows(&last, batch)?;
        let below = self.below.clone().map(|logits| at_place(&logits, self.at));
        let above = target.add_rows(below, &values, batch);
        self.fused.extend(to_host(above.last()));
        self.at_last = Some(above);
        self.verifying += began.elapsed();
        Ok(())
    }

    /// Whether the token that was chosen at the next place is the drafted one, so that the logits at the place after it
    /// are known too.
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

/// The logits of each value at consecutive positions, in one tensor.
fn join(places: &[ValueRows]) -> ValueRows {
    let values = places.first().map_or(0, Vec::len);
    let at_all_places = |value: usize| -> Option<Tensor<3>> {
        let logits: Option<Vec<_>> = places.iter().map(|place| place[value].clone()).collect();
        logits.filter(|logits| !logits.is_empty()).map(|logits| Tensor::cat(logits, 1))
    };
    (0..values).map(at_all_places).collect()
}
