//! Events that the engine reports about a job.

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
    },
    /// The end of the job without an answer.
    Failed(EngineError),
}

/// Details that are reported besides the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OutputOptions {
    /// Log-probabilities of the tokens and of this many most probable ones at each position.
    pub(crate) logprobs: Option<usize>,
    /// The same for the prompt.
    pub(crate) prompt: bool,
    /// Changes by the values.
    pub(crate) explain: bool,
}

impl OutputOptions {
    /// Whether the logits at every position of the prompt are needed.
    pub(crate) fn scores_prompt(self) -> bool {
        self.prompt && (self.logprobs.is_some() || self.explain)
    }
}

/// A token with its log-probability.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scored {
    /// The token.
    pub(crate) id: u32,
    /// Its log-probability under the fused model; `None` for the first token of a text.
    pub(crate) logprob: Option<f32>,
    /// The most probable tokens at its position, most probable first.
    pub(crate) top: Vec<(u32, f32)>,
    /// Changes by the values in use, together and each by itself.
    pub(crate) explained: Option<TokenExplanation>,
}
