//! A base and its values as one causal LM.

pub(crate) mod cascade;
pub(crate) mod components;
mod fuse;
pub(crate) mod fused_lm;
pub(crate) mod gate;
pub(crate) mod row_weights;
pub(crate) mod unmapped;

pub use cascade::{CascadeLm, CascadeValue, predictions};
pub use components::LogitComponents;
pub use fuse::fuse;
pub use fused_lm::{CumulativeLogits, DecodeBatch, FusedLm, GatedLm, Value};
pub use gate::{Gate, GateCounts, GateLog};
pub use row_weights::RowWeights;
