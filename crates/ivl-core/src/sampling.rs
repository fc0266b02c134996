//! From logits to a token: penalties, temperature, top-k, top-p, min-p, and a seeded draw.

use std::borrow::Cow;
use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Error, Vocab};

/// How the next token is chosen. The default is greedy.
///
/// The steps run in the order that Hugging Face's processors and vLLM use: repetition penalty, frequency and presence
/// penalties, logit bias, temperature, top-k, top-p, min-p, draw.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingConfig {
    /// Logits are divided by it; 0 means greedy: the largest logit, the lowest id among equals.
    pub temperature: f64,
    /// Keep the `k` most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most probable tokens whose probabilities reach `p`; 1 keeps all.
    pub top_p: f64,
    /// Keep tokens at least `p` times as probable as the most probable one; 0 keeps all.
    pub min_p: f64,
    /// Divide positive and multiply negative logits of tokens seen in prompt or answer
    /// ([Keskar et al. 2019](https://arxiv.org/abs/1909.05858)); 1 changes nothing.
    pub repetition_penalty: f64,
    /// Subtract this much for every time a token stands in the answer (as in the OpenAI API).
    pub frequency_penalty: f64,
    /// Subtract this much once if a token stands in the answer (as in the OpenAI API).
    pub presence_penalty: f64,
    /// Added to the logits of single tokens; minus infinity forbids one.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
        }
    }
}

impl SamplingConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for the first that is outside.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |ok: bool, name, expected, got: f64| {
            if ok { Ok(()) } else { Err(Error::InvalidSetting { name, expected, got: got.to_string() }) }
        };
        let finite = f64::is_finite;
        let positive = self.repetition_penalty > 0.0 && finite(self.repetition_penalty);
        check(
            self.temperature >= 0.0 && finite(self.temperature),
            "temperature",
            "0 or more",
            self.temperature,
        )?;
        check(self.top_p > 0.0 && self.top_p <= 1.0, "top_p", "above 0 and at most 1", self.top_p)?;
        check((0.0..=1.0).contains(&self.min_p), "min_p", "0 to 1", self.min_p)?;
        check(positive, "repetition_penalty", "above 0", self.repetition_penalty)?;
        check(
            finite(self.frequency_penalty),
            "frequency_penalty",
            "a finite number",
            self.frequency_penalty,
        )?;
        check(finite(self.presence_penalty), "presence_penalty", "a finite number", self.presence_penalty)?;
        let bad_bias = self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY);
        check(
            bad_bias.is_none(),
            "logit_bias",
            "finite numbers or minus infinity",
            f64::from(bad_bias.map_or(0.0, |b| b.1)),
        )
    }
}

/// Draws tokens for one sequence, reproducibly: the same seed, logits and history give the same tokens on every run,
/// whatever else shares the batch.
///
/// A draw is a race ([Gumbel 1954](https://en.wikipedia.org/wiki/Gumbel_distribution#Gumbel_reparameterization_tricks)):
/// seed and step give every id an exponential waiting time, divided by its probability, and the shortest wins. Two
/// samplers with the same seed therefore mostly choose alike where their distributions are alike: what speculative
/// decoding lives on.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplingConfig,
    rng: ChaCha8Rng,
    forbidden: Vec<u32>,
    prompt: Vec<u32>,
    counts: HashMap<u32, u32>,
    steps: usize,
}

