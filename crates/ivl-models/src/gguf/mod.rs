//! GGUF files: header and metadata, where the bytes of each tensor are, and how the architectures are written.
//!
//! The layout, all numbers little-endian: the magic `GGUF`, a version, the counts of tensors and metadata; the metadata, each a
//! key with a typed value; a table of tensors, each a name with dimensions, type and offset; then, aligned, the tensors'
//! bytes. Source: [the specification](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

mod architecture;
mod architectures;
mod config_metadata;
mod cursor;
mod error;
mod file;
mod further_dense;
mod gemma4;
mod header;
mod hyperparameters;
mod metadata;
mod metadata_writer;
mod mixtures;
mod parts;
mod recurrent;
mod rope_scaling;
mod tensor_names;
mod tensor_type;
mod writer;

pub(crate) use architecture::Architecture;
pub use error::GgufError;
pub use file::{Gguf, GgufTensor};
pub(crate) use header::TensorEntry;
pub use metadata::{GgufMetadata, MetadataArray, MetadataValue};
pub use metadata_writer::MetadataWriter;
pub use parts::PartName;
pub(crate) use parts::part_files;
pub use tensor_type::GgufType;
pub use writer::{NewTensor, write_gguf};
