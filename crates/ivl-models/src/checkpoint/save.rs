//! From a network to a checkpoint directory in Hugging Face layout.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use burn::tensor::DType;
use serde_json::{Map, Value};

use super::layout::Layout;
use crate::families::read_config;
use crate::families::weight_map::Rule;
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
    let mut tensors: Vec<(String, SavedTensor<'_>)> = Vec::new();
    let parameters = net.named_parameters();
    for parameter in &parameters {
        let (rule, name) = map.resolve(&parameter.path);
        if let Some((_, tensor)) = tensors.iter_mut().find(|(known, _)| *known == name) {
            tensor.parts.push((*rule, parameter));
        } else {
            let shape = rule.stored_shape(&parameter.shape);
            tensors.push((name, SavedTensor { shape, parts: vec![(*rule, parameter)] }));
        }
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
    parts: Vec<(Rule, &'a NamedParameter)>,
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
        for (rule, parameter) in &self.parts {
            let ours = parameter.tensor.clone().cast(DType::F32).into_data();
            let ours: Vec<f32> = ours.try_into_vec().expect("numbers that were cast to f32");
            save_rows(&Layout::new(rule, &parameter.shape), &ours, &mut bytes);
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

/// Writes a parameter into the bytes of a tensor in f32.
fn save_rows(layout: &Layout<'_>, ours: &[f32], bytes: &mut [u8]) {
    let columns = layout.columns();
    let mut rows = Vec::new();
    for band in layout.bands() {
        // A row may hold numbers of several parameters.
        rows.clear();
        for row in band.clone() {
            let stored = &bytes[4 * columns * layout.stored_row(row)..][..4 * columns];
            rows.extend(stored.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])));
        }
        layout.save(&band, ours, &mut rows);
        for (row, numbers) in band.zip(rows.chunks_exact(columns)) {
            let stored = &mut bytes[4 * columns * layout.stored_row(row)..][..4 * columns];
            for (four, number) in stored.chunks_exact_mut(4).zip(numbers) {
                four.copy_from_slice(&number.to_le_bytes());
            }
        }
    }
}
