//! GGUF files: header, metadata, and where the bytes of each tensor are.
//!
//! The layout, all numbers little-endian: the magic `GGUF`, a version, the counts of tensors and metadata; the metadata, each a
//! key with a typed value; a table of tensors, each a name with dimensions, type and offset; then, aligned, the tensors'
//! bytes. Source: [the specification](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

mod cursor;
mod error;
mod file;
mod header;
mod metadata;
mod metadata_writer;
mod parts;
mod tensor_type;

pub use error::GgufError;
pub use file::{Gguf, GgufTensor};
pub use metadata::{GgufMetadata, MetadataArray, MetadataValue};
pub use metadata_writer::MetadataWriter;
pub use tensor_type::GgufType;
