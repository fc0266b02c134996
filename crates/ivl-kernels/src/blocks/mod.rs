//! The block formats of GGUF files: what a block holds, and what numbers it means.
//!
//! A block is a few bytes that hold [`BlockFormat::elements`] neighbouring weights of one output. All formats say the same in the
//! end: each weight is `d * scale * number - d_min * min`, where `number`, `scale` and `min` are small integers and `d` and
//! `d_min` belong to the block. The formats were defined by ggml (`ggml-common.h`, `ggml-quants.c`); `tests/fixtures/blocks.py`
//! has the numbers that its Python package `gguf` reads from the same bytes.

mod codec;
mod fit;
mod format;
mod k_blocks;
mod quantize;
mod raw_block;
mod simple_blocks;

pub use format::{BlockError, BlockFormat};
pub(crate) use raw_block::{RAW_GROUP, RawBlock};
pub(crate) use simple_blocks::{IQ4_NUMBERS, MXFP4_NUMBERS};
