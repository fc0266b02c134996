//! A checkpoint directory in, a causal LM out: one transformer for every family, driven by configuration.
//!
//! A family is data: how its `config.json` reads and what its tensors are called ([`families`]). The transformer
//! ([`transformer`]) knows shapes and wirings, and no family by name.
//!
//! # Example: load and generate
//!
//! ```no_run
//! use burn::tensor::{DType, Device};
//! use ivl_core::{GenerateConfig, generate};
//! use ivl_models::Checkpoint;
//!
//! let checkpoint = Checkpoint::open("path/to/checkpoint".as_ref())?;
//! let (lm, tokenizer) = checkpoint.load_lm(&Device::default(), DType::F32, &mut |_| ())?;
//! let prompt = tokenizer.encode("Once upon a time", true)?;
//! for step in generate(&lm, &[prompt], &GenerateConfig::default())? {
//!     print!("{}", step?.text);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapter;
mod cascade_net;
mod chat;
mod chat_error;
mod chat_spans;
mod checkpoint;
pub mod config;
mod error;
pub mod families;
mod fields;
mod files;
mod jinja;
mod parameters;
mod pattern;
mod python;
mod retokenize;
mod roles;
mod row_template;
mod tensor_files;

mod tokenizer;
pub mod transformer;
mod transformer_lm;
mod unknown_field;
mod weights;

pub use adapter::{Adapters, save_adapters};
pub use cascade_net::{CascadeInput, CascadeNet};
pub use chat::*;
pub use chat_error::ChatError;
pub use chat_spans::{Spoken, Turn};
pub use checkpoint::{Checkpoint, Progress, save};
pub use config::ModelConfig;
pub use error::{Error, WeightReport};
pub use fields::Fields;
pub use files::{write_bytes, write_whole};
pub use ivl_kernels::Format;
pub use parameters::{NamedParameter, initialize, initialize_as, initialize_packed};
pub use pattern::{Pattern, PatternError, PatternFlags};
pub use row_template::{RowTemplate, RowTemplateError};
pub use tensor_files::TensorFiles;
pub use tokenizer::*;
pub use transformer::Transformer;
pub use transformer_lm::TransformerLm;
pub use unknown_field::{UnknownField, nearest};
pub use weights::{Rows, Rule, WeightMap};
