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

use std::collections::HashMap;
use std::path::Path;

use ivl_models::{FileError, write_whole};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Serialize;

use crate::Error;
use crate::data::examples::Examples;
use crate::data::plan::Plan;

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
            let tensors = [
                ("ids", Dtype::I32, ids.len(), bytes_of(&ids, |id| id.to_le_bytes())),
                ("loss_mask", Dtype::U8, loss_mask.len(), loss_mask),
                ("offsets", Dtype::I64, offsets.len(), bytes_of(&offsets, |at| at.to_le_bytes())),
            ];
            write(&dir.join(&file), &tensors)?;
            shards.push(ExampleShard { file, examples: next - first, tokens: ids.len(), trained });
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
            let tensors = [
                ("examples", Dtype::I32, examples.len(), bytes_of(&examples, |at| at.to_le_bytes())),
                ("rows", Dtype::I64, rows.len(), bytes_of(&rows, |at| at.to_le_bytes())),
                ("micro_batches", Dtype::I64, ends.len(), bytes_of(&ends, |at| at.to_le_bytes())),
            ];
            write(&dir.join(&file), &tensors)?;
            let steps = micro_batches.len().div_ceil(self.accumulation());
            orders.push(EpochOrder { file, micro_batches: micro_batches.len(), steps });
        }
        Ok(orders)
    }
}

fn bytes_of<T, const N: usize>(numbers: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    numbers.iter().flat_map(bytes).collect()
}

/// Writes lists of numbers as one file, whole or not at all.
fn write(path: &Path, tensors: &[(&str, Dtype, usize, Vec<u8>)]) -> Result<(), Error> {
    let invalid = |error: safetensors::SafeTensorError| {
        FileError::io("write", path)(match error {
            safetensors::SafeTensorError::IoError(error) => error,
            other => std::io::Error::other(other),
        })
    };
    let view = |(name, dtype, len, bytes)| -> Result<_, FileError> {
        let (name, dtype, len, bytes): (&str, Dtype, usize, &Vec<u8>) = (name, dtype, len, bytes);
        Ok((name, TensorView::new(dtype, vec![len], bytes).map_err(invalid)?))
    };
    let views = tensors.iter().map(|(name, dtype, len, bytes)| view((*name, *dtype, *len, bytes)));
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    let metadata = HashMap::from([("format".to_owned(), "ivl-data-1".to_owned())]);
    let written = write_whole(path, |partial| {
        safetensors::serialize_to_file(views, Some(metadata), partial).map_err(std::io::Error::other)
    });
    Ok(written?)
}
