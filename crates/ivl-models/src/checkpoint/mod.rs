//! A checkpoint, a directory in Hugging Face layout or a GGUF file: opening, loading, saving.

mod adapter;
mod contents;
mod general_metadata;
mod gguf_directory;
mod layer_bytes;
mod layout;
mod load;
mod notes;
mod open;
mod other_format;
mod quantized_tensors;
mod sampling_defaults;
mod save;
mod save_gguf;
mod saved_tensors;
mod shard_index;
mod source;
mod stored_tensor;
mod tensor_entry;
mod tensor_files;
mod tokenizer_files;
mod weight_files;

pub use adapter::{Adapters, save_adapters};
pub use contents::{CHECKPOINT_FILES, CheckpointFile, FileKind, PYTORCH_FILES};
pub use layer_bytes::LayerBytes;
pub use load::{LoadOptions, Progress};
pub use notes::Note;
pub use open::Checkpoint;
pub use sampling_defaults::SamplingDefaults;
pub use save::save;
pub use tensor_files::TensorFiles;
pub use weight_files::weight_files;
