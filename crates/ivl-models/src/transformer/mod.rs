//! The one transformer: embed, blocks, norm, head. It knows shapes and wirings, and no model family by name.

mod adapters;
mod attention;
mod block;
mod embedding;
mod experts;
mod initialize;
mod linear;
mod lora;
mod lora_config;
mod mask;
mod mlp;
mod network;
mod norm;
mod ops;
mod packed;
pub(crate) mod parameters;
mod rope;

pub use initialize::initialize;
pub use lora_config::{LoraConfig, Projection};
pub use network::{Transformer, rows_at};
pub use ops::{constant, with_gradient};
pub use parameters::NamedParameter;
