//! Language models inside models that also see or hear: `config.json` has the language model in `text_config`, and their files
//! hold more tensors. ivl runs the language model, and writes it as one.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;
use crate::fields::Fields;

/// A kind of model that contains a language model.
struct Wrapper {
    /// `model_type` in `config.json`.
    model_type: &'static str,
    /// `model_type` of the language model.
    text: TextType,
    /// `tie_word_embeddings` where it is absent: that of the language model is not read.
    tied: bool,
    /// Whether it bounds logits as its language model says.
    caps: bool,
}

/// The type of the language model inside another.
enum TextType {
    /// This, whatever the file says.
    Fixed(&'static str),
    /// That of the file, which is this where it is absent.
    Default(&'static str),
}

const WRAPPERS: [Wrapper; 8] = [
    Wrapper { model_type: "gemma3", text: TextType::Fixed("gemma3_text"), tied: true, caps: false },
    Wrapper { model_type: "gemma4", text: TextType::Fixed("gemma4_text"), tied: true, caps: true },
    Wrapper { model_type: "mistral3", text: TextType::Default("mistral"), tied: true, caps: false },
    Wrapper { model_type: "internvl", text: TextType::Default("qwen2"), tied: true, caps: false },
    Wrapper { model_type: "qwen3_5", text: TextType::Fixed("qwen3_5_text"), tied: false, caps: false },
    Wrapper {
        model_type: "qwen3_5_moe",
        text: TextType::Fixed("qwen3_5_moe_text"),
        tied: false,
        caps: false,
    },
    Wrapper { model_type: "aya_vision", text: TextType::Default("cohere2"), tied: true, caps: false },
    Wrapper { model_type: "cohere2_vision", text: TextType::Default("cohere2"), tied: true, caps: false },
];

/// Fields beside `text_config` that concern the language model, and go before its own.
const SHARED: [&str; 6] =
    ["eos_token_id", "bos_token_id", "pad_token_id", "dtype", "torch_dtype", "quantization_config"];

/// The configuration of the language model: `json` itself, or what it has in `text_config`.
///
/// # Errors
/// [`Error::MissingField`] or [`Error::InvalidField`] for a `text_config` that is absent or no object.
pub(crate) fn text_model<'a>(
    json: &'a Map<String, Value>,
    path: &Path,
) -> Result<Cow<'a, Map<String, Value>>, Error> {
    let fields = Fields::new(json, path);
    let model_type = fields.opt_text("model_type")?;
    let Some(wrapper) = WRAPPERS.iter().find(|wrapper| Some(wrapper.model_type) == model_type) else {
        return Ok(Cow::Borrowed(json));
    };
    let Some(text) = fields.opt_object("text_config")? else {
        return Err(Error::MissingField { path: path.to_owned(), field: "text_config".to_owned() });
    };
    let text_type = match wrapper.text {
        TextType::Fixed(name) => name,
        TextType::Default(name) => text.opt_text("model_type")?.unwrap_or(name),
    };
    let mut config = text.map().clone();
    config.insert("model_type".to_owned(), Value::from(text_type));
    config.insert(
        "tie_word_embeddings".to_owned(),
        Value::from(fields.flag_or("tie_word_embeddings", wrapper.tied)?),
    );
    // Most models that see leave the logits as they are: they bound and scale none.
    if !wrapper.caps {
        config.remove("final_logit_softcapping");
    }
    if text_type.starts_with("cohere") {
        config.insert("logit_scale".to_owned(), Value::from(1.0));
    }
    match architecture(text_type) {
        Some(class) => config.insert("architectures".to_owned(), Value::from(vec![class])),
        None => config.remove("architectures"),
    };
    for field in SHARED {
        if let Some(value) = json.get(field).filter(|value| !value.is_null()) {
            config.insert(field.to_owned(), value.clone());
        }
    }
    Ok(Cow::Owned(config))
}

/// The class of transformers for a language model.
fn architecture(text_type: &str) -> Option<&'static str> {
    Some(match text_type {
        "gemma3_text" => "Gemma3ForCausalLM",
        "gemma4_text" => "Gemma4ForCausalLM",
        "mistral" => "MistralForCausalLM",
        "ministral3" => "Ministral3ForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        "qwen3_5_text" => "Qwen3_5ForCausalLM",
        "qwen3_5_moe_text" => "Qwen3_5MoeForCausalLM",
        "cohere2" => "Cohere2ForCausalLM",
        "llama" => "LlamaForCausalLM",
        _ => return None,
    })
}

/// Prefixes of the language model's tensors inside another model, longest first, and what they are without it.
const PREFIXES: [(&str, &str); 3] =
    [("model.language_model.", "model."), ("language_model.model.", "model."), ("language_model.", "")];

/// The name of a tensor in a model of its own.
pub(crate) fn text_tensor(name: &str) -> Cow<'_, str> {
    let found = PREFIXES.iter().find_map(|(prefix, own)| Some((own, name.strip_prefix(prefix)?)));
    match found {
        Some((own, rest)) => Cow::Owned(format!("{own}{rest}")),
        None => Cow::Borrowed(name),
    }
}

/// First parts of the names of tensors that see, hear, or predict several tokens at once.
const OTHER_PARTS: [&str; 8] = [
    "vision_tower.",
    "vision_model.",
    "visual.",
    "multi_modal_projector.",
    "audio_tower.",
    "embed_vision.",
    "embed_audio.",
    "mtp.",
];

/// Whether a tensor belongs to a part that is no language model.
pub(crate) fn is_other_part(name: &str) -> bool {
    let name = name.strip_prefix("model.").unwrap_or(name);
    OTHER_PARTS.iter().any(|part| name.starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_both_layouts_have_the_names_of_the_language_model() {
        for (stored, own) in [
            ("model.language_model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("language_model.model.norm.weight", "model.norm.weight"),
            ("language_model.lm_head.weight", "lm_head.weight"),
            ("model.norm.weight", "model.norm.weight"),
        ] {
            assert_eq!(text_tensor(stored), own);
        }
        assert!(is_other_part("model.vision_tower.x") && is_other_part("mtp.layers.0.x"));
        assert!(!is_other_part("model.layers.0.x"));
    }
}
