//! The errors of this crate.

use std::fmt;
use std::path::PathBuf;

use crate::gguf::GgufError;
use crate::pytorch::PytorchError;
use crate::{ChatError, FileError, TokenizerError};

/// Errors between a checkpoint directory and a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A directory is not a checkpoint.
    #[error("`{}` has no {expected}; expected a Hugging Face checkpoint directory (config.json, model.safetensors or \
             model.safetensors.index.json, tokenizer.json)", dir.display())]
    NotACheckpoint {
        /// The directory.
        dir: PathBuf,
        /// The file that is missing.
        expected: &'static str,
    },
    /// A directory holds the model in another format.
    #[error("`{}` has no {expected} but holds `{found}`; {advice}", dir.display())]
    OtherFormat {
        /// The directory.
        dir: PathBuf,
        /// The file that is missing.
        expected: &'static str,
        /// Its actual content.
        found: String,
        /// The remedy.
        advice: &'static str,
    },
    /// A directory holds several GGUF models.
    #[error("`{}` holds several GGUF models, {names}; expected one: name the file", dir.display())]
    SeveralModels {
        /// The directory.
        dir: PathBuf,
        /// Their files.
        names: String,
    },
    /// A required field of `config.json` is missing.
    #[error("`{}` has no field `{field}`", path.display())]
    MissingField {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: String,
    },
    /// A field whose value ivl does not know or cannot use.
    #[error("field `{field}` of `{}` is {got}, expected {expected}", path.display())]
    InvalidField {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: String,
        /// The allowed values.
        expected: String,
        /// The value in the file.
        got: String,
    },
    /// An architecture that is not in the table of families.
    #[error("`{}` has {field} `{got}`, which ivl does not support; it supports {known}", path.display())]
    UnknownArchitecture {
        /// Which file.
        path: PathBuf,
        /// The field that says it.
        field: &'static str,
        /// The model type.
        got: String,
        /// All that are known.
        known: String,
    },
    /// An architecture that needs what ivl does not have.
    #[error("`{}` has model_type `{got}`, which needs {missing}; ivl does not have that. Use a model of another family", path.display())]
    UnsupportedArchitecture {
        /// Which file.
        path: PathBuf,
        /// The model type.
        got: String,
        /// What it needs.
        missing: &'static str,
    },
    /// A device map that does not fit a model.
    #[error("the device map begins a part at block {first}, expected {expected}")]
    DeviceMap {
        /// The first block of the part.
        first: usize,
        /// The allowed blocks.
        expected: String,
    },
    /// A safetensors file that cannot be trusted: cut short, or with a broken header.
    #[error("`{}` ({size} bytes) is not a whole safetensors file; download or copy it again", path.display())]
    Safetensors {
        /// Which file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The reason.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A file of PyTorch that is cut short, or holds something else than tensors.
    #[error("cannot read the weights in `{}`", path.display())]
    Pytorch {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: PytorchError,
    },
    /// A GGUF file that cannot be trusted: of another format or version, cut short, or with a broken header.
    #[error("cannot read the GGUF file `{}`", path.display())]
    Gguf {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: GgufError,
    },
    /// A family whose models are written in no architecture of GGUF files that ivl knows.
    #[error("`{}` is a {model_type} model, for which ivl writes no GGUF file; write a Hugging Face directory", path.display())]
    NoGgufArchitecture {
        /// The model.
        path: PathBuf,
        /// Its family.
        model_type: &'static str,
    },
    /// A model that the metadata of a GGUF file cannot describe.
    #[error(
        "`{}` has settings that a GGUF file of the architecture {architecture} cannot hold: `{expected}` would be read as `{got}`; \
             write a Hugging Face directory",
        path.display()
    )]
    NotInGguf {
        /// The model.
        path: PathBuf,
        /// The architecture.
        architecture: &'static str,
        /// The setting of the model.
        expected: String,
        /// The setting of the file.
        got: String,
    },
    /// A type of GGUF files that ivl does not write.
    #[error(
        "ivl does not write GGUF files of type {got}, expected one of {expected}; others can be made from F16 with llama-quantize"
    )]
    GgufType {
        /// The type.
        got: String,
        /// The types that it writes.
        expected: String,
    },
    /// A type that weights in a Hugging Face directory do not have.
    #[error("ivl does not write {got} in a Hugging Face directory, expected {expected}")]
    DirectoryType {
        /// The type.
        got: String,
        /// The types that it writes.
        expected: String,
    },
    /// A shard name that leads out of the checkpoint's directory.
    #[error("`{}` names the shard `{name}`, expected the name of a file in the same directory", path.display())]
    ShardName {
        /// The index file.
        path: PathBuf,
        /// The name in it.
        name: String,
    },
    /// A tensor of a type that holds no model weights.
    #[error("tensor `{tensor}` in `{}` is {got}, expected {expected}", path.display())]
    TensorType {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        tensor: String,
        /// Its type.
        got: String,
        /// The types that are read.
        expected: String,
    },
    /// Two tensors that are the same one of the language model.
    #[error("`{}` holds the tensor `{tensor}` twice, as `{first}` and as `{second}`; remove one", path.display())]
    DuplicateTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The name in the language model.
        tensor: String,
        /// The name of one in the files.
        first: String,
        /// The name of the other.
        second: String,
    },
    /// A part of a quantised weight that does not fit the others.
    #[error(
        "tensor `{part}` in `{}` is {got}, expected {expected}: it is part of a quantised weight, of the kind that quantization_config \
             in config.json describes", dir.display()
    )]
    QuantizedPart {
        /// The checkpoint.
        dir: PathBuf,
        /// The tensor.
        part: String,
        /// What it is.
        got: String,
        /// What it has to be.
        expected: String,
    },
    /// A tensor that must be there.
    #[error("`{}` has no tensor `{tensor}`; the file is not whole, or of another kind than its metadata says", path.display())]
    MissingTensor {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        tensor: String,
    },
    /// The tensors in the files differ from those of the configuration.
    #[error("the weights in `{}` do not fit its config.json: {report}", dir.display())]
    Weights {
        /// The checkpoint.
        dir: PathBuf,
        /// Everything that does not fit.
        report: WeightReport,
    },
    /// Adapters of a projection that checkpoints of the family fuse with others.
    #[error(
        "the adapters of `{module}` cannot be written for {family}, whose files fuse that projection with others; set \
             value.lora.merge = true"
    )]
    FusedAdapter {
        /// The family.
        family: &'static str,
        /// Our name of the projection.
        module: String,
    },
    /// The tokenizer has more tokens than the model has logits.
    #[error("the tokenizer in `{}` does not match the weights: it has token id {id} ({token:?}), but vocab_size in \
             config.json is {vocab_size}", dir.display())]
    TokenizerMismatch {
        /// The checkpoint.
        dir: PathBuf,
        /// The first id without a logit.
        id: u32,
        /// The token.
        token: String,
        /// Logits of the model.
        vocab_size: usize,
    },
    /// The tokenizer file is unusable.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template is unusable.
    #[error(transparent)]
    Chat(#[from] ChatError),
}

