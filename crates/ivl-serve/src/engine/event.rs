//! What the engine reports about a job.

use ivl_core::decode::FinishReason;
use ivl_core::score::TokenExplanation;

use super::EngineError;

/// A report about one job.
#[derive(Debug)]
pub(crate) enum EngineEvent {
    /// The prompt was read; `cached` of its tokens were known from earlier prompts.
    Prompt {
        /// The first choice of the job.
        first: usize,
        /// Every token of the prompt, if [`OutputOptions::scores_prompt`].
        tokens: Vec<Scored>,
        /// Tokens that did not have to be read.
        cached: usize,
    },
    /// A new token.
    Token {
        /// Which choice.
        choice: usize,
        /// The token.
        token: Scored,
        /// Text that can no longer change.
        text: String,
        /// Set on the last token of the choice.
        finish: Option<FinishReason>,
        /// The stop string that ended the choice.
        stop_string: Option<String>,
    },
    /// The end of the job without an answer.
    Failed(EngineError),
}

/// What is reported beside the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OutputOptions {
    /// Log-probabilities of the tokens and of this many most probable ones at each position.
    pub(crate) logprobs: Option<usize>,
    /// The text begins with the prompt: the same for the prompt's tokens.
    pub(crate) echo: bool,
    /// Log-probabilities of the prompt's tokens in a field of their own, with this many most probable ones.
    pub(crate) prompt_logprobs: Option<usize>,
    /// What the values changed.
    pub(crate) explain: bool,
}

impl OutputOptions {
    /// Most probable tokens that are needed at each position of the prompt.
    pub(crate) fn prompt_alternatives(self) -> usize {
        self.logprobs.filter(|_| self.echo).max(self.prompt_logprobs).unwrap_or(0)
    }

    /// Whether the logits at every position of the prompt are needed.
    pub(crate) fn scores_prompt(self) -> bool {
        self.prompt_logprobs.is_some() || self.echo && (self.logprobs.is_some() || self.explain)
    }
}

/// A token with its log-probability.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scored {
    /// The token.
    pub(crate) id: u32,
    /// Its log-probability under the fused model; `None` for the first token of a text.
    pub(crate) logprob: Option<f32>,
    /// Its place among all tokens by probability, from 1; of prompts only.
    pub(crate) rank: Option<usize>,
    /// The most probable tokens at its position, most probable first.
    pub(crate) top: Vec<(u32, f32)>,
    /// What the values in use changed, together and each by itself.
    pub(crate) explained: Option<TokenExplanation>,
}
