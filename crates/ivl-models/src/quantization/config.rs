//! `quantization_config` in `config.json`.

use std::fmt;

use super::awq::Awq;
use super::compressed_tensors::CompressedTensors;
use super::fp8::Fp8;
use super::gptq::Gptq;
use super::module_patterns::{ModulePatterns, PatternStyle};
use super::mxfp4;
use super::parts::{Parts, QuantizedWeight};
use crate::Error;
use crate::fields::Fields;

/// How the weights of a checkpoint are quantised. `Display` names the method and its groups.
#[derive(Debug, Clone)]
pub struct Quantization {
    method: Method,
    /// Modules whose weights are stored as floats.
    left_alone: ModulePatterns,
}

#[derive(Debug, Clone)]
enum Method {
    Fp8(Fp8),
    Gptq(Gptq),
    Awq(Awq),
    CompressedTensors(CompressedTensors),
    Mxfp4,
}

/// The methods that are read.
const METHODS: &str = "fp8, gptq, awq, compressed-tensors or mxfp4";

/// What to do with weights of other methods.
fn advice(method: &str) -> &'static str {
    match method {
        "bitsandbytes" | "hqq" | "torchao" | "quanto" | "fbgemm_fp8" | "higgs" => {
            "in Python, load it with transformers, call `model.dequantize()` and `save_pretrained`, or use the checkpoint that it was \
             made from"
        }
        "auto-round" | "intel/auto-round" => {
            "export it from AutoRound in the format auto_gptq, or use the checkpoint that it was made from"
        }
        "modelopt" | "nvfp4" | "quark" => {
            "use the checkpoint that it was made from, or its version in fp8 or compressed-tensors"
        }
        _ => "use the checkpoint that it was made from, or a GGUF file of the model",
    }
}

/// Ends of the names of tensors that scale activations or cached keys and values, which ivl does not quantise.
const OF_ACTIVATIONS: [&str; 9] = [
    ".input_scale",
    ".input_zero_point",
    ".input_global_scale",
    ".output_scale",
    ".output_zero_point",
    ".activation_scale",
    ".q_scale",
    ".k_scale",
    ".v_scale",
];

impl Quantization {
    /// Reads `quantization_config`, if `config.json` has it.
    ///
    /// # Errors
    /// [`Error::InvalidField`] or [`Error::MissingField`] for methods and formats that ivl does not read.
    pub fn read(fields: &Fields<'_>) -> Result<Option<Self>, Error> {
        let Some(config) = fields.opt_object("quantization_config")? else { return Ok(None) };
        let method = match config.opt_text("quant_method")? {
            Some("fp8") => Method::Fp8(Fp8::read(&config)?),
            Some("gptq") => Method::Gptq(Gptq::read(&config)?),
            Some("awq") => Method::Awq(Awq::read(&config)?),
            Some("compressed-tensors") => Method::CompressedTensors(CompressedTensors::read(&config)?),
            Some("mxfp4") => Method::Mxfp4,
            other => {
                let advice = advice(other.unwrap_or_default());
                return Err(config.invalid("quant_method", format!("{METHODS}; {advice}")));
            }
        };
        let (field, style) = match method {
            Method::CompressedTensors(_) => ("ignore", PatternStyle::CompressedTensors),
            _ if config.has("ignored_layers") => ("ignored_layers", PatternStyle::Transformers),
            _ => ("modules_to_not_convert", PatternStyle::Transformers),
        };
        let left_alone = ModulePatterns::read(&config, field, style)?;
        Ok(Some(Self { method, left_alone }))
    }

    /// The weight whose codes are the tensor `name`, if it holds such codes and its module is not left alone. In the list of modules
    /// that are, it is called `listed`.
    ///
    /// # Errors
    /// [`Error::QuantizedPart`] for parts that are absent or do not fit.
    pub(crate) fn weight(
        &self,
        parts: &impl Parts,
        name: &str,
        listed: &str,
    ) -> Result<Option<QuantizedWeight>, Error> {
        let is_left_alone = [name, listed]
            .iter()
            .filter_map(|name| name.rsplit_once('.'))
            .any(|(module, _)| self.left_alone.contains(module));
        if is_left_alone {
            return Ok(None);
        }
        match &self.method {
            Method::Fp8(fp8) => fp8.weight(parts, name),
            Method::Gptq(gptq) => gptq.weight(parts, name),
            Method::Awq(awq) => awq.weight(parts, name),
            Method::CompressedTensors(tensors) => tensors.weight(parts, name),
            Method::Mxfp4 => mxfp4::weight(parts, name),
        }
    }

    /// Whether a tensor scales activations or cached keys and values, which ivl does not quantise.
    pub(crate) fn is_of_activations(name: &str) -> bool {
        OF_ACTIVATIONS.iter().any(|end| name.ends_with(end))
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.method {
            Method::Fp8(fp8) => fp8.fmt(f),
            Method::Gptq(gptq) => gptq.fmt(f),
            Method::Awq(awq) => awq.fmt(f),
            Method::CompressedTensors(tensors) => tensors.fmt(f),
            Method::Mxfp4 => write!(f, "MXFP4"),
        }
    }
}
