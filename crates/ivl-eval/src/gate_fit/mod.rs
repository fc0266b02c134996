//! Fits the [`LearnedGate`](ivl_core::fusion::LearnedGate) of a value to demonstrations.
//!
//! [`GateObservations::read`] reads demonstrations once, with a base and the value. Of each token of the answers it keeps what the
//! gate reads there, and the losses at a grid of constants in the gate's place. [`GateObservations::fit`] then minimises over nine
//! numbers, without a model.

mod fit;
mod observations;

pub use observations::GateObservations;
