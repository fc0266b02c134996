//! How far new positions are in their texts.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use ivl_core::cache::LayerCache;

/// The positions since the beginning of its text for each new position of each row, which is what a recurrent layer has to know of
/// padding and of texts that share a row: `None` in padding, 0 where a state begins.
#[derive(Debug, Clone)]
pub(crate) struct Ages {
    /// Shape `[batch, seq]`.
    pub(super) of_positions: Vec<Option<usize>>,
    pub(super) batch: usize,
    pub(super) seq: usize,
    /// Positions that the layers hold before these.
    held: usize,
}

impl Ages {
    /// Of `seq` positions after those that the layers hold.
    pub(crate) fn new(cache: &LayerCache, seq: usize) -> Self {
        let (held, batch) = (cache.held(), cache.padding().len());
        let new = held..held + seq;
        let row = |row| {
            let segments = cache.segments(row, new.clone());
            new.clone().zip(segments).map(|(position, text)| position.checked_sub(text.start))
        };
        Self { of_positions: (0..batch).flat_map(row).collect(), batch, seq, held }
    }

    /// Of some of the positions.
    pub(super) fn at(&self, positions: Range<usize>) -> Self {
        let rows = self.of_positions.chunks(self.seq.max(1));
        Self {
            of_positions: rows.flat_map(|row| &row[positions.clone()]).copied().collect(),
            batch: self.batch,
            seq: positions.len(),
            held: self.held + positions.start,
        }
    }

    /// Whether the `distance` positions before each one are of its text, or before everything that was read.
    pub(super) fn reach_back(&self, distance: usize) -> bool {
        let reaches = |(index, age): (usize, &Option<usize>)| match age {
            Some(age) => *age >= distance.min(self.held + index % self.seq),
            None => false,
        };
        self.of_positions.iter().enumerate().all(reaches)
    }

    /// Whether the texts go on over all positions: none is padding, and none begins after the first.
    pub(super) fn go_on(&self) -> bool {
        let rows = self.of_positions.chunks(self.seq.max(1));
        rows.flat_map(|row| row.iter().enumerate().map(move |(index, age)| (index, age, row[0])))
            .all(|(index, age, first)| age.is_some() && *age == first.map(|first| first + index))
    }

    /// The place of the beginning of a position's text, if it is no padding; texts before these positions begin below 0.
    fn start(&self, row: usize, index: usize) -> Option<isize> {
        self.of_positions[row * self.seq + index].map(|age| index as isize - age as isize)
    }

    /// 1 where a position fulfils a condition on its age, else 0; shape `[batch, seq]`.
    pub(super) fn mask(&self, holds: impl Fn(usize, Option<usize>) -> bool, device: &Device) -> Tensor<2> {
        let number =
            |(place, &age): (usize, &Option<usize>)| f32::from(u8::from(holds(place % self.seq, age)));
        let numbers: Vec<f32> = self.of_positions.iter().enumerate().map(number).collect();
        Tensor::from_data(TensorData::new(numbers, [self.batch, self.seq]), device)
    }

    /// 1 for two positions of one text of which the second is not the later one, else 0; shape `[batch or 1, 1, seq, seq]`.
    pub(super) fn pairs(&self, device: &Device) -> Tensor<4> {
        let alike = self.go_on();
        let rows = if alike { 1 } else { self.batch };
        let mut numbers = Vec::with_capacity(rows * self.seq * self.seq);
        for row in 0..rows {
            for later in 0..self.seq {
                let start = self.start(row, later);
                let sees = |earlier: usize| {
                    earlier <= later && (alike || start.is_some() && start == self.start(row, earlier))
                };
                numbers.extend((0..self.seq).map(|earlier| f32::from(u8::from(sees(earlier)))));
            }
        }
        Tensor::from_data(TensorData::new(numbers, [rows, 1, self.seq, self.seq]), device)
    }
}
