//! From logits to a token: penalties, temperature, top-k, top-p, min-p, and a seeded draw.

mod candidates;
mod config;

pub use config::SamplingConfig;

use std::collections::HashMap;

use ivl_kernels::argmax;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::candidates::Candidates;
use crate::decode::TokenConstraint;
use crate::distribution::logprob;
use crate::error::Error;
use crate::vocab::Vocab;

/// A token that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Its id.
    pub token: u32,
    /// Its log-probability under the model's own distribution, before any setting changed it.
    pub logprob: f32,
}

/// Draws tokens for one sequence, reproducibly: the same seed, logits and history give the same tokens on every run,
/// whatever else shares the batch.
///
/// A draw is a race ([Gumbel 1954](https://en.wikipedia.org/wiki/Gumbel_distribution#Gumbel_reparameterization_tricks)):
/// seed and step give every id an exponential waiting time, divided by its probability, and the shortest wins. Two
/// samplers with the same seed therefore mostly choose alike where their distributions are alike: speculative decoding
/// relies on it.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplingConfig,
    rng: ChaCha8Rng,
    forbidden: Vec<u32>,
    prompt: Vec<u32>,
    counts: HashMap<u32, u32>,
    steps: usize,
    /// Tokens that are not chosen before this many others.
    late: (usize, Vec<u32>),
    constraint: Option<Box<dyn TokenConstraint>>,
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
            late: (0, Vec::new()),
            constraint: None,
        })
    }

    /// Does not choose these tokens, which end a text, before `steps` others.
    #[must_use]
    pub fn with_ends_after(mut self, steps: usize, ends: &[u32]) -> Self {
        self.late = (steps, ends.to_vec());
        self
    }

    /// Chooses only what a constraint allows.
    #[must_use]
    pub fn with_constraint(mut self, constraint: Box<dyn TokenConstraint>) -> Self {
        self.constraint = Some(constraint);
        self
    }

    /// Whether the constraint lets no token follow.
    pub fn is_complete(&self) -> bool {
        self.constraint.as_ref().is_some_and(|constraint| constraint.is_complete())
    }

    /// Chooses the next token from the logits of one position and remembers it.
    ///
    /// # Errors
    /// [`Error::NoFiniteLogit`] if nothing may be chosen.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Choice, Error> {
        let mut processed = logits.to_vec();
        self.penalize(&mut processed);
        if let Some(constraint) = &mut self.constraint {
            constraint.restrict(&mut processed);
        }
        let nothing = Error::NoFiniteLogit { step: self.steps };
        let token = if self.config.temperature == 0.0 {
            argmax(&processed).ok_or(nothing)? as u32
        } else {
            Candidates::new(&processed, &self.config).draw(self.rng.random::<u64>()).ok_or(nothing)?
        };
        *self.counts.entry(token).or_default() += 1;
        self.steps += 1;
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token);
        }
        Ok(Choice { token, logprob: logprob(logits, token) })
    }

    fn penalize(&self, logits: &mut [f32]) {
        for &id in &self.forbidden {
            logits[id as usize] = f32::NEG_INFINITY;
        }
        if self.steps < self.late.0 {
            for &id in &self.late.1 {
                logits[id as usize] = f32::NEG_INFINITY;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Token;

    fn vocab(size: usize, known: usize) -> Vocab {
        Vocab::new((0..known).map(|id| Some(Token::text([id as u8]))).collect()).padded_to(size)
    }

    fn sampler(config: SamplingConfig, prompt: &[u32]) -> Sampler {
        Sampler::new(&config, 7, prompt, &vocab(4, 4)).expect("valid")
    }

    fn warm(config: SamplingConfig) -> SamplingConfig {
        SamplingConfig { temperature: 1.0, ..config }
    }

    #[test]
    fn greedy_takes_the_largest_and_the_lowest_id_among_equals() {
        let mut sampler = sampler(SamplingConfig::default(), &[]);
        assert_eq!(sampler.sample(&[0.0, 2.0, 2.0, 1.0]).expect("finite").token, 1);
    }

    #[test]
    fn ids_without_a_token_are_never_sampled() {
        let config = warm(SamplingConfig { temperature: 1.0, ..Default::default() });
        let mut sampler = Sampler::new(&config, 1, &[], &vocab(6, 3)).expect("valid");
        for _ in 0..200 {
            assert!(sampler.sample(&[0.0, 0.0, 0.0, 50.0, 50.0, 50.0]).expect("finite").token < 3);
        }
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
            assert_eq!(counted.sample(&[9.0, 0.0, 0.0, 0.0]).expect("finite").token, 0);
        }
        let mut logits = [0.0; 4];
        counted.penalize(&mut logits);
        assert_eq!(logits, [-1.25, 0.0, 0.0, 0.0], "the prompt does not count");
    }

    #[test]
    fn a_bias_can_force_and_forbid() {
        let force = SamplingConfig { logit_bias: vec![(2, 100.0)], ..Default::default() };
        assert_eq!(sampler(force, &[]).sample(&[5.0, 0.0, 0.0, 0.0]).expect("finite").token, 2);
        let forbid = SamplingConfig { logit_bias: vec![(0, f32::NEG_INFINITY)], ..Default::default() };
        assert_eq!(sampler(forbid, &[]).sample(&[5.0, 0.0, 1.0, 0.0]).expect("finite").token, 2);
    }

    /// Allows each token once.
    #[derive(Debug, Clone, Default)]
    struct Once(Vec<u32>);

    impl TokenConstraint for Once {
        fn restrict(&mut self, logits: &mut [f32]) {
            self.0.iter().for_each(|&id| logits[id as usize] = f32::NEG_INFINITY);
        }
        fn accept(&mut self, token: u32) {
            self.0.push(token);
        }
        fn is_complete(&self) -> bool {
            self.0.len() == 4
        }
        fn boxed_clone(&self) -> Box<dyn TokenConstraint> {
            Box::new(self.clone())
        }
    }

    #[test]
    fn a_constraint_decides_what_is_left_and_a_copy_has_its_own() {
        let logits = [4.0, 3.0, 2.0, 1.0];
        let mut sampler = sampler(SamplingConfig::default(), &[]).with_constraint(Box::new(Once::default()));
        let next = |sampler: &mut Sampler| sampler.sample(&logits).expect("one is left").token;
        assert_eq!([next(&mut sampler), next(&mut sampler)], [0, 1]);
        let mut copy = sampler.clone();
        assert_eq!([next(&mut copy), next(&mut sampler), next(&mut copy)], [2, 2, 3]);
        assert!(copy.is_complete() && !sampler.is_complete());
        assert!(matches!(copy.sample(&logits), Err(Error::NoFiniteLogit { step: 4 })));
    }

    #[test]
    fn the_end_is_not_chosen_before_its_time() {
        let mut sampler = sampler(SamplingConfig::default(), &[]).with_ends_after(2, &[0]);
        let tokens = [(); 3].map(|()| sampler.sample(&[9.0, 0.0, 1.0, 0.0]).expect("finite").token);
        assert_eq!(tokens, [2, 2, 0]);
    }

    #[test]
    fn draws_follow_the_distribution_and_the_seed() {
        let logits = [0.5_f32, 0.3, 0.15, 0.05].map(f32::ln);
        let run = |seed| {
            let config = warm(SamplingConfig::default());
            let mut sampler = Sampler::new(&config, seed, &[], &vocab(4, 4)).expect("valid");
            (0..20_000).map(|_| sampler.sample(&logits).expect("finite").token).collect::<Vec<_>>()
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
            (0..20_000).map(|_| sampler.sample(logits).expect("finite").token).collect()
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