/// All tensors that do not fit, collected before failing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightReport {
    /// Tensors of the configuration that no file has.
    pub missing: Vec<String>,
    /// Tensors with another shape: name, shape in the file, expected shape.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors in the files that the configuration lacks.
    pub unused: Vec<String>,
}

impl WeightReport {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty() && self.unused.is_empty()
    }
}

/// The names of the head in checkpoints.
pub(crate) const HEADS: [&str; 2] = ["lm_head.weight", "embed_out.weight"];

/// Whether a tensor belongs to a quantised weight.
fn is_quantised(name: &str) -> bool {
    let ends = [
        ".qweight",
        ".qzeros",
        ".scales",
        ".g_idx",
        ".absmax",
        ".quant_map",
        ".weight_scale",
        ".weight_scale_inv",
        ".weight_packed",
        ".nested_absmax",
        ".SCB",
        ".input_scale",
    ];
    ends.iter().any(|end| name.ends_with(end)) || name.contains(".weight.quant_state")
}

/// Names shown of each kind; the rest is counted.
const SHOWN: usize = 12;

impl fmt::Display for WeightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let misshapen =
            self.misshapen.iter().map(|(name, got, want)| format!("`{name}` {got:?}, expected {want:?}"));
        let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let kinds = [
            ("missing", quoted(&self.missing)),
            ("of another shape", misshapen.collect()),
            ("not used", quoted(&self.unused)),
        ];
        let mut first = true;
        for (kind, items) in kinds.into_iter().filter(|(_, items)| !items.is_empty()) {
            write!(
                f,
                "{}{} {kind}: {}",
                if first { "" } else { "; " },
                items.len(),
                items[..items.len().min(SHOWN)].join(", ")
            )?;
            if items.len() > SHOWN {
                write!(f, " and {} more", items.len() - SHOWN)?;
            }
            first = false;
        }
        if self.missing.iter().any(|name| HEADS.contains(&name.as_str())) {
            write!(
                f,
                "; if the head is the embedding transposed, set tie_word_embeddings to true in config.json"
            )?;
        }
        if self.unused.iter().any(|name| is_quantised(name)) {
            write!(
                f,
                "; these are parts of quantised weights, which quantization_config in config.json has to describe"
            )?;
        }
        Ok(())
    }
}
