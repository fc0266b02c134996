//! The order of training, fixed before it begins: which examples share a forward pass, and which passes share a step.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::{Device, Int, Tensor};
use ivl_core::token_tensor;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::StepsConfig;
use crate::example::Example;

/// One forward pass.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Ids, row-major, padded on the right: causal attention never looks there.
    pub ids: Vec<u32>,
    /// Rows.
    pub rows: usize,
    /// Indices into `ids` of the positions whose next token is learnt.
    pub positions: Vec<u32>,
    /// Those next tokens.
    pub targets: Vec<u32>,
    /// Learnt tokens of the whole step.
    pub step_tokens: usize,
    /// Whether this is the last pass of its step.
    pub ends_step: bool,
}

impl Batch {
    /// Examples side by side. The last token of a row is read by nobody and left out.
    pub fn new(examples: &[&Example]) -> Self {
        let seq = examples.iter().map(|example| example.ids.len() - 1).max().unwrap_or(0);
        let mut batch = Self {
            ids: Vec::with_capacity(seq * examples.len()),
            rows: examples.len(),
            positions: Vec::new(),
            targets: Vec::new(),
            step_tokens: 0,
            ends_step: true,
        };
        for (row, example) in examples.iter().enumerate() {
            for next in (1..example.ids.len()).filter(|&next| example.learnt[next]) {
                batch.positions.push((row * seq + next - 1) as u32);
                batch.targets.push(example.ids[next]);
            }
            batch.ids.extend_from_slice(&example.ids[..example.ids.len() - 1]);
            batch.ids.resize((row + 1) * seq, 0);
        }
        batch.step_tokens = batch.targets.len();
        batch
    }

    /// Token ids, shape `[rows, seq]`.
    pub fn tokens(&self, device: &Device) -> Tensor<2, Int> {
        token_tensor(&self.ids, self.rows, device)
    }

    /// Indices of the trained positions, shape `[n]`.
    pub fn position_tensor(&self, device: &Device) -> Tensor<1, Int> {
        token_tensor(&self.positions, 1, device).reshape([-1])
    }

    /// Left padding of each row, of which there is none.
    pub fn padding(&self) -> Vec<usize> {
        vec![0; self.rows]
    }

    /// Tokens to predict there, shape `[n]`.
    pub fn target_tensor(&self, device: &Device) -> Tensor<1, Int> {
        token_tensor(&self.targets, 1, device).reshape([-1])
    }
}

/// Batches in training order, as burn-train's data loader.
#[derive(Debug, Clone)]
pub struct Plan {
    examples: Arc<Vec<Example>>,
    passes: Vec<Pass>,
}

#[derive(Debug, Clone)]
struct Pass {
    examples: Vec<usize>,
    step_tokens: usize,
    ends_step: bool,
}

impl Plan {
    /// The whole run. Epoch `e` is shuffled by a generator seeded with `seed` and `e`, so that a resumed run sees what
    /// an uninterrupted one would.
    pub fn training(examples: Arc<Vec<Example>>, steps: &StepsConfig, seed: u64) -> Self {
        let mut passes = Vec::new();
        let mut done = 0;
        'epochs: for epoch in 0..steps.epochs {
            let mut order: Vec<usize> = (0..examples.len()).collect();
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed.wrapping_add(epoch as u64)));
            for step in order.chunks(steps.batch_size * steps.accumulation) {
                if steps.max_steps > 0 && done == steps.max_steps {
                    break 'epochs;
                }
                passes.extend(step_passes(&examples, step, steps.batch_size));
                done += 1;
            }
        }
        Self { examples, passes }
    }

    /// Every example once, in order; similar lengths share a pass.
    pub fn evaluation(examples: Arc<Vec<Example>>, batch_size: usize) -> Self {
        let mut order: Vec<usize> = (0..examples.len()).collect();
        order.sort_by_key(|&index| examples[index].ids.len());
        let passes =
            order.chunks(batch_size).flat_map(|step| step_passes(&examples, step, batch_size)).collect();
        Self { examples, passes }
    }

    /// Optimizer steps.
    pub fn steps(&self) -> usize {
        self.passes.iter().filter(|pass| pass.ends_step).count()
    }

    /// The same plan from step `first` on.
    #[must_use]
    pub fn from_step(&self, first: usize) -> Self {
        let ends =
            self.passes.iter().enumerate().filter(|(_, pass)| pass.ends_step).map(|(index, _)| index + 1);
        let start = std::iter::once(0).chain(ends).nth(first).unwrap_or(self.passes.len());
        Self { examples: self.examples.clone(), passes: self.passes[start..].to_vec() }
    }

    /// The batches in order.
    pub fn batches(&self) -> impl Iterator<Item = Batch> {
        self.passes.iter().map(|pass| {
            let examples: Vec<&Example> = pass.examples.iter().map(|&index| &self.examples[index]).collect();
            Batch { step_tokens: pass.step_tokens, ends_step: pass.ends_step, ..Batch::new(&examples) }
        })
    }
}

