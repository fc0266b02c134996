//! The tokens that may be drawn, and the draw.

use std::cmp::Ordering;

use ivl_kernels::{argmax, softmax_weights};

use super::config::SamplingConfig;

/// The processed distribution: tokens that may be drawn.
pub(super) struct Candidates {
    /// Ids and logits.
    tokens: Vec<(u32, f32)>,
    /// The largest logit.
    largest: f32,
    temperature: f64,
}

/// Tokens that are put in order at first, to find those that make up the mass of top-p: it is rarely in more.
const NUCLEUS: usize = 64;

impl Candidates {
    pub(super) fn new(logits: &[f32], config: &SamplingConfig) -> Self {
        let allowed = |&(_, &logit): &(usize, &f32)| logit > f32::NEG_INFINITY;
        let mut tokens: Vec<(u32, f32)> =
            logits.iter().enumerate().filter(allowed).map(|(id, &logit)| (id as u32, logit)).collect();
        if config.top_k > 0 && config.top_k < tokens.len() {
            tokens.select_nth_unstable_by(config.top_k - 1, by_logit);
            tokens.truncate(config.top_k);
        }
        let largest = tokens.iter().map(|&(_, logit)| logit).fold(f32::NEG_INFINITY, f32::max);
        let mut candidates = Self { tokens, largest, temperature: config.temperature };
        if config.top_p < 1.0 {
            candidates.keep_nucleus(config.top_p);
        }
        if config.min_p > 0.0 {
            // The largest weight is exp(0) = 1: the ratio to the most probable token is the weight itself.
            candidates.keep(|weight| weight >= config.min_p);
        }
        candidates
    }

    /// In proportion to the token's probability.
    fn weight(&self, logit: f32) -> f64 {
        ((f64::from(logit) - f64::from(self.largest)) / self.temperature).exp()
    }

    /// The weights of all tokens in single precision.
    fn weights(&self) -> Vec<f32> {
        let logits: Vec<f32> = self.tokens.iter().map(|&(_, logit)| logit).collect();
        softmax_weights(&logits, self.largest, self.temperature as f32)
    }

    fn keep(&mut self, keep: impl Fn(f64) -> bool) {
        let mut tokens = std::mem::take(&mut self.tokens);
        tokens.retain(|&(_, logit)| keep(self.weight(logit)));
        self.tokens = tokens;
    }

    /// The most probable tokens that together have the probability `top_p`.
    fn keep_nucleus(&mut self, top_p: f64) {
        let total: f64 = self.weights().iter().map(|&weight| f64::from(weight)).sum();
        let (mut sorted, mut mass) = (0, 0.0);
        let mut more = NUCLEUS;
        while sorted < self.tokens.len() {
            let rest = &mut self.tokens[sorted..];
            if more < rest.len() {
                rest.select_nth_unstable_by(more, by_logit);
            }
            let count = more.min(rest.len());
            rest[..count].sort_unstable_by(by_logit);
            for at in sorted..sorted + count {
                mass += self.weight(self.tokens[at].1) / total;
                if mass >= top_p {
                    self.tokens.truncate(at + 1);
                    return;
                }
            }
            sorted += count;
            more *= 4;
        }
    }

    /// The winner of the race: `argmin_i e_i / w_i`, where the `e_i` are exponential numbers, fixed by `key` and `i`.
    pub(super) fn draw(&self, key: u64) -> Option<u32> {
        /// How much less than the weight its number in single precision can be, as a factor: what it is off grows with the
        /// distance of the logits.
        const SLACK: f64 = 1.0 + 1e-4;
        let weights = self.weights();
        let arrival = |u: f64, logit: f32| -u.ln() / self.weight(logit);
        // The most probable token is soon there, and most others are then too late at first sight: `-ln(u) >= 1 - u`.
        let &(id, logit) = self.tokens.get(argmax(&weights).unwrap_or(0))?;
        let mut first = (id, arrival(uniform(key, id), logit));
        for (&(id, logit), &weight) in self.tokens.iter().zip(&weights) {
            let u = uniform(key, id);
            if 1.0 - u >= first.1 * f64::from(weight) * SLACK {
                continue;
            }
            let arrival = arrival(u, logit);
            if arrival < first.1 {
                first = (id, arrival);
            }
        }
        Some(first.0)
    }
}

/// The more probable first, the lower id among equals.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that sorting wants")]
fn by_logit(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// A uniform number between 0 and 1: the output number `id` of the generator `SplitMix64`
/// ([Steele et al. 2014](https://doi.org/10.1145/2714064.2660195)) with the seed `key`.
fn uniform(key: u64, id: u32) -> f64 {
    let mut bits = key.wrapping_add((u64::from(id) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // The middle of one of 2^53 intervals of (0, 1).
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(logits: &[f32], config: &SamplingConfig) -> Vec<u32> {
        let mut ids: Vec<u32> = Candidates::new(logits, config).tokens.iter().map(|token| token.0).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn truncations_keep_the_hand_computed_sets() {
        // Probabilities 0.5, 0.3, 0.15, 0.05.
        let logits = [0.5_f32, 0.3, 0.15, 0.05].map(f32::ln);
        let keep = |config: SamplingConfig| kept(&logits, &SamplingConfig { temperature: 1.0, ..config });
        assert_eq!(keep(SamplingConfig { top_k: 2, ..Default::default() }), [0, 1]);
        assert_eq!(keep(SamplingConfig { top_p: 0.79, ..Default::default() }), [0, 1]);
        assert_eq!(keep(SamplingConfig { top_p: 0.81, ..Default::default() }), [0, 1, 2]);
        assert_eq!(keep(SamplingConfig { min_p: 0.29, ..Default::default() }), [0, 1, 2]);
        assert_eq!(keep(SamplingConfig { min_p: 0.61, ..Default::default() }), [0]);
        assert_eq!(keep(SamplingConfig::default()), [0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn as_by_the_definition(
            logits in prop::collection::vec(-30.0f32..30.0, 1..600),
            temperature in prop_oneof![Just(1.0), 1e-3..30.0f64],
            top_p in prop_oneof![Just(1.0), 0.01..1.0f64],
            key in any::<u64>(),
        ) {
            let config = SamplingConfig { temperature, top_p, ..Default::default() };
            let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let weight = |id: u32| ((f64::from(logits[id as usize]) - largest) / temperature).exp();
            let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
            ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
            let total: f64 = ids.iter().map(|&id| weight(id)).sum();
            let mut mass = 0.0;
            let mut masses = ids.iter().map(|&id| { mass += weight(id) / total; mass });
            let enough = masses.position(|mass| mass >= top_p).map_or(ids.len(), |last| last + 1);
            let candidates = Candidates::new(&logits, &config);
            let got = candidates.tokens.len();
            // The total is added up in single precision: at the edge one more or less may be in.
            prop_assert!(got == enough || (weight(ids[got.min(enough)]) / total < 1e-6), "{got} tokens, not {enough}");
            let all = kept(&logits, &config);
            let first = all.iter().map(|&id| (id, -uniform(key, id).ln() / weight(id)));
            let first = first.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(id, _)| id);
            prop_assert_eq!(candidates.draw(key), first);
        }
    }
}
