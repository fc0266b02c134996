//! The order of training, fixed before it begins: which examples share a micro-batch, and which micro-batches share a step.
//!
//! It is a function of the seed, the settings and the lengths of the examples only, and is computed one epoch at a
//! time: a resumed run sees what an uninterrupted one would. The two examples of a pair are always in one micro-batch, the
//! chosen answer in the row before the rejected one; `steps.batch_size` counts pairs.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::Error;
use crate::config::StepsConfig;
use crate::config::data::{Batching, DataConfig};
use crate::data::batch::Batch;
use crate::data::example::Example;
use crate::data::examples::Examples;
use crate::data::pack::best_fit_decreasing;

/// Batches among which lengths are sorted, in [`Batching::ByLength`]: enough for batches of one length, and few enough
/// for an order that is still random.
const SORTED_TOGETHER: usize = 50;

/// Micro-batches in training order.
#[derive(Debug, Clone)]
pub struct Plan {
    examples: Arc<Examples>,
    order: Order,
    /// Micro-batches of each epoch.
    epochs: Arc<[usize]>,
    /// Those of all micro-batches, counted over epochs, that are part of this plan.
    micro_batches: Range<usize>,
}

#[derive(Debug, Clone)]
struct Order {
    /// None for every example once, the longest first.
    shuffled: Option<Shuffled>,
    batch_size: usize,
    accumulation: usize,
}

#[derive(Debug, Clone)]
struct Shuffled {
    seed: u64,
    batching: Batching,
    /// Tokens that a row of packed examples may hold.
    capacity: usize,
}

/// Examples of one row, rows of one micro-batch.
pub(crate) type MicroBatch = Vec<Vec<usize>>;

impl Plan {
    /// The whole run.
    ///
    /// In an epoch a source of `n` rows and weight `w` gives `w * n` examples (rounded so that the sum over epochs is
    /// never off by one). They are drawn without putting back: a row is not seen again before all others of its source
    /// were. The draws of all sources are shuffled together, and then share rows and micro-batches by `data.batching`.
    pub fn training(examples: Arc<Examples>, steps: &StepsConfig, data: &DataConfig, seed: u64) -> Self {
        let longest = examples.shapes().iter().map(|shape| shape.tokens as usize).max().unwrap_or(0);
        let limit = examples.max_length().unwrap_or(data.max_length);
        // The last token of an example is not read.
        let capacity = limit.max(longest).saturating_sub(1);
        let shuffled = Some(Shuffled { seed, batching: data.batching, capacity });
        let order = Order { shuffled, batch_size: steps.batch_size, accumulation: steps.accumulation };
        let (mut epochs, mut done, mut micro_batches) = (Vec::new(), 0, 0);
        for epoch in 0..steps.epochs {
            if steps.max_steps > 0 && done >= steps.max_steps {
                break;
            }
            let in_epoch = order.epoch(&examples, epoch).len();
            let left = if steps.max_steps > 0 { steps.max_steps - done } else { usize::MAX };
            micro_batches += in_epoch.min(left.saturating_mul(steps.accumulation));
            done += in_epoch.div_ceil(steps.accumulation);
            epochs.push(in_epoch);
        }
        Self { examples, order, epochs: epochs.into(), micro_batches: 0..micro_batches }
    }

    /// Every example once; similar lengths share a micro-batch.
    pub fn evaluation(examples: Arc<Examples>, batch_size: usize) -> Self {
        let order = Order { shuffled: None, batch_size, accumulation: 1 };
        let micro_batches = order.epoch(&examples, 0).len();
        Self { examples, order, epochs: [micro_batches].into(), micro_batches: 0..micro_batches }
    }

    /// Optimizer steps.
    pub fn steps(&self) -> usize {
        self.steps_before(self.micro_batches.end) - self.steps_before(self.micro_batches.start)
    }

