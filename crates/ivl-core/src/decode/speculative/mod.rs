//! Speculative decoding: a cheap draft guesses some tokens ahead, the target checks them in one pass.
//!
//! The target is a base with values, the draft usually a smaller base *with the same values*: what the values say about
//! the drafted tokens is computed while drafting and reused in the check, so that they read every token once.
//!
//! Exact, and more than in distribution: target and draft choose with the same numbers (a [`Sampler`](crate::decode::Sampler) is a
//! race whose times are fixed by seed, step and token), and a drafted token is accepted if the target chooses it too. The
//! text is what the target chooses at every place, as [`generate`](crate::decode::generate) does: the same tokens for the
//! same seed, whatever the draft is, under every setting of the sampler. This is drafter-invariant speculative decoding
//! ([Daliri et al. 2024](https://arxiv.org/abs/2408.07978)); its acceptance rate is at least `(1 - d) / (1 + d)`, with
//! `d` the total variation between the two processed distributions, where the rejection sampling of
//! [Leviathan et al. 2023](https://arxiv.org/abs/2211.17192) has `1 - d` and writes other tokens than plain decoding.

mod block;
mod draft;
mod generation;
mod guesses;
mod lookup;
mod pace;
mod target;
mod totals;

pub use block::{DraftBlock, Speculation};
pub use draft::Draft;
pub use generation::{SpeculativeGeneration, speculate};
pub use pace::{Pace, SpeculativeRound};
pub use totals::SpeculationTotals;
