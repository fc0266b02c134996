//! Generation of whole texts with the help of a draft.

use std::collections::VecDeque;

use super::{Speculation, SpeculationTotals};
use crate::causal_lm::prefill;
use crate::decode::{Continuation, GenerateConfig, GeneratedToken};
use crate::error::Error;
use crate::fusion::{DecodeBatch, RowWeighted};
use crate::row_chunks::PREFILL_CHUNK;
use crate::tokens::{check_ids, to_host, token_tensor};

/// Continues prompts as [`generate`](crate::decode::generate) does, token for token, with the help of a draft.
///
/// Texts are generated one after the other: in a batch they would wait for each other's rejected tokens. Equal prompts that
/// follow each other are read once.
///
/// # Errors
/// As `generate`.
pub fn speculate<'a, S: AsRef<[u32]>>(
    target: &'a dyn RowWeighted,
    speculation: Speculation,
    prompts: &[S],
    config: &GenerateConfig,
) -> Result<SpeculativeGeneration<'a>, Error> {
    let mut texts = VecDeque::with_capacity(prompts.len());
    for (row, prompt) in prompts.iter().enumerate() {
        let prompt = prompt.as_ref();
        check_ids(prompt, target.vocab())?;
        texts.push_back((prompt.to_vec(), Continuation::new(row, prompt, config, target)?));
    }
    Ok(SpeculativeGeneration {
        target,
        speculation,
        texts: if config.max_new_tokens == 0 { VecDeque::new() } else { texts },
        active: None,
        prompt: None,
        ready: VecDeque::new(),
        totals: SpeculationTotals::default(),
    })
}

/// The iterator that [`speculate`] returns.
pub struct SpeculativeGeneration<'a> {
    target: &'a dyn RowWeighted,
    speculation: Speculation,
    /// Texts that are not begun.
    texts: VecDeque<(Vec<u32>, Continuation)>,
    active: Option<ActiveSequence>,
    /// The prompt that was read last, if the next one is the same: tokens, caches, and logits after it.
    prompt: Option<(Vec<u32>, DecodeBatch, Vec<f32>)>,
    ready: VecDeque<GeneratedToken>,
    totals: SpeculationTotals,
}

/// The text in progress: its last token is not read.
struct ActiveSequence {
    text: Vec<u32>,
    batch: DecodeBatch,
    continuation: Continuation,
}

impl SpeculativeGeneration<'_> {
    /// Drafted and accepted tokens so far.
    pub fn totals(&self) -> SpeculationTotals {
        self.totals
    }

    fn advance(&mut self) -> Result<(), Error> {
        let Some(mut active) = self.active.take() else { return self.begin() };
        let ActiveSequence { text, batch, continuation } = &mut active;
        let mut block = self.speculation.block(self.target, batch, text, continuation)?;
        let ended = loop {
            let step = continuation.step(block.logits(self.target, batch)?, self.target.vocab())?;
            text.push(step.token);
            let (token, ended) = (step.token, step.finish.is_some());
            self.ready.push_back(step);
            if !block.accepts(token) || ended {
                break ended;
            }
        };
        self.totals.add(&self.speculation.settle(&block, batch));
        self.active = (!ended).then_some(active);
        Ok(())
    }

    /// Reads the next prompt and writes its first token.
    fn begin(&mut self) -> Result<(), Error> {
        let Some((prompt, mut continuation)) = self.texts.pop_front() else { return Ok(()) };
        let known = self.prompt.take().filter(|(known, ..)| *known == prompt);
        let (batch, logits) = match known {
            Some((_, batch, logits)) => (batch, logits),
            None => self.read(&prompt)?,
        };
        let step = continuation.step(&logits, self.target.vocab())?;
        if self.texts.front().is_some_and(|(next, _)| *next == prompt) {
            self.prompt = Some((prompt.clone(), batch.clone(), logits));
        }
        let mut text = prompt;
        text.push(step.token);
        if step.finish.is_none() {
            self.active = Some(ActiveSequence { text, batch, continuation });
        }
        self.ready.push_back(step);
        Ok(())
    }

    /// Reads a prompt; the batch that holds it, and the logits after it.
    fn read(&self, prompt: &[u32]) -> Result<(DecodeBatch, Vec<f32>), Error> {
        let mut batch = DecodeBatch::new(self.target, &[0], vec![self.target.alphas()])?;
        batch.set_prompt_len(prompt.len());
        let tokens = token_tensor(prompt, 1, &self.target.device());
        let read = |chunk| batch.next_logits(self.target, chunk);
        let logits = prefill(tokens, PREFILL_CHUNK, read)?.ok_or(Error::EmptyPrompt)?;
        Ok((batch, to_host(logits.last())))
    }
}

impl Iterator for SpeculativeGeneration<'_> {
    type Item = Result<GeneratedToken, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && (self.active.is_some() || !self.texts.is_empty()) {
            if let Err(error) = self.advance() {
                self.texts.clear();
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
