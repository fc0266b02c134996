//! Puts the quantised weights of a checkpoint together from their tensors.

use std::path::Path;

use super::tensor_entry::{FileTensor, NumberPlaces, StoredKind};
use super::tensor_files::TensorFiles;
use crate::Error;
use crate::quantization::{PartTensor, Parts, Quantization, QuantizedWeight};

impl Parts for TensorFiles {
    fn dir(&self) -> &Path {
        &self.path
    }

    fn part(&self, name: &str) -> Option<PartTensor<'_>> {
        let entry = self.tensors.get(name)?;
        match entry.plain()? {
            (StoredKind::Element(dtype), place) => {
                Some(PartTensor { dtype, shape: &entry.shape, bytes: self.bytes(place) })
            }
            (StoredKind::Gguf(_), _) => None,
        }
    }
}

impl TensorFiles {
    /// The same tensors with a weight in the place of each group of codes, scales and zero points.
    ///
    /// # Errors
    /// [`Error::QuantizedPart`] for parts that are absent or do not fit, [`Error::DuplicateTensor`] for a weight that is also stored as
    /// floats.
    pub(super) fn dequantized(mut self, quantization: &Quantization) -> Result<Self, Error> {
        let mut weights = Vec::new();
        for (name, entry) in &self.tensors {
            weights.extend(quantization.weight(&self, name, &entry.stored_name)?);
        }
        self.tensors.retain(|name, _| !Quantization::is_of_activations(name));
        for weight in weights {
            self.replace_parts(weight)?;
        }
        Ok(self)
    }

    fn replace_parts(&mut self, weight: QuantizedWeight) -> Result<(), Error> {
        let QuantizedWeight { name, shape, layout, codes, scales, zeros, others } = weight;
        if name != codes
            && let Some(plain) = self.tensors.get(&name)
        {
            return Err(Error::DuplicateTensor {
                path: self.path.clone(),
                tensor: name,
                first: plain.stored_name.clone(),
                second: codes,
            });
        }
        let places = [Some(&codes), Some(&scales), zeros.as_ref()].map(|part| {
            let entry = self.tensors.get(part?)?;
            entry.plain().map(|(_, place)| place.clone())
        });
        let [Some(codes_place), Some(scales_place), zeros_place] = places else {
            unreachable!("a weight is made of parts that were found");
        };
        for part in [&codes, &scales].into_iter().chain(&zeros).chain(&others) {
            self.tensors.remove(part);
        }
        let numbers = NumberPlaces::Quantized {
            layout: Box::new(layout),
            codes: codes_place,
            scales: scales_place,
            zeros: zeros_place,
        };
        self.tensors.insert(name, FileTensor { shape, stored_name: codes, numbers });
        Ok(())
    }
}
