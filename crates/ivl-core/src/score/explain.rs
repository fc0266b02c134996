//! Effects of values on a text, token by token, and on each other.

use std::ops::Range;

use crate::causal_lm::Positions;
use crate::distribution::{Uncertainty, logprob, most_probable};
use crate::error::Error;
use crate::fusion::ValueStack;
use crate::row_chunks::row_chunks;
use crate::score::DistributionChange;
use crate::tokens::{PaddedBatch, to_host};

/// A token of a text, and what values did to it.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenExplanation {
    /// `log p(token | tokens before it)` under base and values.
    pub logprob: f32,
    /// All values against the base.
    pub change: DistributionChange,
    /// How sure the base was.
    pub base: Uncertainty,
    /// Each value's own part: all values against all but this one.
    pub values: Vec<DistributionChange>,
    /// Every two values, in the order (0, 1), (0, 2), (1, 2), (0, 3), ...
    pub conflicts: Vec<ValueConflict>,
}

/// How two values agree at a position. A value's term is what it adds to the logits, weight included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueConflict {
    /// Cosine of the two terms, each less its mean over the vocabulary (softmax does not see a constant): 1 if they pull
    /// alike, -1 if they oppose each other, 0 if they change different tokens. `None` where one changes nothing.
    pub cosine: Option<f64>,
    /// Whether the two raise different tokens most.
    pub favourites_differ: bool,
    /// Whether the base would choose different tokens with the one and with the other.
    pub choices_differ: bool,
}

impl TokenExplanation {
    /// Explains a token from the logits at its place: of the base, with the first value, with the first two, and so on
    /// ([`LogitComponents::cumulative_logits`](crate::fusion::LogitComponents::cumulative_logits)).
    ///
    /// # Panics
    /// If there are no logits, lengths differ or the token is outside.
    pub fn between(cumulative: &[&[f32]], token: u32) -> Self {
        let (base, fused) = (cumulative[0], cumulative[cumulative.len() - 1]);
        let change = DistributionChange::between(base, fused, token);
        let terms: Vec<Vec<f32>> = cumulative.windows(2).map(|pair| term(pair[0], pair[1])).collect();
        let without = |value: usize| -> Vec<f32> {
            let mut sum = base.to_vec();
            for (_, term) in terms.iter().enumerate().filter(|&(other, _)| other != value) {
                sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += term);
            }
            sum
        };
        let values = match terms.len() {
            1 => vec![change],
            count => {
                (0..count).map(|value| DistributionChange::between(&without(value), fused, token)).collect()
            }
        };
        let pairs = (0..terms.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        Self {
            logprob: logprob(fused, token),
            change,
            base: Uncertainty::of(base),
            values,
            conflicts: pairs
                .map(|(first, second)| ValueConflict::between(base, &terms[first], &terms[second]))
                .collect(),
        }
    }
}

/// The term of a value. It is 0 for a token that stays impossible.
fn term(before: &[f32], after: &[f32]) -> Vec<f32> {
    let difference = |(before, after): (&f32, &f32)| {
        let term = after - before;
        if term.is_nan() { 0.0 } else { term }
    };
    before.iter().zip(after).map(difference).collect()
}

impl ValueConflict {
    /// Compares what two values add to a base's logits.
    ///
    /// # Panics
    /// If the slices differ in length or are empty.
    pub fn between(base: &[f32], first: &[f32], second: &[f32]) -> Self {
        assert!(
            base.len() == first.len() && base.len() == second.len(),
            "terms are of the base's vocabulary"
        );
        let with = |term: &[f32]| -> Vec<f32> { base.iter().zip(term).map(|(b, t)| b + t).collect() };
        Self {
            cosine: centred_cosine(first, second),
            favourites_differ: most_probable(first) != most_probable(second),
            choices_differ: most_probable(&with(first)) != most_probable(&with(second)),
        }
    }
}

/// Over the tokens where both are finite: what a value makes impossible has no size.
fn centred_cosine(first: &[f32], second: &[f32]) -> Option<f64> {
    let both = || {
        let pairs = first.iter().zip(second).filter(|(a, b)| a.is_finite() && b.is_finite());
        pairs.map(|(&a, &b)| (f64::from(a), f64::from(b)))
    };
    let (count, a, b) = both().fold((0.0, 0.0, 0.0), |(n, a, b), (x, y)| (n + 1.0, a + x, b + y));
    let (mean_a, mean_b) = (a / count, b / count);
    let (mut dot, mut norm_a, mut norm_b) = (0.0, 0.0, 0.0);
    for (x, y) in both() {
        let (x, y) = (x - mean_a, y - mean_b);
        dot += x * y;
        norm_a += x * x;
        norm_b += y * y;
    }
    let cosine = dot / (norm_a.sqrt() * norm_b.sqrt());
    cosine.is_finite().then(|| cosine.clamp(-1.0, 1.0))
}

