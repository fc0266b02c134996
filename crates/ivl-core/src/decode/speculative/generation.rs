//! Whole texts, written speculatively.

use std::collections::VecDeque;

use super::{Speculation, SpeculativeRound};
use crate::causal_lm::CausalLm;
use crate::causal_lm::token_tensor;
use crate::decode::generate::{PREFILL, to_host};
use crate::decode::{Continuation, GenerateConfig, GeneratedToken};
use crate::error::Error;
use crate::fusion::{DecodeBatch, FusedLm};

/// Continues prompts as [`generate`](crate::decode::generate) does, token for token, with the help of a draft.
///
/// Texts are written one after the other: together they would wait for each other's rejected tokens. Prompts that follow
/// each other and are the same are read once.
///
/// # Errors
/// As `generate`.
pub fn speculate<'a, S: AsRef<[u32]>>(
    target: &'a FusedLm,
    speculation: Speculation,
    prompts: &[S],
    config: &GenerateConfig,
) -> Result<SpeculativeGeneration<'a>, Error> {
    let text = |(row, prompt): (usize, &S)| {
        let prompt = prompt.as_ref().to_vec();
        crate::causal_lm::check_ids(&prompt, target.vocab())?;
        let continuation = Continuation::new(row, &prompt, config, target)?;
        Ok((prompt, continuation))
    };
    let texts: VecDeque<_> = prompts.iter().enumerate().map(text).collect::<Result<_, Error>>()?;
    Ok(SpeculativeGeneration {
        target,
        speculation,
        texts: if config.max_new_tokens == 0 { VecDeque::new() } else { texts },
        writing: None,
        prompt: None,
        ready: VecDeque::new(),
        totals: SpeculationTotals::default(),
    })
}

/// The iterator that [`speculate`] returns.
pub struct SpeculativeGeneration<'a> {
    target: &'a FusedLm,
    speculation: Speculation,
    /// Texts that are not begun.
    texts: VecDeque<(Vec<u32>, Continuation)>,
    writing: Option<SessionGeneration>,
    /// The prompt that was read last, if the next one is the same: tokens, caches, and logits after it.
    prompt: Option<(Vec<u32>, DecodeBatch, Vec<f32>)>,
    ready: VecDeque<GeneratedToken>,
    totals: SpeculationTotals,
}

/// The text in progress: its last token is not read.
struct SessionGeneration {
    text: Vec<u32>,
    batch: DecodeBatch,
    continuation: Continuation,
}

/// What came of the drafts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpeculationTotals {
    /// Passes of the target, without those over prompts.
    pub rounds: usize,
    /// Tokens drafted.
    pub drafted: usize,
    /// Drafted tokens that the target chose too.
    pub accepted: usize,
}

impl SpeculationTotals {
    /// Adds a round.
    pub fn add(&mut self, round: &SpeculativeRound) {
        self.rounds += 1;
        self.drafted += round.drafted;
        self.accepted += round.accepted;
    }

    /// Accepted of drafted tokens; nothing if none was drafted.
    pub fn acceptance_rate(&self) -> Option<f64> {
        (self.drafted > 0).then(|| self.accepted as f64 / self.drafted as f64)
    }
}

impl SpeculativeGeneration<'_> {
    /// What came of the drafts so far.
    pub fn totals(&self) -> SpeculationTotals {
        self.totals
    }

    fn advance(&mut self) -> Result<(), Error> {
        let Some(mut writing) = self.writing.take() else { return self.begin() };
        let SessionGeneration { text, batch, continuation } = &mut writing;
        let mut block = self.speculation.block(self.target, batch, text, continuation);
        let ended = loop {
            let step = continuation.step(block.logits(self.target, batch), self.target.vocab())?;
            text.push(step.token);
            let (token, ended) = (step.token, step.finish.is_some());
            self.ready.push_back(step);
            if !block.accepts(token) || ended {
                break ended;
            }
        };
        self.totals.add(&self.speculation.settle(&block, batch));
        self.writing = (!ended).then_some(writing);
        Ok(())
    }

    /// Reads the next prompt and writes its first token.
    fn begin(&mut self) -> Result<(), Error> {
        let Some((prompt, mut continuation)) = self.texts.pop_front() else { return Ok(()) };
        let known = self.prompt.take().filter(|(known, ..)| *known == prompt);
        let (batch, logits) = known.map_or_else(|| self.read(&prompt), |(_, batch, logits)| (batch, logits));
        let step = continuation.step(&logits, self.target.vocab())?;
        if self.texts.front().is_some_and(|(next, _)| *next == prompt) {
            self.prompt = Some((prompt.clone(), batch.clone(), logits));
        }
        let mut text = prompt;
        text.push(step.token);
        if step.finish.is_none() {
            self.writing = Some(SessionGeneration { text, batch, continuation });
        }
        self.ready.push_back(step);
        Ok(())
    }

    fn read(&self, prompt: &[u32]) -> (DecodeBatch, Vec<f32>) {
        let mut batch = DecodeBatch::new(self.target, &[0], vec![self.target.alphas()]);
        batch.expect(prompt.len());
        let mut logits = Vec::new();
        let mut pieces = prompt.chunks(PREFILL).peekable();
        while let Some(piece) = pieces.next() {
            let tokens = token_tensor(piece, 1, &self.target.device());
            let last = self.target.next_logits_rows(tokens, &mut batch);
            if pieces.peek().is_none() {
                logits = to_host(last.fused());
            }
        }
        (batch, logits)
    }
}

impl Iterator for SpeculativeGeneration<'_> {
    type Item = Result<GeneratedToken, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && (self.writing.is_some() || !self.texts.is_empty()) {
            if let Err(error) = self.advance() {
                self.texts.clear();
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