    /// The same plan from step `first` on.
    #[must_use]
    pub fn from_step(&self, first: usize) -> Self {
        let mut step = self.steps_before(self.micro_batches.start) + first;
        let mut start = 0;
        for &micro_batches in &*self.epochs {
            let steps = micro_batches.div_ceil(self.order.accumulation);
            if step < steps {
                start += step * self.order.accumulation;
                break;
            }
            (step, start) = (step - steps, start + micro_batches);
        }
        let start = start.clamp(self.micro_batches.start, self.micro_batches.end);
        Self { micro_batches: start..self.micro_batches.end, ..self.clone() }
    }

    /// Steps that have ended before a micro-batch.
    fn steps_before(&self, mut micro_batch: usize) -> usize {
        let mut steps = 0;
        for &micro_batches in &*self.epochs {
            if micro_batch < micro_batches {
                return steps + micro_batch / self.order.accumulation;
            }
            (micro_batch, steps) =
                (micro_batch - micro_batches, steps + micro_batches.div_ceil(self.order.accumulation));
        }
        steps
    }

    /// The batches in order. Each is an error if its examples cannot be read.
    pub fn batches(&self) -> impl Iterator<Item = Result<Batch, Error>> {
        let mut start = 0;
        let spans = self.epochs.iter().enumerate().map(move |(epoch, &micro_batches)| {
            let span = (epoch, start);
            start += micro_batches;
            (span, micro_batches)
        });
        spans.flat_map(move |((epoch, start), micro_batches)| {
            let inside = |micro_batch: usize| micro_batch.clamp(start, start + micro_batches) - start;
            let range = inside(self.micro_batches.start)..inside(self.micro_batches.end);
            let all = if range.is_empty() { Vec::new() } else { self.order.epoch(&self.examples, epoch) };
            range.map(move |micro_batch| self.batch(&all, micro_batch))
        })
    }

    fn batch(&self, epoch: &[MicroBatch], micro_batch: usize) -> Result<Batch, Error> {
        let row = |row: &Vec<usize>| row.iter().map(|&index| self.examples.get(index)).collect();
        let rows: Vec<Vec<Example>> = epoch[micro_batch].iter().map(row).collect::<Result<_, Error>>()?;
        let rows: Vec<Vec<&Example>> = rows.iter().map(|row| row.iter().collect()).collect();
        let first = micro_batch - micro_batch % self.order.accumulation;
        let end = (first + self.order.accumulation).min(epoch.len());
        let shapes = self.examples.shapes();
        let trained =
            epoch[first..end].iter().flatten().flatten().map(|&index| shapes[index].trained as usize);
        Ok(Batch {
            step_tokens: trained.sum(),
            step_examples: epoch[first..end].iter().flatten().map(Vec::len).sum(),
            ends_step: micro_batch + 1 == end,
            examples: epoch[micro_batch].concat(),
            ..Batch::packed(&rows)
        })
    }

    /// The micro-batches of this plan, epoch by epoch; an epoch is computed when it is reached.
    pub(crate) fn epochs_of_micro_batches(&self) -> impl Iterator<Item = Vec<MicroBatch>> {
        let mut start = 0;
        self.epochs.iter().enumerate().map(move |(epoch, &micro_batches)| {
            let inside = |micro_batch: usize| micro_batch.clamp(start, start + micro_batches) - start;
            let range = inside(self.micro_batches.start)..inside(self.micro_batches.end);
            start += micro_batches;
            self.order.epoch(&self.examples, epoch)[range].to_vec()
        })
    }

    /// Micro-batches of a step; the last step of an epoch may have fewer.
    pub(crate) fn accumulation(&self) -> usize {
        self.order.accumulation
    }

    /// Tokens that are read in the first epoch, and places for tokens in its batches, padding included.
    pub fn filling(&self) -> Filling {
        let epoch = self.order.epoch(&self.examples, 0);
        let read = |index: &usize| u64::from(self.examples.shapes()[*index].tokens) - 1;
        let mut filling = Filling { micro_batches: epoch.len(), ..Filling::default() };
        for micro_batch in &epoch {
            let rows: Vec<u64> = micro_batch.iter().map(|row| row.iter().map(read).sum()).collect();
            filling.rows += rows.len();
            filling.tokens += rows.iter().sum::<u64>();
            filling.places += rows.len() as u64 * rows.iter().max().copied().unwrap_or(0);
        }
        filling
    }
}

