//! The one transformer: embed, blocks, norm, head. It knows shapes and wirings, and no model family by name.

mod adapters;
mod ages;
mod attention;
mod block;
mod delta_net;
mod embedding;
mod experts;
mod filter;
mod initialize;
mod layer_inputs;
mod linear;
mod lora;
mod lora_config;
mod mask;
mod mixing;
mod mlp;
mod network;
mod norm;
mod ops;
pub(crate) mod packed;
pub(crate) mod parameters;
mod rope;
mod short_convolution;
mod site;
pub(crate) mod stored_matrix;
mod unpacked_on_demand;

pub use initialize::initialize;
pub use lora_config::{LoraConfig, Projection};
pub use network::{Transformer, rows_at};
pub use ops::{constant, with_gradient};
pub use parameters::NamedParameter;