fn step_passes<'a>(
    examples: &'a [Example],
    step: &'a [usize],
    batch_size: usize,
) -> impl Iterator<Item = Pass> + 'a {
    let learnt = |&index: &usize| examples[index].learnt.iter().skip(1).filter(|&&learnt| learnt).count();
    let step_tokens = step.iter().map(learnt).sum();
    let last = step.len().div_ceil(batch_size) - 1;
    step.chunks(batch_size).enumerate().map(move |(index, chunk)| Pass {
        examples: chunk.to_vec(),
        step_tokens,
        ends_step: index == last,
    })
}

impl DataLoader<Batch> for Plan {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(PlanIterator { done: 0, total: self.passes.len(), batches: Box::new(self.batches()) })
    }

    fn num_items(&self) -> usize {
        self.passes.len()
    }

    fn to_device(&self, _: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self { examples: self.examples.clone(), passes: self.passes[start..end].to_vec() })
    }
}

struct PlanIterator<'a> {
    done: usize,
    total: usize,
    batches: Box<dyn Iterator<Item = Batch> + 'a>,
}

impl Iterator for PlanIterator<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.done += 1;
        self.batches.next().map(Ok)
    }
}

impl DataLoaderIterator<Batch> for PlanIterator<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.done.min(self.total), self.total, Some("passes".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(lens: &[usize]) -> Arc<Vec<Example>> {
        let example = |(row, &len): (usize, &usize)| Example {
            ids: (0..len).map(|i| (100 * row + i) as u32).collect(),
            learnt: (0..len).map(|i| i >= len / 2).collect(),
        };
        Arc::new(lens.iter().enumerate().map(example).collect())
    }

    #[test]
    fn positions_predict_the_learnt_tokens() {
        let all = examples(&[4, 2]);
        let batch = Batch::new(&[&all[0], &all[1]]);
        assert_eq!(batch.ids, [0, 1, 2, 100, 0, 0]);
        assert_eq!(batch.positions, [1, 2, 3]);
        assert_eq!(batch.targets, [2, 3, 101]);
    }

    #[test]
    fn every_example_comes_once_an_epoch_and_steps_are_whole() {
        let steps = StepsConfig { epochs: 2, batch_size: 2, accumulation: 2, ..Default::default() };
        let plan = Plan::training(examples(&[4; 9]), &steps, 1);
        assert_eq!(plan.steps(), 6);
        let mut seen: Vec<u32> = plan.batches().flat_map(|batch| batch.ids.into_iter().step_by(3)).collect();
        seen.sort_unstable();
        let twice: Vec<u32> = (0..9).flat_map(|row| [100 * row; 2]).collect();
        assert_eq!(seen, twice);
        let tokens: Vec<(usize, bool)> =
            plan.batches().map(|batch| (batch.step_tokens, batch.ends_step)).collect();
        assert_eq!(tokens[..5], [(8, false), (8, true), (8, false), (8, true), (2, true)]);
        assert_eq!(plan.from_step(4).passes.len(), plan.passes.len() - 7);
    }

    #[test]
    fn a_limit_of_steps_cuts_the_plan() {
        let steps =
            StepsConfig { epochs: 5, batch_size: 1, accumulation: 3, max_steps: 7, ..Default::default() };
        assert_eq!(Plan::training(examples(&[4; 9]), &steps, 1).steps(), 7);
    }
}
