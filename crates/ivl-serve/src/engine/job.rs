//! What the engine is asked, and what it answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ivl_core::decode::{FinishReason, GenerateConfig};
use ivl_core::score::TokenExplanation;
use tokio::sync::mpsc::UnboundedSender;

/// Who asks: clients take turns in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Client {
    /// By the digest of the key shown.
    Key([u8; 32]),
    /// By address.
    Address(IpAddr),
}

/// A prompt to be read and continued `n` times.
#[derive(Debug)]
pub struct Job {
    /// Who asks.
    pub client: Client,
    /// Tokens, at least one.
    pub prompt: Vec<u32>,
    /// A weight for every value.
    pub weights: Vec<f64>,
    /// How to continue; no new tokens means to read only.
    pub config: GenerateConfig,
    /// Number of the first continuation among the choices of the request.
    pub first: usize,
    /// Continuations.
    pub n: usize,
    /// What to tell beside the text.
    pub details: Details,
    /// Where pieces go; a closed one cancels the job.
    pub pieces: UnboundedSender<Piece>,
    /// When the request came.
    pub began: Instant,
    /// Its place in the queue.
    pub ticket: Ticket,
}

/// What is told beside the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Details {
    /// Log-probabilities of the tokens and of so many most probable ones.
    pub logprobs: Option<usize>,
    /// The same for the prompt.
    pub prompt: bool,
    /// What the values changed.
    pub explain: bool,
}

impl Details {
    /// Whether the prompt's logits are wanted at every position.
    pub fn of_prompt(self) -> bool {
        self.prompt && (self.logprobs.is_some() || self.explain)
    }
}

/// A token with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The token.
    pub id: u32,
    /// Its log-probability under the fused model; the first of a text has none.
    pub logprob: Option<f32>,
    /// The most probable tokens at its place, most probable first.
    pub top: Vec<(u32, f32)>,
    /// What the values in use changed, together and each by itself.
    pub explained: Option<TokenExplanation>,
}

/// A message of the engine about one job.
#[derive(Debug)]
pub enum Piece {
    /// The prompt was read; `cached` of its tokens were known from earlier ones.
    Prompt {
        /// The first choice of the job.
        first: usize,
        /// Every token, if it was asked for.
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
        /// Text that is certain now.
        text: String,
        /// Set on the last one.
        finish: Option<FinishReason>,
    },
    /// The end of the job without an answer.
    Failed(Failure),
}

/// Why a job ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No token could be chosen.
    NoToken,
    /// A bug.
    Internal,
}

/// A place among the jobs that wait or run; given back when dropped.
#[derive(Debug)]
pub struct Ticket(Arc<AtomicUsize>, usize);

impl Ticket {
    /// Takes `places` of at most `limit`, or none.
    pub fn take(taken: &Arc<AtomicUsize>, places: usize, limit: usize) -> Option<Self> {
        let fits = |taken: usize| (taken + places <= limit).then_some(taken + places);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Self(taken.clone(), places))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}
