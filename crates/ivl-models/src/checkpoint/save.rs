//! From a model to a checkpoint directory in Hugging Face layout.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value};

use super::open::Checkpoint;
use super::saved_tensors::{SavedParameters, SavedTensor, saved_tensors};
use super::stored_tensor::StoredType;
use crate::config::ModelConfig;
use crate::families::read_config;
use crate::files::{write_bytes, write_whole};
use crate::gguf::GgufType;
use crate::transformer::Transformer;
use crate::{Error, FileError, ValueCard};

/// Writes a model in Hugging Face layout: `config.json` and `model.safetensors`, in f32, each whole or not at all. Other
/// tools load the directory as an ordinary causal LM.
///
/// # Errors
/// [`Error::File`] if the directory cannot be written, [`Error::InvalidField`] if `json` does not describe `net`.
pub fn save(net: &Transformer, json: &Map<String, Value>, dir: &Path) -> Result<(), Error> {
    write_directory(&SavedParameters::of(net), net.config(), json, StoredType::F32, dir)
}

/// Writes parameters in Hugging Face layout, in f32, f16 or bf16.
pub(super) fn write_directory(
    parameters: &SavedParameters<'_>,
    config: &ModelConfig,
    json: &Map<String, Value>,
    kind: StoredType,
    dir: &Path,
) -> Result<(), Error> {
    let (family, described) = read_config(json, &dir.join("config.json"))?;
    if described != *config {
        return Err(Error::InvalidField {
            path: dir.join("config.json"),
            field: "config.json".to_owned(),
            expected: "the configuration of the model that is saved".to_owned(),
            got: "another one".to_owned(),
        });
    }
    std::fs::create_dir_all(dir).map_err(FileError::io("create", dir))?;
    let tensors = saved_tensors(parameters, &(family.weights)(config));
    let failed = Cell::new(None);
    let views =
        tensors.iter().map(|tensor| (tensor.name.as_str(), SavedView { tensor, kind, failed: &failed }));
    write_whole(&dir.join("model.safetensors"), |partial| {
        serialize(views, partial)?;
        failed.take().map_or(Ok(()), |error| Err(std::io::Error::other(error)))
    })?;
    let mut json = json.clone();
    json.remove("torch_dtype");
    // The weights are written as floats.
    json.remove("quantization_config");
    json.insert("dtype".to_owned(), Value::from(kind.torch_name()));
    let bytes = serde_json::to_vec_pretty(&json).expect("a JSON object serialises");
    Ok(write_bytes(&dir.join("config.json"), &bytes)?)
}

/// Writes a safetensors file, whole or not at all.
pub(super) fn write_tensors<N: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, impl safetensors::View)>,
) -> Result<(), FileError> {
    write_whole(path, |partial| serialize(tensors, partial))
}

fn serialize<N: AsRef<str> + Ord + std::fmt::Display>(
    tensors: impl IntoIterator<Item = (N, impl safetensors::View)>,
    path: &Path,
) -> std::io::Result<()> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => error,
        other => std::io::Error::other(other),
    })
}

/// A tensor of the file, put together when it is written.
struct SavedView<'a> {
    tensor: &'a SavedTensor<'a>,
    kind: StoredType,
    /// Numbers that the type cannot hold.
    failed: &'a Cell<Option<String>>,
}

impl safetensors::View for SavedView<'_> {
    fn dtype(&self) -> Dtype {
        match self.kind {
            StoredType::F16 => Dtype::F16,
            StoredType::Bf16 => Dtype::BF16,
            StoredType::F32 | StoredType::Blocks(_) => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        if let Err(reason) = self.kind.write(&self.tensor.numbers(), &mut bytes) {
            self.failed.set(Some(format!("tensor `{}`: {reason}", self.tensor.name)));
            bytes.resize(self.data_len(), 0);
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.kind.size(self.tensor.len())
    }
}

impl Checkpoint {
    /// Writes this model as a directory in Hugging Face layout, with the weights of `net` if it is given, else those of the
    /// checkpoint's files, in the type `kind`: F32, F16 or BF16. `config.json` is written last.
    ///
    /// # Errors
    /// [`Error::File`] if the directory cannot be written, [`Error::DirectoryType`] for another type, and the errors of reading the
    /// weights.
    pub fn save_directory(&self, net: Option<&Transformer>, kind: GgufType, dir: &Path) -> Result<(), Error> {
        let expected = "F32, F16 or BF16".to_owned();
        let stored = StoredType::of_gguf(kind).filter(|kind| !matches!(kind, StoredType::Blocks(_)));
        let stored = stored.ok_or_else(|| Error::DirectoryType { got: kind.name(), expected })?;
        std::fs::create_dir_all(dir).map_err(FileError::io("create", dir))?;
        self.write_tokenizer(dir)?;
        if let Some(template) = self.chat_template()? {
            write_bytes(&dir.join("chat_template.jinja"), template.source().as_bytes())?;
            if let Some(for_tools) = template.tool_use() {
                let folder = dir.join("additional_chat_templates");
                std::fs::create_dir_all(&folder).map_err(FileError::io("create", &folder))?;
                write_bytes(&folder.join("tool_use.jinja"), for_tools.as_bytes())?;
            }
        }
        if let Some(card) = ValueCard::read(self.path())? {
            card.write(dir)?;
        }
        let mut files = None;
        let parameters = SavedParameters::of_checkpoint(self, net, &mut files)?;
        write_directory(&parameters, self.config(), self.json(), stored, dir)
    }
}
