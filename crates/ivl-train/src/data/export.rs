//! The examples of a run and their order as safetensors, for trainers outside of ivl.
//!
//! ```text
//! train-00000.safetensors    ids (I32) and loss_mask (U8) of consecutive examples, offsets (I64) of the examples in them
//! epoch-00000.safetensors    examples (I32) in the order of an epoch, rows (I64): offsets of the rows in it,
//!                            micro_batches (I64): offsets of the micro-batches in the rows
//! ```
//!
//! Offsets have one number more than there are parts: part `i` is `offsets[i]..offsets[i + 1]`. The files can be mapped
//! into memory.

use std::path::Path;

use ivl_models::{NumberList, write_number_lists};
use serde::Serialize;

use crate::Error;
use crate::data::examples::Examples;
use crate::data::plan::Plan;

/// The layout of the files.
const FORMAT: &str = "ivl-data-1";

/// Tokens of a file, which is what the export holds in memory at once.
const SHARD_TOKENS: usize = 1 << 24;

/// A file of consecutive examples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExampleShard {
    /// Its name.
    pub file: String,
    /// Examples.
    pub examples: usize,
    /// Tokens.
    pub tokens: usize,
    /// Trained tokens that something precedes.
    pub trained: usize,
}

/// A file with the order of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EpochOrder {
    /// Its name.
    pub file: String,
    /// Forward passes.
    pub micro_batches: usize,
    /// Optimizer steps.
    pub steps: usize,
}

impl Examples {
    /// Writes all examples into files of `dir`, whose names begin with `name`.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be written, or tokens that cannot be read.
    pub fn export(&self, name: &str, dir: &Path) -> Result<Vec<ExampleShard>, Error> {
        let mut shards = Vec::new();
        let mut next = 0;
        while next < self.len() {
            let (mut ids, mut loss_mask, mut offsets): (Vec<i32>, Vec<u8>, Vec<i64>) =
                (Vec::new(), Vec::new(), vec![0]);
            let (first, mut trained) = (next, 0);
            while next < self.len() && (next == first || ids.len() < SHARD_TOKENS) {
                let example = self.get(next)?;
                trained += example.trained_tokens();
                ids.extend(example.ids.iter().map(|&id| id as i32));
                loss_mask.extend(example.loss_mask.iter().map(|&trained| u8::from(trained)));
                offsets.push(ids.len() as i64);
                next += 1;
            }
            let file = format!("{name}-{:05}.safetensors", shards.len());
            let tokens = ids.len();
            let lists = [
                ("ids", NumberList::I32(ids)),
                ("loss_mask", NumberList::U8(loss_mask)),
                ("offsets", NumberList::I64(offsets)),
            ];
            write_number_lists(&dir.join(&file), FORMAT, lists)?;
            shards.push(ExampleShard { file, examples: next - first, tokens, trained });
        }
        Ok(shards)
    }
}

impl Plan {
    /// Writes the order of every epoch into files of `dir`.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be written.
    pub fn export(&self, dir: &Path) -> Result<Vec<EpochOrder>, Error> {
        let mut orders = Vec::new();
        for (epoch, micro_batches) in self.epochs_of_micro_batches().enumerate() {
            let mut examples: Vec<i32> = Vec::new();
            let (mut rows, mut ends): (Vec<i64>, Vec<i64>) = (vec![0], vec![0]);
            for micro_batch in &micro_batches {
                for row in micro_batch {
                    examples.extend(row.iter().map(|&example| example as i32));
                    rows.push(examples.len() as i64);
                }
                ends.push(rows.len() as i64 - 1);
            }
            let file = format!("epoch-{epoch:05}.safetensors");
            let lists = [
                ("examples", NumberList::I32(examples)),
                ("rows", NumberList::I64(rows)),
                ("micro_batches", NumberList::I64(ends)),
            ];
            write_number_lists(&dir.join(&file), FORMAT, lists)?;
            let steps = micro_batches.len().div_ceil(self.accumulation());
            orders.push(EpochOrder { file, micro_batches: micro_batches.len(), steps });
        }
        Ok(orders)
    }
}
