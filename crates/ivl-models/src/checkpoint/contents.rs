//! The files of a checkpoint directory that ivl reads and writes.

/// A file of a checkpoint directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Its name; `*` matches any characters.
    pub pattern: &'static str,
    /// Its kind.
    pub kind: FileKind,
}

/// Kind of a file of a checkpoint directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The shape of the model, or rank and targets of its adapters.
    Config,
    /// Tensors, or the index of their files.
    Weights,
    /// The tokenizer and its special tokens.
    Tokenizer,
    /// The chat template.
    Template,
    /// The value card.
    Card,
}

const fn file(pattern: &'static str, kind: FileKind) -> CheckpointFile {
    CheckpointFile { pattern, kind }
}

/// Files that hold the weights where no safetensors file does.
pub const PYTORCH_FILES: [&str; 3] =
    ["pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"];

/// Every file that ivl reads from a checkpoint directory, but [`PYTORCH_FILES`]. A directory with low-rank adapters has `adapter_config.json` and
/// `adapter_model.safetensors` in place of weights.
pub const CHECKPOINT_FILES: [CheckpointFile; 17] = [
    file("config.json", FileKind::Config),
    file("adapter_config.json", FileKind::Config),
    file("model.safetensors", FileKind::Weights),
    file("model-*.safetensors", FileKind::Weights),
    file("adapter_model.safetensors", FileKind::Weights),
    file("model.safetensors.index.json", FileKind::Weights),
    file("tokenizer.json", FileKind::Tokenizer),
    file("tokenizer.model", FileKind::Tokenizer),
    file("vocab.json", FileKind::Tokenizer),
    file("merges.txt", FileKind::Tokenizer),
    file("tokenizer_config.json", FileKind::Tokenizer),
    file("special_tokens_map.json", FileKind::Tokenizer),
    file("added_tokens.json", FileKind::Tokenizer),
    file("generation_config.json", FileKind::Tokenizer),
    file("chat_template.jinja", FileKind::Template),
    file("chat_template.json", FileKind::Template),
    file("ivl.json", FileKind::Card),
];

impl CheckpointFile {
    /// The names of all files of a kind.
    pub fn of_kind(kind: FileKind) -> impl Iterator<Item = &'static str> {
        CHECKPOINT_FILES.iter().filter(move |file| file.kind == kind).map(|file| file.pattern)
    }
}
