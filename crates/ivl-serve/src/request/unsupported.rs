//! Fields that would change the answer and that this server does not support: they are refused, not ignored.

use serde_json::{Value, json};

use super::fields::Fields;
use crate::api_error::ApiError;

/// Fields of both kinds of completions.
const UNSUPPORTED: &[&str] = &[
    "adapter",
    "audio",
    "beam_width",
    "chat_template",
    "custom_logit_processor",
    "custom_params",
    "documents",
    "dry_allowed_length",
    "dry_base",
    "dry_multiplier",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_exponent",
    "dynatemp_range",
    "early_stopping",
    "ebnf",
    "epsilon_cutoff",
    "eta_cutoff",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "format",
    "function_call",
    "functions",
    "grammar",
    "guidance_scale",
    "guided_decoding_backend",
    "guided_whitespace_pattern",
    "json_schema",
    "kv_transfer_params",
    "length_penalty",
    "logits_processors",
    "lora",
    "lora_name",
    "lora_path",
    "max_new_tokens",
    "min_keep",
    "min_new_tokens",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "modalities",
    "n_predict",
    "n_probs",
    "negative_prompt",
    "no_repeat_ngram_size",
    "no_stop_trim",
    "num_beams",
    "num_ctx",
    "num_predict",
    "num_return_sequences",
    "options",
    "penalty_alpha",
    "post_sampling_probs",
    "prediction",
    "prompt_embeds",
    "prompt_logprob",
    "reasoning",
    "reasoning_effort",
    "regex",
    "repeat_last_n",
    "repeat_penalty",
    "return_full_text",
    "return_hidden_states",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "sampler_seed",
    "samplers",
    "smoothing_factor",
    "stop_regex",
    "stop_sequences",
    "structural_tag",
    "suffix",
    "tfs_z",
    "think",
    "thinking",
    "thinking_token_budget",
    "top_a",
    "top_n_sigma",
    "truncate_prompt_tokens",
    "typical",
    "typical_p",
    "use_beam_search",
    "verbosity",
    "vllm_xargs",
    "web_search_options",
    "xtc_probability",
    "xtc_threshold",
];

/// Fields whose value says that nothing is to change.
fn neutral(name: &str, value: &Value) -> bool {
    match name {
        "typical_p"
        | "typical"
        | "length_penalty"
        | "guidance_scale"
        | "repeat_penalty"
        | "num_beams"
        | "num_return_sequences"
        | "tfs_z" => value.as_f64() == Some(1.0),
        "modalities" => *value == json!(["text"]),
        "suffix" | "format" => value == "",
        "function_call" => value == "none",
        _ => match value {
            Value::Bool(set) => !set,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        },
    }
}

/// Refuses a body that asks for something that is not supported.
///
/// # Errors
/// [`ApiError::invalid`] names the field.
pub(super) fn refuse_unsupported(fields: &Fields) -> Result<(), ApiError> {
    let refused = |name: &str, what: &str| Err(ApiError::invalid(name, format!("{what} is not supported")));
    for name in UNSUPPORTED {
        if fields.get(name).is_some_and(|value| !neutral(name, value)) {
            return refused(name, &format!("`{name}`"));
        }
    }
    for name in ["skip_special_tokens", "spaces_between_special_tokens"] {
        if fields.get(name).is_some() && !fields.flag(name)? {
            return refused(name, &format!("`{name}`: false"));
        }
    }
    Ok(())
}
