//! Maps as files: safetensors with both fingerprints.

use std::collections::HashMap;

use ivl_core::{Vocab, VocabMap};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::align::Alignment;
use crate::coverage::Coverage;
use crate::error::Error;
use crate::method::Method;

/// The version of the layout.
const FORMAT: &str = "ivl-map-1";

/// In `value_of_base`: no value.
const NONE: i32 = -1;

/// A map in the layout of its file: `value_of_base` (I32, one id for each base id, -1 for none), for the published method
/// `weights` (F32), and as metadata the format, both fingerprints, the method and the coverage.
#[derive(Debug, Clone, PartialEq)]
pub struct MapFile {
    value_of_base: Vec<Option<u32>>,
    weights: Option<Vec<f32>>,
    base: String,
    value: String,
    /// How it was made.
    pub method: Method,
    /// How much it covers.
    pub coverage: Coverage,
}

impl MapFile {
    /// A new map, to be written.
    pub fn new(alignment: &Alignment) -> Self {
        let (base, value) = alignment.map.fingerprints();
        Self {
            value_of_base: alignment.map.value_ids().to_vec(),
            weights: alignment.map.weights().map(<[f32]>::to_vec),
            base: base.to_owned(),
            value: value.to_owned(),
            method: alignment.method,
            coverage: alignment.coverage.clone(),
        }
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// [`Error::NotSafetensors`] never in practice: names and sizes are ours.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let id = |id: &Option<u32>| id.map_or(NONE, |id| id as i32).to_le_bytes();
        let ids: Vec<u8> = self.value_of_base.iter().flat_map(id).collect();
        let weights: Option<Vec<u8>> =
            self.weights.as_ref().map(|weights| weights.iter().flat_map(|w| w.to_le_bytes()).collect());
        let shape = vec![self.value_of_base.len()];
        let broken = |source| Error::NotSafetensors { got: ids.len(), source };
        let view = |dtype, bytes| TensorView::new(dtype, shape.clone(), bytes).map_err(broken);
        let mut tensors = vec![("value_of_base", view(Dtype::I32, &ids)?)];
        if let Some(weights) = &weights {
            tensors.push(("weights", view(Dtype::F32, weights)?));
        }
        let coverage = serde_json::to_string(&self.coverage).expect("counts and texts are JSON");
        let metadata = HashMap::from(
            [
                ("format", FORMAT),
                ("base_fingerprint", &self.base),
                ("value_fingerprint", &self.value),
                ("method", self.method.name()),
                ("coverage", &coverage),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        safetensors::serialize(tensors, Some(metadata)).map_err(broken)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// [`Error::NotSafetensors`] for another kind of file, [`Error::Malformed`] for one that is no map.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let broken = |source| Error::NotSafetensors { got: bytes.len(), source };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let field = |what: &'static str| {
            let found = header.metadata().as_ref().and_then(|metadata| metadata.get(what)).cloned();
            found.ok_or_else(|| malformed(what, "missing", "metadata of a map"))
        };
        let format = field("format")?;
        if format != FORMAT {
            return Err(malformed("format", format, format!("`{FORMAT}`")));
        }
        let method = field("method")?;
        let coverage = field("coverage")?;
        let numbers = |what: &'static str, dtype| {
            let tensor = tensors.tensor(what).map_err(|_| malformed(what, "missing", "a tensor"))?;
            if tensor.dtype() != dtype || tensor.shape().len() != 1 {
                let got = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
                return Err(malformed(what, got, format!("a list of {dtype:?}")));
            }
            let (words, _) = tensor.data().as_chunks::<4>();
            Ok(words.to_vec())
        };
        let ids = numbers("value_of_base", Dtype::I32)?.into_iter().map(i32::from_le_bytes);
        let weights = match tensors.tensor("weights") {
            Ok(_) => Some(numbers("weights", Dtype::F32)?.into_iter().map(f32::from_le_bytes).collect()),
            Err(_) => None,
        };
        Ok(Self {
            value_of_base: ids.map(|id| u32::try_from(id).ok()).collect(),
            weights,
            base: field("base_fingerprint")?,
            value: field("value_fingerprint")?,
            method: method.parse().map_err(|()| malformed("method", method, "a method of `ivl align`"))?,
            coverage: serde_json::from_str(&coverage)
                .map_err(|error| malformed("coverage", error.to_string(), "a coverage report"))?,
        })
    }

    /// The map between two vocabularies, padded as they are.
    ///
    /// # Errors
    /// [`Error::Map`] if it was made for others.
    pub fn map(&self, base: &Vocab, value: &Vocab) -> Result<VocabMap, Error> {
        let sides = [
            ("base vocabulary", &self.base, base.fingerprint()),
            ("value vocabulary", &self.value, value.fingerprint()),
        ];
        for (what, expected, got) in sides {
            if expected != got {
                let (expected, got) = (expected.clone(), got.to_owned());
                return Err(ivl_core::Error::ForeignMap { what, expected, got }.into());
            }
        }
        // Equal fingerprints mean equal tokens; what is beyond them is padding on one side or the other.
        let mut ids = self.value_of_base.clone();
        ids.resize(base.size(), None);
        let map = VocabMap::new(ids, base, value)?;
        Ok(match &self.weights {
            Some(weights) => {
                let mut weights = weights.clone();
                weights.resize(base.size(), 0.0);
                map.with_weights(weights)?
            }
            None => map,
        })
    }
}

fn malformed(what: &'static str, got: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Malformed { what, got: got.into(), expected: expected.into() }
}
