//! The tensors of a checkpoint that is written, put together from the parameters of a model.

use std::collections::HashMap;

use burn::tensor::DType;

use super::layout::Layout;
use super::load::StoredParameters;
use super::open::Checkpoint;
use super::tensor_files::TensorFiles;
use crate::Error;
use crate::families::weight_map::{TensorPlace, WeightMap};
use crate::transformer::{NamedParameter, Transformer};

/// The parameters of a model that is saved.
pub(super) enum SavedParameters<'a> {
    /// In memory.
    Network(HashMap<String, NamedParameter>),
    /// In the files of another checkpoint, each read when it is written.
    Stored(StoredParameters<'a>),
}

impl<'a> SavedParameters<'a> {
    /// Those of `net` if it is given, else those in the files of a checkpoint, which are opened into `files`.
    ///
    /// # Errors
    /// As [`Checkpoint::tensors`] and [`StoredParameters::new`].
    pub(super) fn of_checkpoint(
        checkpoint: &Checkpoint,
        net: Option<&Transformer>,
        files: &'a mut Option<TensorFiles>,
    ) -> Result<Self, Error> {
        if let Some(net) = net {
            return Ok(Self::of(net));
        }
        let files = files.insert(checkpoint.tensors()?);
        Ok(Self::Stored(StoredParameters::new(checkpoint, files)?))
    }

    /// Those of a network without adapters.
    pub(super) fn of(net: &Transformer) -> Self {
        let parameters = net.named_parameters().into_iter();
        Self::Network(parameters.map(|parameter| (parameter.path.clone(), parameter)).collect())
    }

    /// Paths and shapes, in a fixed order.
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes: Vec<(String, Vec<usize>)> = match self {
            Self::Network(parameters) => parameters
                .values()
                .map(|parameter| (parameter.path.clone(), parameter.shape.clone()))
                .collect(),
            Self::Stored(parameters) => parameters.shapes().to_vec(),
        };
        shapes.sort();
        shapes
    }

    fn numbers(&self, path: &str, shape: &[usize]) -> Vec<f32> {
        match self {
            Self::Network(parameters) => {
                let numbers = parameters[path].tensor.clone().cast(DType::F32).into_data();
                numbers.try_into_vec().expect("numbers that were cast to f32")
            }
            Self::Stored(parameters) => parameters.numbers(path, shape),
        }
    }
}

/// A tensor of the checkpoint.
pub(super) struct SavedTensor<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    parts: Vec<(TensorPlace, String, Vec<usize>)>,
    parameters: &'a SavedParameters<'a>,
}

/// The tensors that hold all parameters.
pub(super) fn saved_tensors<'a>(
    parameters: &'a SavedParameters<'a>,
    map: &WeightMap,
) -> Vec<SavedTensor<'a>> {
    let mut tensors: Vec<SavedTensor<'a>> = Vec::new();
    let mut tensors_by_name: HashMap<String, usize> = HashMap::new();
    for (path, shape) in parameters.shapes() {
        let place = map.resolve(&path);
        let tensor = *tensors_by_name.entry(place.name.clone()).or_insert_with(|| {
            let (name, shape) = (place.name.clone(), place.rule.stored_shape(&shape));
            tensors.push(SavedTensor { name, shape, parts: Vec::new(), parameters });
            tensors.len() - 1
        });
        tensors[tensor].parts.push((place, path, shape));
    }
    tensors
}

impl SavedTensor<'_> {
    /// The number of its elements.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its numbers, as they are stored.
    pub(super) fn numbers(&self) -> Vec<f32> {
        if let [(place, path, shape)] = self.parts.as_slice()
            && place.rule.is_identity(shape)
        {
            return self.parameters.numbers(path, shape);
        }
        let mut stored = vec![0f32; self.len()];
        for (place, path, shape) in &self.parts {
            let ours = self.parameters.numbers(path, shape);
            save_rows(&Layout::new(place, shape), &ours, &mut stored);
        }
        stored
    }
}

/// Writes a parameter into the rows of a tensor.
fn save_rows(layout: &Layout<'_>, ours: &[f32], stored: &mut [f32]) {
    let columns = layout.columns();
    let mut rows = Vec::new();
    for band in layout.bands() {
        // A row may hold numbers of several parameters.
        rows.clear();
        for row in band.clone() {
            rows.extend_from_slice(&stored[columns * layout.stored_row(row)..][..columns]);
        }
        layout.save(&band, ours, &mut rows);
        for (row, numbers) in band.zip(rows.chunks_exact(columns)) {
            stored[columns * layout.stored_row(row)..][..columns].copy_from_slice(numbers);
        }
    }
}
