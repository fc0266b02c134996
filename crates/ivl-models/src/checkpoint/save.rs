//! From a network to a checkpoint directory in Hugging Face layout.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::DType;
use serde_json::{Map, Value};

use super::layout::for_each_pair;
use super::tensor_files::Stored;
use crate::families::read_config;
use crate::families::weight_map::TensorPlace;
use crate::files::{write_bytes, write_whole};
use crate::transformer::{NamedParameter, Transformer};
use crate::{Error, FileError};

/// Writes a model in Hugging Face layout: `config.json` and `model.safetensors`, in f32, each whole or not at all. Other
/// tools load the directory as an ordinary causal LM.
///
/// # Errors
/// [`Error::File`] if the directory cannot be written, [`Error::InvalidField`] if `json` does not describe `net`.
pub fn save(net: &Transformer, json: &Map<String, Value>, dir: &Path) -> Result<(), Error> {
    let (family, config) = read_config(json, &dir.join("config.json"))?;
    if config != *net.config() {
        return Err(Error::InvalidField {
            path: dir.join("config.json"),
            field: "config.json".to_owned(),
            expected: "the configuration of the model that is saved".to_owned(),
            got: "another one".to_owned(),
        });
    }
    std::fs::create_dir_all(dir).map_err(FileError::io("create", dir))?;
    let map = (family.weights)(&config);
    let mut tensors: BTreeMap<String, SavedTensor<'_>> = BTreeMap::new();
    let parameters = net.named_parameters();
    for parameter in &parameters {
        let place = map.resolve(&parameter.path);
        let shape = place.rule.stored_shape(&parameter.shape);
        let tensor = tensors.entry(place.name.clone()).or_insert(SavedTensor { shape, parts: Vec::new() });
        tensor.parts.push((place, parameter));
    }
    write_tensors(&dir.join("model.safetensors"), tensors)?;
    let mut json = json.clone();
    json.remove("torch_dtype");
    json.insert("dtype".to_owned(), Value::from("float32"));
    let bytes = serde_json::to_vec_pretty(&json).expect("a JSON object serialises");
    Ok(write_bytes(&dir.join("config.json"), &bytes)?)
}

/// Writes a safetensors file, whole or not at all.
pub(super) fn write_tensors<N: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, impl safetensors::View)>,
) -> Result<(), FileError> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_whole(path, |partial| {
        safetensors::serialize_to_file(tensors, Some(metadata), partial).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(error) => error,
            other => std::io::Error::other(other),
        })
    })
}

/// A tensor of the file, put together from our parameters when it is written.
struct SavedTensor<'a> {
    shape: Vec<usize>,
    parts: Vec<(TensorPlace, &'a NamedParameter)>,
}

impl safetensors::View for SavedTensor<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0u8; self.data_len()];
        for (place, parameter) in &self.parts {
            let numbers = parameter.tensor.clone().cast(DType::F32).into_data();
            let ours = Stored::F32(numbers.as_bytes());
            for_each_pair(place, &parameter.shape, |stored, index| {
                bytes[4 * stored..4 * stored + 4].copy_from_slice(&ours.get(index).to_le_bytes());
            });
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}