/// How full the batches of an epoch are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Filling {
    /// Micro-batches.
    pub micro_batches: usize,
    /// Rows of all micro-batches.
    pub rows: usize,
    /// Tokens that are read.
    pub tokens: u64,
    /// Places for tokens: rows times the longest row, for each micro-batch.
    pub places: u64,
}

impl Order {
    /// The micro-batches of an epoch, in examples.
    fn epoch(&self, examples: &Examples, epoch: usize) -> Vec<MicroBatch> {
        let micro_batches = self.rows_of_epoch(examples, epoch);
        if !examples.are_paired() {
            return micro_batches;
        }
        let sides = |pair: usize| [vec![2 * pair], vec![2 * pair + 1]];
        let pairs = |micro_batch: MicroBatch| micro_batch.into_iter().flatten().flat_map(sides).collect();
        micro_batches.into_iter().map(pairs).collect()
    }

    /// The micro-batches of an epoch, in rows of the data: examples, or pairs of them.
    fn rows_of_epoch(&self, examples: &Examples, epoch: usize) -> Vec<MicroBatch> {
        let per_row = examples.per_row();
        let len = |index: usize| {
            let shapes = &examples.shapes()[index * per_row..(index + 1) * per_row];
            shapes.iter().map(|shape| shape.tokens as usize).max().unwrap_or(0)
        };
        let alone = |indices: &[usize]| indices.iter().map(|&index| vec![index]).collect::<MicroBatch>();
        let Some(Shuffled { seed, batching, capacity }) = &self.shuffled else {
            let mut all: Vec<usize> = (0..examples.len() / per_row).collect();
            all.sort_by_key(|&index| Reverse(len(index)));
            return all.chunks(self.batch_size).map(alone).collect();
        };
        let mut rng = random(*seed, epoch as u64);
        let mut drawn = draws(examples, *seed, epoch);
        drawn.shuffle(&mut rng);
        match batching {
            Batching::Random => drawn.chunks(self.batch_size).map(alone).collect(),
            Batching::ByLength => {
                drawn
                    .chunks_mut(SORTED_TOGETHER * self.batch_size)
                    .for_each(|chunk| chunk.sort_by_key(|&index| Reverse(len(index))));
                let mut micro_batches: Vec<MicroBatch> = drawn.chunks(self.batch_size).map(alone).collect();
                micro_batches.shuffle(&mut rng);
                micro_batches
            }
            Batching::Packed => {
                let lens: Vec<usize> = drawn.iter().map(|&index| len(index) - 1).collect();
                let mut rows: MicroBatch = best_fit_decreasing(&lens, *capacity);
                rows.iter_mut().flatten().for_each(|item| *item = drawn[*item]);
                rows.shuffle(&mut rng);
                rows.chunks(self.batch_size).map(<[_]>::to_vec).collect()
            }
        }
    }
}

/// The rows that an epoch takes of every source.
fn draws(examples: &Examples, seed: u64, epoch: usize) -> Vec<usize> {
    let mut drawn = Vec::new();
    for (source, (range, weight)) in examples.sources().iter().enumerate() {
        let rows = range.len();
        let until = |epochs: usize| (epochs as f64 * weight * rows as f64).round() as usize;
        let (mut next, end) = (until(epoch), until(epoch + 1));
        while next < end {
            // The source is gone through again and again, each time in another order.
            let mut order: Vec<usize> = range.clone().collect();
            let round = next / rows;
            order.shuffle(&mut random(seed, ((source as u64 + 1) << 32) + round as u64));
            let taken = &order[next % rows..(end - round * rows).min(rows)];
            drawn.extend_from_slice(taken);
            next += taken.len();
        }
    }
    drawn
}

/// Independent generators of one seed.
fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}
