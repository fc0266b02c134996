//! The loop of the engine.
//!
//! Each round takes in new jobs, reads one piece of some prompts and writes one token of every text. Prompts are read in
//! pieces so that a long one does not delay the texts being written, and several short ones are read together. A text
//! joins the batch when its prompt is read and leaves it when it ends or its client goes away.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use ivl_core::causal_lm::CacheBytes;
use ivl_core::decode::Speculation;
use ivl_core::fusion::{BaseLm, DecodeBatch, RowBytes};
use ivl_core::tokens::{retain_indices, token_tensor};
use ivl_core::{CausalLm, Error, RowWeighted};

use super::prefill::{self, Prefill};
use super::prefix_cache::PrefixCache;
use super::queue::FairQueue;
use super::row::{Logits, PositionLogits, Row, Step};
use super::{Client, EngineError, Job};
use crate::catalog::Catalog;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// The tokens of every eighth round are compared with the base's for the metrics.
const COMPARED: u64 = 8;

/// The models that the thread owns.
pub(crate) struct Models {
    /// The base with its values.
    pub(crate) lm: BaseLm,
    /// Drafts tokens while a single text is being written.
    pub(crate) speculation: Option<Speculation>,
}

/// The state of the thread.
pub(super) struct Scheduler {
    lm: BaseLm,
    speculation: Option<Speculation>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    max_rows: usize,
    cache_bytes: usize,
    row_bytes: RowBytes,
    inbox: Receiver<Job>,
    waiting: FairQueue<Client, Job>,
    /// Jobs of a group on which the model panicked: each is tried again by itself.
    retry_alone: VecDeque<Job>,
    prefill: Option<Prefill>,
    batch: DecodeBatch,
    rows: Vec<Row>,
    prefixes: PrefixCache,
    rounds: u64,
}

impl Scheduler {
    pub(super) fn new(
        models: Models,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        settings: &Settings,
        row_bytes: RowBytes,
        inbox: Receiver<Job>,
    ) -> Self {
        let Models { lm, speculation } = models;
        let prefixes = PrefixCache::new(settings.prefix_bytes, lm.num_cascade_values());
        Self {
            batch: empty(&lm),
            lm,
            speculation,
            catalog,
            metrics,
            max_rows: settings.max_rows,
            cache_bytes: settings.cache_bytes,
            row_bytes,
            inbox,
            waiting: FairQueue::new(),
            retry_alone: VecDeque::new(),
            prefill: None,
            rows: Vec::new(),
            prefixes,
            rounds: 0,
        }
    }

    /// Works until all senders of jobs are dropped and no job is left.
    pub(super) fn run(mut self) {
        while self.drain_inbox() {
            // A panic that belongs to a request is caught closer to it; this catches bugs elsewhere.
            if catch_unwind(AssertUnwindSafe(|| self.round())).is_err() {
                self.metrics.panicked();
                self.reset();
            }
        }
    }

    fn round(&mut self) {
        self.rounds += 1;
        self.drop_cancelled();
        self.read();
        self.write();
        let (cache, prefixes) = (self.batch.bytes(), self.prefixes.bytes());
        self.metrics.engine(self.waiting.len(), self.rows.len(), cache, prefixes);
    }

    /// Fails every text in progress; jobs that wait stay.
    fn reset(&mut self) {
        self.rows.drain(..).for_each(|row| row.fail(EngineError::Internal));
        self.prefill = None;
        self.batch = empty(&self.lm);
        self.prefixes.clear();
    }

    fn idle(&self) -> bool {
        self.rows.is_empty()
            && self.prefill.is_none()
            && self.retry_alone.is_empty()
            && self.waiting.len() == 0
    }

