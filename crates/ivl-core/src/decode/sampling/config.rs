//! The settings of a sampler.

use crate::error::Error;

/// How the next token is chosen. The default is greedy.
///
/// The steps run in the order that Hugging Face's processors and vLLM use: repetition penalty, frequency and presence
/// penalties, logit bias, temperature, top-k, top-p, min-p, draw.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
    /// Subtract this much for every occurrence of a token in the answer (as in the OpenAI API).
    pub frequency_penalty: f64,
    /// Subtract this much once if a token occurs in the answer (as in the OpenAI API).
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
    /// Sets [`temperature`](Self::temperature).
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// Sets [`top_k`](Self::top_k).
    #[must_use]
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// Sets [`top_p`](Self::top_p).
    #[must_use]
    pub fn top_p(mut self, top_p: f64) -> Self {
        self.top_p = top_p;
        self
    }

    /// Sets [`min_p`](Self::min_p).
    #[must_use]
    pub fn min_p(mut self, min_p: f64) -> Self {
        self.min_p = min_p;
        self
    }

    /// Sets [`repetition_penalty`](Self::repetition_penalty).
    #[must_use]
    pub fn repetition_penalty(mut self, repetition_penalty: f64) -> Self {
        self.repetition_penalty = repetition_penalty;
        self
    }

    /// Sets [`frequency_penalty`](Self::frequency_penalty).
    #[must_use]
    pub fn frequency_penalty(mut self, frequency_penalty: f64) -> Self {
        self.frequency_penalty = frequency_penalty;
        self
    }

    /// Sets [`presence_penalty`](Self::presence_penalty).
    #[must_use]
    pub fn presence_penalty(mut self, presence_penalty: f64) -> Self {
        self.presence_penalty = presence_penalty;
        self
    }

    /// Sets [`logit_bias`](Self::logit_bias).
    #[must_use]
    pub fn logit_bias(mut self, logit_bias: Vec<(u32, f32)>) -> Self {
        self.logit_bias = logit_bias;
        self
    }

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