impl Sampler {
    /// A sampler for one sequence that starts with `prompt`. Ids that `vocab` does not know are never drawn.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a setting outside its range, [`Error::TokenOutOfRange`] for a bias on an id that
    /// has no logit.
    pub fn new(config: &SamplingConfig, seed: u64, prompt: &[u32], vocab: &Vocab) -> Result<Self, Error> {
        config.validate()?;
        if let Some(position) = config.logit_bias.iter().position(|&(id, _)| id as usize >= vocab.size()) {
            return Err(Error::TokenOutOfRange {
                id: config.logit_bias[position].0,
                position,
                size: vocab.size(),
            });
        }
        Ok(Self {
            config: config.clone(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            forbidden: vocab.unknown_ids(),
            prompt: prompt.to_vec(),
            counts: HashMap::new(),
            steps: 0,
        })
    }

    /// Chooses the next token from the logits of one position and remembers it.
    ///
    /// # Errors
    /// [`Error::NoFiniteLogit`] if nothing may be chosen.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, Error> {
        let mut processed = Cow::Borrowed(logits);
        if self.changes_logits() {
            self.penalize(processed.to_mut());
        }
        let token = if self.config.temperature == 0.0 {
            argmax(&processed)
        } else {
            draw(&candidates(&processed, &self.config), self.rng.random::<u64>())
        };
        let token = token.ok_or(Error::NoFiniteLogit { step: self.steps })?;
        *self.counts.entry(token).or_default() += 1;
        self.steps += 1;
        Ok(token)
    }

    /// Whether [`penalize`](Self::penalize) has anything to do.
    fn changes_logits(&self) -> bool {
        let SamplingConfig { repetition_penalty, frequency_penalty, presence_penalty, logit_bias, .. } =
            &self.config;
        !self.forbidden.is_empty()
            || !logit_bias.is_empty()
            || (*repetition_penalty, *frequency_penalty, *presence_penalty) != (1.0, 0.0, 0.0)
    }

    fn penalize(&self, logits: &mut [f32]) {
        for &id in &self.forbidden {
            logits[id as usize] = f32::NEG_INFINITY;
        }
        let penalty = self.config.repetition_penalty as f32;
        if penalty != 1.0 {
            let mut seen: Vec<u32> = self.prompt.iter().chain(self.counts.keys()).copied().collect();
            seen.sort_unstable();
            seen.dedup();
            for id in seen {
                let logit = &mut logits[id as usize];
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        let (frequency, presence) = (self.config.frequency_penalty, self.config.presence_penalty);
        if frequency != 0.0 || presence != 0.0 {
            for (&id, &count) in &self.counts {
                logits[id as usize] -= (frequency * f64::from(count) + presence) as f32;
            }
        }
        for &(id, bias) in &self.config.logit_bias {
            logits[id as usize] += bias;
        }
    }
}

/// The largest logit, the lowest id among equals. The maximum is taken in lanes, and then looked for: a fold that carries the
/// id along is ten times slower over a large vocabulary.
fn argmax(logits: &[f32]) -> Option<u32> {
    const LANES: usize = 16;
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &logit)| *lane = larger(*lane, logit));
    }
    let largest = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| larger(a, b));
    if largest == f32::NEG_INFINITY {
        return None;
    }
    logits.iter().position(|&logit| logit == largest).map(|id| id as u32)
}

/// The processed distribution: tokens that may be drawn, with weights in proportion to their probabilities.
fn candidates(logits: &[f32], config: &SamplingConfig) -> Vec<(u32, f64)> {
    let allowed = |&(_, &logit): &(usize, &f32)| logit > f32::NEG_INFINITY;
    let mut kept: Vec<(u32, f64)> =
        logits.iter().enumerate().filter(allowed).map(|(id, &logit)| (id as u32, f64::from(logit))).collect();
    let by_logit = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if config.top_k > 0 && config.top_k < kept.len() {
        kept.select_nth_unstable_by(config.top_k - 1, by_logit);
        kept.truncate(config.top_k);
    }
    let largest = kept.iter().map(|(_, logit)| *logit).fold(f64::NEG_INFINITY, f64::max);
    if config.top_p < 1.0 {
        kept.sort_unstable_by(by_logit);
    }
    for (_, weight) in &mut kept {
        *weight = ((*weight - largest) / config.temperature).exp();
    }
    if config.top_p < 1.0 {
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut mass = 0.0;
        let enough = kept.iter().position(|(_, weight)| {
            mass += weight / total;
            mass >= config.top_p
        });
        kept.truncate(enough.map_or(kept.len(), |last| last + 1));
    }
    // The largest weight is exp(0) = 1: the ratio to the most probable token is the weight itself.
    kept.retain(|(_, weight)| *weight >= config.min_p);
    kept
}

