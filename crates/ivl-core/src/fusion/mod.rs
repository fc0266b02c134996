//! A base and its values as one causal LM.

mod base_lm;
mod bridge;
mod cascade;
mod cascade_value;
mod components;
mod cumulative;
mod decode_batch;
mod fuse;
mod fused_lm;
mod gate;
mod gated_lm;
mod projection;
mod row_weights;
mod unmapped;
mod value_stack;

pub use base_lm::BaseLm;
pub(crate) use bridge::{bridge_cascade, bridge_lm};
pub use cascade::{CascadeLm, predictions};
pub use cascade_value::CascadeValue;
pub use components::{LogitComponents, SelectedComponents};
pub use cumulative::CumulativeLogits;
pub use decode_batch::DecodeBatch;
pub use fuse::fuse;
pub use fused_lm::{FusedLm, Value};
pub use gate::{Gate, GateCounts, GateLog};
pub use gated_lm::GatedLm;
pub use projection::VocabProjection;
pub(crate) use row_weights::put_back;
pub use row_weights::{LogitsAt, RowBytes, RowWeights};
pub(crate) use value_stack::check_alpha;
pub use value_stack::{IndependentValues, RowWeighted, ValueRows, ValueStack};
