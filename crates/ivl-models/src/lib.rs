//! A checkpoint directory in, a causal LM out: one transformer for every family, driven by configuration.
//!
//! A family is data: how its `config.json` reads and what its tensors are called ([`families`]). The transformer
//! ([`transformer`]) knows shapes and wirings, and no family by name.
//!
//! # Example: load and generate
//!
//! ```no_run
//! use burn::tensor::{DType, Device};
//! use ivl_core::decode::{GenerateConfig, generate};
//! use ivl_models::Checkpoint;
//!
//! let checkpoint = Checkpoint::open("path/to/checkpoint".as_ref())?;
//! let (lm, tokenizer) = checkpoint.load_lm(&Device::default(), DType::F32)?;
//! let prompt = tokenizer.encode("Once upon a time", true)?;
//! for step in generate(&lm, &[prompt], &GenerateConfig::default())? {
//!     print!("{}", step?.text);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod base_card;
mod cascade_net;
mod checkpoint;
pub mod config;
mod connection;
mod device_map;
mod error;
pub mod families;
mod fields;
mod files;
mod gate_card;
pub mod gguf;
mod guard;
mod mapped_file;
mod number_lists;
mod pytorch;
mod quantization;
mod template;
mod tokenizer;
pub mod transformer;
mod transformer_lm;
mod unknown_field;
mod value_card;
mod weights;

pub use base_card::BaseCard;
pub use cascade_net::{CascadeInput, CascadeNet};
pub use checkpoint::{
    Adapters, CHECKPOINT_FILES, Checkpoint, CheckpointFile, FileKind, LayerBytes, LoadOptions, Note,
    PYTORCH_FILES, Progress, SamplingDefaults, TensorFiles, save, save_adapters, weight_files,
};
pub use config::ModelConfig;
pub use connection::Connection;
pub use device_map::{DeviceMap, DevicePart};
pub use error::{Error, WeightReport};
pub use fields::Fields;
pub use files::{FileError, read_text, write_bytes, write_whole};
pub use gate_card::{GateCard, GateLosses};
pub use guard::guarded;
pub use ivl_kernels::PackedFormat;
pub use number_lists::{NumberList, write_number_lists};
pub use pytorch::PytorchError;
pub use quantization::Quantization;
pub use template::{
    ChatError, ChatTemplate, Message, Pattern, PatternError, PatternFlags, RenderOptions, RowTemplate,
    RowTemplateError, SpanFinder, Spoken, TemplateChoice, Turn, fused_end_tokens,
};
pub use tokenizer::{Encoded, GgufTexts, GgufTokenizerError, SpecialTokens, Tokenizer, TokenizerError};
pub use transformer::{NamedParameter, Transformer, initialize};
pub use transformer_lm::TransformerLm;
pub use unknown_field::{UnknownField, nearest};
pub use value_card::{EvalCard, TeacherCard, TransferBase, TransferCard, ValueCard};
pub use weights::Weights;
