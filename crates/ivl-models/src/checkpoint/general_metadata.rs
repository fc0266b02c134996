//! The metadata `general.*` of a GGUF file that is written: the name of the model, where it comes from, how it asks to be sampled.

use ivl_kernels::BlockFormat;

use super::open::Checkpoint;
use super::stored_tensor::StoredType;
use crate::gguf::MetadataWriter;

/// Keys that say how a file is written. They are not copied from the file that the model is read from.
const OF_THE_FILE: [&str; 5] = [
    "general.architecture",
    "general.type",
    "general.alignment",
    "general.file_type",
    "general.quantization_version",
];

/// The version of the block formats.
const QUANTIZATION_VERSION: u32 = 2;

impl Checkpoint {
    /// Writes the keys. Of a GGUF file with the same weights they are copied; else they are those that llama.cpp's converter writes.
    pub(super) fn write_general(
        &self,
        architecture: &str,
        kind: StoredType,
        has_other_weights: bool,
        metadata: &mut MetadataWriter,
    ) {
        metadata.text("general.architecture", architecture);
        metadata.text("general.type", "model");
        metadata.size("general.file_type", file_type(kind));
        metadata.size("general.quantization_version", QUANTIZATION_VERSION);
        match self.gguf() {
            Some(gguf) if !has_other_weights => {
                let keys = gguf.metadata().keys();
                for key in keys.filter(|key| key.starts_with("general.") && !OF_THE_FILE.contains(key)) {
                    metadata.copy(gguf.metadata(), key);
                }
            }
            _ => {
                let name = self.path().file_name().map(|name| name.to_string_lossy().into_owned());
                let name = name.as_deref().unwrap_or("model");
                metadata.text("general.name", name.strip_suffix(".gguf").unwrap_or(name));
                metadata.text("general.size_label", &size_label(self.num_parameters()));
                self.write_sampling(metadata);
            }
        }
    }

    fn write_sampling(&self, metadata: &mut MetadataWriter) {
        let sampling = self.sampling_defaults();
        if let Some(top_k) = sampling.top_k {
            metadata.integer("general.sampling.top_k", i32::try_from(top_k).unwrap_or(i32::MAX));
        }
        for (key, number) in [
            ("general.sampling.top_p", sampling.top_p),
            ("general.sampling.min_p", sampling.min_p),
            ("general.sampling.temp", sampling.temperature),
            ("general.sampling.penalty_repeat", sampling.repetition_penalty),
        ] {
            if let Some(number) = number {
                metadata.number(key, number as f32);
            }
        }
    }
}

/// The number of weights in two digits, such as `1.5B`, as llama.cpp's converter writes it.
fn size_label(parameters: u64) -> String {
    let (scale, suffix) = match parameters {
        1_000_000_000_001.. => (1e12, "T"),
        1_000_000_001.. => (1e9, "B"),
        1_000_001.. => (1e6, "M"),
        _ => (1e3, "K"),
    };
    let scaled = parameters as f64 / scale;
    let whole = scaled.round_ties_even();
    let digits = if whole < 1.0 { 0 } else { format!("{whole:.0}").len() };
    format!("{scaled:.*}{suffix}", 2usize.saturating_sub(digits))
}

/// `general.file_type`: the number of llama.cpp for what most tensors are.
fn file_type(kind: StoredType) -> u32 {
    match kind {
        StoredType::F32 => 0,
        StoredType::F16 => 1,
        StoredType::Bf16 => 32,
        StoredType::Blocks(format) => match format {
            BlockFormat::Q4_0 => 2,
            BlockFormat::Q4_1 => 3,
            BlockFormat::Q8_0 => 7,
            BlockFormat::Q5_0 => 8,
            BlockFormat::Q5_1 => 9,
            BlockFormat::Q2K => 10,
            BlockFormat::Q3K => 11,
            BlockFormat::Q4K => 14,
            BlockFormat::Q5K => 16,
            BlockFormat::Q6K => 18,
            BlockFormat::Iq4Nl => 25,
            BlockFormat::Iq4Xs => 30,
            BlockFormat::Mxfp4 => 38,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `gguf.utility.model_weight_count_rounded_notation` of llama.cpp writes them.
    #[test]
    fn sizes_have_two_digits() {
        let cases = [
            (134_515_008, "135M"),
            (1_543_714_304, "1.5B"),
            (494_032_768, "494M"),
            (7_000, "7.0K"),
            (300, "0.30K"),
        ];
        for (parameters, label) in cases {
            assert_eq!(size_label(parameters), label);
        }
    }
}