/// The winner of the race: `argmin_i e_i / w_i`, where the `e_i` are exponential numbers, fixed by `key` and `i`.
fn draw(candidates: &[(u32, f64)], key: u64) -> Option<u32> {
    let mut first: Option<(u32, f64)> = None;
    for &(id, weight) in candidates {
        let arrival = exponential(key, id) / weight;
        if first.is_none_or(|(_, time)| arrival < time) {
            first = Some((id, arrival));
        }
    }
    first.map(|(id, _)| id)
}

/// An exponential number of mean 1: the output number `id` of the generator `SplitMix64`
/// ([Steele et al. 2014](https://doi.org/10.1145/2714064.2660195)) with the seed `key`.
fn exponential(key: u64, id: u32) -> f64 {
    let mut bits = key.wrapping_add((u64::from(id) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // The middle of one of 2^53 intervals of (0, 1).
    -(((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64).ln()
}

/// `log softmax(logits)[token]`.
pub(crate) fn logprob(logits: &[f32], token: u32) -> f32 {
    (f64::from(logits[token as usize]) - log_normalizer(logits)) as f32
}

/// `log sum_i exp(logits[i])`, summed in f64: what is subtracted from a logit to get a log-probability.
pub fn log_normalizer(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let total: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    largest + total.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;

    fn vocab(size: usize, known: usize) -> Vocab {
        Vocab::new((0..known).map(|id| Some(Token::text([id as u8]))).collect()).padded_to(size)
    }

    fn sampler(config: SamplingConfig, prompt: &[u32]) -> Sampler {
        Sampler::new(&config, 7, prompt, &vocab(4, 4)).expect("valid")
    }

    fn warm(config: SamplingConfig) -> SamplingConfig {
        SamplingConfig { temperature: 1.0, ..config }
    }

    fn ids(candidates: &[(u32, f64)]) -> Vec<u32> {
        candidates.iter().map(|c| c.0).collect()
    }

    #[test]
    fn greedy_takes_the_largest_and_the_lowest_id_among_equals() {
        let mut sampler = sampler(SamplingConfig::default(), &[]);
        assert_eq!(sampler.sample(&[0.0, 2.0, 2.0, 1.0]).expect("finite"), 1);
    }

    #[test]
    fn ids_without_a_token_are_never_sampled() {
        let config = warm(SamplingConfig { temperature: 1.0, ..Default::default() });
        let mut sampler = Sampler::new(&config, 1, &[], &vocab(6, 3)).expect("valid");
        for _ in 0..200 {
            assert!(sampler.sample(&[0.0, 0.0, 0.0, 50.0, 50.0, 50.0]).expect("finite") < 3);
        }
    }

    #[test]
    fn truncations_keep_the_hand_computed_sets() {
        // Probabilities 0.5, 0.3, 0.15, 0.05.
        let logits = [0.5_f32, 0.3, 0.15, 0.05].map(f32::ln);
        let keep = |config: SamplingConfig| {
            let mut kept = ids(&candidates(&logits, &warm(config)));
            kept.sort_unstable();
            kept
        };
        assert_eq!(keep(SamplingConfig { top_k: 2, ..Default::default() }), [0, 1]);
        assert_eq!(keep(SamplingConfig { top_p: 0.79, ..Default::default() }), [0, 1]);
        assert_eq!(keep(SamplingConfig { top_p: 0.81, ..Default::default() }), [0, 1, 2]);
        assert_eq!(keep(SamplingConfig { min_p: 0.29, ..Default::default() }), [0, 1, 2]);
        assert_eq!(keep(SamplingConfig { min_p: 0.61, ..Default::default() }), [0]);
        assert_eq!(keep(SamplingConfig::default()), [0, 1, 2, 3]);
    }

    #[test]
    fn penalties_follow_their_definitions() {
        let repetition = SamplingConfig { repetition_penalty: 2.0, ..Default::default() };
        let mut logits = [4.0, -1.0, 1.0, 1.0];
        sampler(repetition, &[0, 1]).penalize(&mut logits);
        assert_eq!(logits, [2.0, -2.0, 1.0, 1.0]);

        let config = SamplingConfig { frequency_penalty: 0.5, presence_penalty: 0.25, ..Default::default() };
        let mut counted = sampler(config, &[3]);
        for _ in 0..2 {
            assert_eq!(counted.sample(&[9.0, 0.0, 0.0, 0.0]).expect("finite"), 0);
        }
        let mut logits = [0.0; 4];
        counted.penalize(&mut logits);
        assert_eq!(logits, [-1.25, 0.0, 0.0, 0.0], "the prompt does not count");
    }

    #[test]
    fn a_bias_can_force_and_forbid() {
        let force = SamplingConfig { logit_bias: vec![(2, 100.0)], ..Default::default() };
        assert_eq!(sampler(force, &[]).sample(&[5.0, 0.0, 0.0, 0.0]).expect("finite"), 2);
        let forbid = SamplingConfig { logit_bias: vec![(0, f32::NEG_INFINITY)], ..Default::default() };
        assert_eq!(sampler(forbid, &[]).sample(&[5.0, 0.0, 1.0, 0.0]).expect("finite"), 2);
    }

    #[test]
    fn draws_follow_the_distribution_and_the_seed() {
        let logits = [0.5_f32, 0.3, 0.15, 0.05].map(f32::ln);
        let run = |seed| {
            let config = warm(SamplingConfig::default());
            let mut sampler = Sampler::new(&config, seed, &[], &vocab(4, 4)).expect("valid");
            (0..20_000).map(|_| sampler.sample(&logits).expect("finite")).collect::<Vec<_>>()
        };
        let draws = run(3);
        assert_eq!(draws, run(3));
        assert_ne!(draws, run(4));
        // Chi-square with 3 degrees of freedom: 16.3 is the 0.1% point.
        let chi: f64 = [0.5, 0.3, 0.15, 0.05]
            .iter()
            .enumerate()
            .map(|(id, p)| {
                let expected = p * draws.len() as f64;
                let seen = draws.iter().filter(|&&d| d == id as u32).count() as f64;
                (seen - expected).powi(2) / expected
            })
            .sum();
        assert!(chi < 16.3, "chi-square {chi}");
    }

    #[test]
    fn samplers_of_one_seed_mostly_agree_where_their_distributions_do() {
        // Total variation 0.2: they must agree at least at the rate 0.8 / 1.2, and cannot above 0.8.
        let (p, q) = ([0.5_f32, 0.3, 0.15, 0.05].map(f32::ln), [0.3_f32, 0.4, 0.2, 0.1].map(f32::ln));
        let draws = |logits: &[f32; 4]| -> Vec<u32> {
            let mut sampler = sampler(warm(SamplingConfig::default()), &[]);
            (0..20_000).map(|_| sampler.sample(logits).expect("finite")).collect()
        };
        let (a, b) = (draws(&p), draws(&q));
        let rate = a.iter().zip(&b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64;
        assert!((0.66..0.81).contains(&rate), "{rate}");
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let bad = SamplingConfig { top_p: 0.0, ..Default::default() };
        assert!(bad.validate().expect_err("bad").to_string().contains("`top_p` is 0"));
        let bad = SamplingConfig { temperature: f64::NAN, ..Default::default() };
        assert!(bad.validate().expect_err("bad").to_string().contains("`temperature` is NaN"));
    }

    #[test]
    fn nan_logits_are_an_error_not_a_token() {
        let mut sampler = sampler(SamplingConfig::default(), &[]);
        assert!(matches!(sampler.sample(&[f32::NAN; 4]), Err(Error::NoFiniteLogit { step: 0 })));
    }
}
