//! Jobs of the engine.

use std::time::Instant;

use ivl_core::decode::GenerateConfig;
use tokio::sync::mpsc::UnboundedSender;

use super::{Client, EngineError, EngineEvent, OutputOptions, QueuePermit};
use crate::constraint::RequestConstraint;

/// A prompt to be read and continued `n` times.
#[derive(Debug)]
pub(crate) struct Job {
    /// Who sent it.
    pub(crate) client: Client,
    /// Tokens, at least one.
    pub(crate) prompt: Vec<u32>,
    /// A weight for every value.
    pub(crate) weights: Vec<f64>,
    /// How to continue; no new tokens means to read only.
    pub(crate) config: GenerateConfig,
    /// Which tokens are allowed.
    pub(crate) constraint: RequestConstraint,
    /// Number of the first continuation among the choices of the request.
    pub(crate) first: usize,
    /// Continuations.
    pub(crate) n: usize,
    /// What to report besides the text.
    pub(crate) output: OutputOptions,
    /// Where events go; a closed channel cancels the job.
    pub(crate) events: UnboundedSender<EngineEvent>,
    /// When the request came.
    pub(crate) began: Instant,
    /// Its places in the queue, which it holds until it ends.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) permit: QueuePermit,
}

impl Job {
    /// Whether no client waits for it any more.
    pub(crate) fn cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// Ends it without an answer.
    pub(crate) fn fail(&self, error: EngineError) {
        // A client that has gone away needs no report.
        let _ = self.events.send(EngineEvent::Failed(error));
    }

    /// Length of its texts if every token allowed is written.
    pub(crate) fn full_length(&self) -> usize {
        self.prompt.len() + self.config.max_new_tokens
    }
}
