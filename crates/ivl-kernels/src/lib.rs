//! CPU kernels of a transformer: slices in, slices out.
//!
//! Burn's operations serve every device. For decoding on a CPU they leave half of the memory's speed unused, and these kernels
//! take their place. Weights are laid out once ([`Matrix`]) and then read from beginning to end ([`products`]), once for all
//! rows that fit the registers. [`GroupedQueryAttention`] reads keys and values where the cache keeps them. [`SoftmaxStats`],
//! [`logprobs`] and [`argmax`] read logits where they lie. The result of a row never depends on the other rows: its sums have
//! the same order, to the bit.
//!
//! # Example: a product
//!
//! ```
//! use ivl_kernels::{PackedFormat, Matrix, products};
//!
//! let weights = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
//! let matrix = Matrix::new(PackedFormat::F32, [3, 2], |input, output| weights[input][output]);
//! let [y] = products(&[1.0, 0.0, -1.0], [&matrix]);
//! assert_eq!(y, [-4.0, -4.0]);
//! ```
#![expect(clippy::inline_always, reason = "a kernel is compiled for a level only where it is inlined")]
#![expect(
    clippy::needless_range_loop,
    reason = "plain loops over lanes are what becomes vector instructions"
)]

mod activation;
mod adamw;
mod attention;
mod attention_append;
mod attention_codes;
mod attention_gradient;
mod attention_head;
mod attention_products;
mod attention_scratch;
mod blocks;
mod cached_vectors;
mod convolution;
mod cpu;
mod delta_rule;
mod dense;
mod disjoint;
mod distillation;
mod exp;
mod integer;
mod matrix;
mod norm;
mod objective;
mod paged_buffer;
mod parallel_rows;
mod pool;
mod probe;
mod product;
mod rope;
mod softmax;
mod upcoming;

pub use activation::ActivationFn;
pub use adamw::AdamW;
pub use attention::GroupedQueryAttention;
pub use blocks::{BlockError, BlockFormat};
pub use cached_vectors::{CacheNumber, CodedVectors, KeysAndValues};
pub use convolution::CausalConvolution;
pub use delta_rule::{DeltaInputs, GatedDeltaRule};
pub use dense::{DenseMatrix, multiply};
pub use distillation::{Distillation, TeacherRows};
pub use matrix::{Matrix, PackedFormat};
pub use norm::Normalization;
pub use objective::{Objective, Penalties};
pub use pool::{parallel, threads};
pub use probe::MemoryProbe;
pub use product::{expect, products, products_of};
pub use rope::{RotaryEmbedding, RotaryPairing};
pub use softmax::{SoftmaxStats, argmax, kl_divergence, logprobs, softmax_weights};
