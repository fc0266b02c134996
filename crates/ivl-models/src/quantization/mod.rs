//! Quantised checkpoints: codes of few bits, and scales that groups of codes share.
//!
//! ```text
//! w[o, i] = (code[o, i] - zero[g]) * scale[g]        g: the group of output o and input i
//! ```
//!
//! `quantization_config` in `config.json` names the method. Each method has a file, which says in which tensors it keeps codes,
//! zero points and scales, and in which order; [`matrix`] has the arithmetic. Numbers are computed in f32 while they are loaded, and
//! rounded to the type of the network.

mod awq;
mod compressed_tensors;
mod config;
mod float8;
mod fp8;
mod gptq;
mod grid;
mod matrix;
mod module_patterns;
mod mxfp4;
mod packed_integers;
mod parts;
mod strategy;

pub use config::Quantization;
pub(crate) use matrix::{QuantizedLayout, QuantizedMatrix};
pub(crate) use parts::{PartTensor, Parts, QuantizedWeight};