/// Reads a text under teacher forcing and explains every token but the first, which nothing predicts: in one pass of the
/// base and of every value.
///
/// # Errors
/// [`Error::EmptyPrompt`], [`Error::TextTooLong`] or [`Error::TokenOutOfRange`].
pub fn explain(lm: &dyn ValueStack, ids: &[u32]) -> Result<Vec<Option<TokenExplanation>>, Error> {
    explain_from(lm, ids, 0)
}

/// Like [`explain`], where the first `given` tokens are a prompt: they are read and not explained.
///
/// # Errors
/// As `explain`.
pub fn explain_from(
    lm: &dyn ValueStack,
    ids: &[u32],
    given: usize,
) -> Result<Vec<Option<TokenExplanation>>, Error> {
    let batch = PaddedBatch::new(&[ids], lm.vocab())?;
    let limit = lm.max_positions();
    if ids.len() > limit {
        return Err(Error::TextTooLong { got: ids.len(), limit, what: lm.info().name });
    }
    let (vocab, device) = (lm.vocab().size(), lm.device());
    let mut cache = lm.new_cache(&[0]);
    cache.set_expected_len(ids.len());
    cache.set_prompt_len(given);
    // The tokens before the first that is explained.
    let first = given.clamp(1, ids.len());
    let mut explained = vec![None; first];
    for Range { start, end } in row_chunks(ids.len() - 1, 0) {
        let tokens = batch.columns(start, end, &device);
        let wanted: Vec<usize> = ((first - 1).max(start)..end).map(|position| position - start).collect();
        if wanted.is_empty() {
            lm.next_logits(tokens, &mut cache)?;
            continue;
        }
        let components = lm.component_logits(tokens, Positions::Indices(&wanted), &mut cache)?;
        for rows in row_chunks(wanted.len(), (lm.num_values() + 1) * vocab) {
            let cumulative = components.rows(rows.clone()).cumulative_logits();
            let cumulative: Vec<Vec<f32>> = cumulative.into_iter().map(to_host).collect();
            for row in 0..rows.len() {
                let at: Vec<&[f32]> =
                    cumulative.iter().map(|logits| &logits[row * vocab..(row + 1) * vocab]).collect();
                explained.push(Some(TokenExplanation::between(&at, ids[explained.len()])));
            }
        }
    }
    Ok(explained)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_answers_for_what_it_alone_changes() {
        // Base 1/4 each of four tokens; the first value doubles token 1, the second halves token 2.
        let log2 = std::f32::consts::LN_2;
        let base = [0.0; 4];
        let first = [0.0, log2, 0.0, 0.0];
        let both = [0.0, log2, -log2, 0.0];
        let explained = TokenExplanation::between(&[&base, &first, &both], 2);
        // Weights 1, 2, 1/2, 1 of 4.5: p = 1/9; without the second 1/5; without the first (1/2) / 3.5 = 1/7.
        let ln = |x: f64| x.ln() as f32;
        assert!((explained.logprob - ln(1.0 / 9.0)).abs() < 1e-6);
        assert!((explained.change.delta - ln(4.0 / 9.0)).abs() < 1e-6);
        assert!((explained.values[0].delta - ln(7.0 / 9.0)).abs() < 1e-6);
        assert!((explained.values[1].delta - ln(5.0 / 9.0)).abs() < 1e-6);
        // Centred terms (-1, 3, -1, -1) / 4 and (1, 1, -3, 1) / 4: dot 4 / 16, squares 12 / 16.
        let conflict = explained.conflicts[0];
        assert!((conflict.cosine.expect("both speak") - 4.0 / 12.0).abs() < 1e-6, "{conflict:?}");
        assert!(conflict.favourites_differ && conflict.choices_differ);
    }

    #[test]
    fn values_that_say_nothing_have_no_direction() {
        let conflict = ValueConflict::between(&[1.0, 2.0], &[3.0, 3.0], &[0.0, 1.0]);
        assert_eq!(conflict.cosine, None);
        assert!(!conflict.choices_differ);
        let same = ValueConflict::between(&[1.0, 2.0], &[0.0, f32::NEG_INFINITY], &[0.0, f32::NEG_INFINITY]);
        assert_eq!((same.cosine, same.choices_differ), (None, false));
    }

    #[test]
    fn what_is_impossible_stays_so() {
        let (base, fused) = ([0.0, f32::NEG_INFINITY, 1.0], [0.5, f32::NEG_INFINITY, 1.0]);
        let explained = TokenExplanation::between(&[&base, &fused, &fused], 0);
        assert_eq!(explained.values[1].delta, 0.0);
        assert!(explained.values[0].delta > 0.0 && explained.change.kl.is_finite());
    }
}