    /// Takes the jobs that were sent; waits if there is nothing else to do. Returns `false` at the end.
    fn drain_inbox(&mut self) -> bool {
        if self.idle() {
            match self.inbox.recv() {
                Ok(job) => self.waiting.push(job.client.clone(), job),
                Err(_) => return false,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(job) => self.waiting.push(job.client.clone(), job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !self.idle(),
            }
        }
    }

    /// Drops jobs whose clients went away.
    fn drop_cancelled(&mut self) {
        self.waiting.retain(|job| !job.cancelled());
        self.retry_alone.retain(|job| !job.cancelled());
        if self.prefill.as_ref().is_some_and(Prefill::cancelled) {
            self.prefill = None;
        }
        let kept: Vec<usize> = (0..self.rows.len()).filter(|&row| !self.rows[row].cancelled()).collect();
        self.keep(&kept);
    }

    fn keep(&mut self, kept: &[usize]) {
        if kept.len() == self.rows.len() {
            return;
        }
        self.batch.keep(kept);
        retain_indices(&mut self.rows, kept);
    }

    /// Reads one piece of some prompts; when they end, their texts join the batch.
    fn read(&mut self) {
        if self.prefill.is_none() {
            let group = self.next_group();
            if group.is_empty() {
                return;
            }
            let known = match group.as_slice() {
                [job] if self.is_cacheable(job) => self.prefixes.find(&job.prompt, &job.weights),
                _ => None,
            };
            self.metrics.cached(known.as_ref().map_or(0, |(_, len)| *len));
            self.prefill = Some(Prefill::new(&self.lm, group, known));
        }
        let Some(mut prefill) = self.prefill.take() else { return };
        let busy = !self.rows.is_empty();
        match caught(|| prefill.advance(&self.lm, busy)) {
            Some(None) => self.prefill = Some(prefill),
            Some(Some(logits)) => self.begin(prefill, &logits),
            None => {
                self.metrics.panicked();
                let jobs = prefill.into_jobs();
                match <[Job; 1]>::try_from(jobs) {
                    Ok([job]) => job.fail(EngineError::Internal),
                    Err(jobs) => self.retry_alone.extend(jobs),
                }
            }
        }
    }

    /// Jobs to be read together: they fit into rows and memory, and none is padded much.
    fn next_group(&mut self) -> Vec<Job> {
        if let Some(job) = self.retry_alone.pop_front() {
            return vec![job];
        }
        let mut waiting = std::mem::replace(&mut self.waiting, FairQueue::new());
        let mut group: Vec<Job> = Vec::new();
        // A prompt whose beginning is cached is read by itself.
        let cached = |job: &Job| self.is_cacheable(job) && self.prefixes.knows(&job.prompt, &job.weights);
        loop {
            let job = waiting.pop_first(|job| {
                self.fits(&group, job)
                    && prefill::fit_together(&group, job)
                    && (group.is_empty() || !cached(job))
            });
            let Some(job) = job else { break };
            let alone = cached(&job);
            group.push(job);
            if alone {
                break;
            }
        }
        self.waiting = waiting;
        group
    }

    /// Whether what is read of a prompt may be used for others, and the reverse. Not so where the position encoding
    /// depends on the length of the text.
    fn is_cacheable(&self, job: &Job) -> bool {
        !job.output.scores_prompt()
            && self.lm.info().length_dependence.is_length_invariant(&(0..job.prompt.len()))
    }

    /// Whether rows and cache memory suffice for one more job, once all texts have their full length.
    fn fits(&self, group: &[Job], job: &Job) -> bool {
        let new = || group.iter().chain([job]);
        let rows = self.rows.len() + new().map(|job| job.n).sum::<usize>();
        if self.rows.is_empty() && group.is_empty() {
            return true;
        }
        let longest =
            self.rows.iter().map(Row::longest).chain(new().map(Job::full_length)).max().unwrap_or(0);
        let held = |weights: &[f64]| self.row_bytes.of(weights);
        let bytes = self.rows.iter().map(|row| held(row.weights())).sum::<CacheBytes>()
            + new().map(|job| held(&job.weights).times(job.n)).sum::<CacheBytes>();
        rows <= self.max_rows && bytes.of(longest) <= self.cache_bytes
    }

    /// Writes the first token of texts whose prompts were read, and lets them join the batch.
    fn begin(&mut self, prefill: Prefill, logits: &Logits) {
        let (jobs, mut batch) = prefill.finish();
        let mut joining = Vec::new();
        for (read, job) in jobs.into_iter().enumerate() {
            if self.is_cacheable(&job) && self.prefixes.wants(&job.prompt, &job.weights) {
                let mut alone = batch.clone();
                alone.keep(&[read]);
                self.prefixes.insert(&job.prompt, alone);
            }
            let job = Arc::new(job);
            for mut row in Row::begin(&job, &self.lm) {
                if row.step(&logits.row(read), &self.catalog, &self.metrics) == Step::On {
                    joining.push((read, row));
                }
            }
        }
        let kept: Vec<usize> = joining.iter().map(|(read, _)| *read).collect();
        if kept.is_empty() {
            return;
        }
        batch.keep(&kept);
        join(&mut self.batch, batch);
        self.rows.extend(joining.into_iter().map(|(_, row)| row));
    }

    /// Writes one token of every text, or several of a single one.
    fn write(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        if self.rows.len() == 1 && self.speculation.is_some() {
            self.speculative_step();
            return;
        }
        let tokens: Vec<u32> = self.rows.iter().map(Row::last).collect();
        let sampled = self.rounds.is_multiple_of(COMPARED);
        let compares = self.rows.iter().any(|row| row.compares(sampled));
        let step = || {
            let tokens = token_tensor(&tokens, tokens.len(), &self.lm.device());
            Ok(Logits::new(self.batch.next_logits(&self.lm, tokens)?, compares))
        };
        let Some(logits) = caught(step) else {
            self.metrics.panicked();
            self.recover();
            return;
        };
        let rows = self.rows.iter_mut().enumerate();
        let kept: Vec<usize> = rows
            .filter_map(|(at, row)| {
                (row.step(&logits.row(at), &self.catalog, &self.metrics) == Step::On).then_some(at)
            })
            .collect();
        self.keep(&kept);
    }

    /// Writes the drafted tokens of a single text that the models confirm, and one more. With several texts a pass of the
    /// models is full without drafts.
    fn speculative_step(&mut self) {
        let (Some(speculation), [row]) = (&mut self.speculation, self.rows.as_mut_slice()) else { return };
        let (lm, batch) = (&self.lm, &mut self.batch);
        let compares = row.compares(self.rounds.is_multiple_of(COMPARED));
        let write = || {
            let mut block = speculation.block(lm, batch, row.text(), row.continuation())?;
            let step = loop {
                let stages = compares.then(|| block.cumulative_logits(lm, batch)).transpose()?;
                let stages = stages.as_ref().map(|stages| stages.iter().map(Vec::as_slice).collect());
                let logits = PositionLogits { fused: block.logits(lm, batch)?, stages };
                let step = row.step(&logits, &self.catalog, &self.metrics);
                if !block.accepts(row.last()) || step == Step::Ended {
                    break step;
                }
            };
            self.metrics.drafted(&speculation.settle(&block, batch));
            Ok(step)
        };
        match caught(write) {
            Some(Step::On) => {}
            Some(Step::Ended) => self.keep(&[]),
            None => {
                self.metrics.panicked();
                self.recover();
            }
        }
    }

    /// After a panic in a step of all texts, reads each text again and repeats the step with that text only. The text that
    /// causes the panic fails; the others go on.
    fn recover(&mut self) {
        self.batch = empty(&self.lm);
        for mut row in std::mem::take(&mut self.rows) {
            let Some((batch, logits)) = caught(|| prefill::read_text(&self.lm, &row)) else {
                self.metrics.panicked();
                row.fail(EngineError::Internal);
                continue;
            };
            if row.step(&logits.row(0), &self.catalog, &self.metrics) == Step::On {
                join(&mut self.batch, batch);
                self.rows.push(row);
            }
        }
    }
}

/// The result of some work on the models; `None` if it panics or fails.
fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()?.ok()
}

fn empty(lm: &BaseLm) -> DecodeBatch {
    DecodeBatch::empty(lm).expect("a model makes caches with a part for each of its values")
}

fn join(batch: &mut DecodeBatch, other: DecodeBatch) {
    batch.join(other).expect("the engine's batches are all of its one model");
}
