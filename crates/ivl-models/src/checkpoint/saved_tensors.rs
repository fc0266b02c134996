//! The tensors of a checkpoint that is written, put together from the parameters of a model.

use std::collections::HashMap;

use burn::tensor::DType;

use super::layout::Layout;
use crate::families::weight_map::{Rule, WeightMap};
use crate::transformer::{NamedParameter, Transformer};

/// The parameters of a model that is saved.
pub(super) struct SavedParameters(HashMap<String, NamedParameter>);

impl SavedParameters {
    /// Those of a network without adapters.
    pub(super) fn of(net: &Transformer) -> Self {
        let parameters = net.named_parameters().into_iter();
        Self(parameters.map(|parameter| (parameter.path.clone(), parameter)).collect())
    }

    /// Paths and shapes, in a fixed order.
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes: Vec<(String, Vec<usize>)> =
            self.0.values().map(|parameter| (parameter.path.clone(), parameter.shape.clone())).collect();
        shapes.sort();
        shapes
    }

    fn numbers(&self, path: &str) -> Vec<f32> {
        let numbers = self.0[path].tensor.clone().cast(DType::F32).into_data();
        numbers.try_into_vec().expect("numbers that were cast to f32")
    }
}

/// A tensor of the checkpoint.
pub(super) struct SavedTensor<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    parts: Vec<(Rule, String, Vec<usize>)>,
    parameters: &'a SavedParameters,
}

/// The tensors that hold all parameters.
pub(super) fn saved_tensors<'a>(parameters: &'a SavedParameters, map: &WeightMap) -> Vec<SavedTensor<'a>> {
    let mut tensors: Vec<SavedTensor<'a>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (path, shape) in parameters.shapes() {
        let (rule, name) = map.resolve(&path);
        let place = *places.entry(name.clone()).or_insert_with(|| {
            let shape = rule.stored_shape(&shape);
            tensors.push(SavedTensor { name, shape, parts: Vec::new(), parameters });
            tensors.len() - 1
        });
        tensors[place].parts.push((*rule, path, shape));
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
        if let [(rule, path, shape)] = self.parts.as_slice()
            && rule.is_identity(shape)
        {
            return self.parameters.numbers(path);
        }
        let mut stored = vec![0f32; self.len()];
        for (rule, path, shape) in &self.parts {
            let ours = self.parameters.numbers(path);
            save_rows(&Layout::new(rule, shape), &ours, &mut stored);
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
