//! CPU kernels of a transformer: slices in, slices out.
//!
//! Burn's operations serve every device; for decoding on a CPU they leave half of the memory's speed unused. These kernels take
//! their place there. Weights are laid out once ([`Matrix`]) and then read from beginning to end ([`products`]), once for all
//! rows that fit the registers; [`Attention`] reads keys and values where the cache keeps them. What a row gives never depends
//! on the other rows: sums are formed in the same order, to the bit. What logits say about the next token ([`Mass`], [`logprobs`],
//! [`argmax`]) is summed up where they lie.
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

mod adamw;
mod attention;
mod cpu;
mod dense;
mod disjoint;
mod distribution;
mod exp;
mod gate;
mod matrix;
mod memory;
mod norm;
mod objective;
mod pool;
mod probe;
mod product;
mod rope;
mod rows;

pub use adamw::AdamW;
pub use attention::Attention;
pub use dense::{Dense, multiply};
pub use distribution::{Mass, argmax, divergence, logprobs, weights};
pub use gate::Gate;
pub use matrix::{GROUP, Matrix, PackedFormat};
pub use norm::Norm;
pub use objective::{Objective, Penalties};
pub use pool::{parallel, threads};
pub use probe::Probe;
pub use product::products;
pub use rope::rotate;
