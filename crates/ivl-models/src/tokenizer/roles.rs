//! Control tokens by what they are for.

use ivl_core::Vocab;
use ivl_core::vocab::Role;
use serde_json::Value;

/// Names under which tokenizers are known to write a role; what `tokenizer_config.json` says goes before them.
const NAMES: [(Role, &[&str]); 6] = [
    (Role::Beginning, &["<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "[BOS]", "<|endoftext|>"]),
    (Role::End, &["</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "[EOS]"]),
    (Role::Padding, &["<pad>", "<|pad|>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>"]),
    (Role::Unknown, &["<unk>", "[UNK]"]),
    (
        Role::TurnStart,
        &["<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "[INST]", "<|user|>", "<|assistant|>"],
    ),
    (Role::TurnEnd, &["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "[/INST]"]),
];

/// The fields of `tokenizer_config.json` that name a role.
const FIELDS: [(&str, Role); 4] = [
    ("bos_token", Role::Beginning),
    ("eos_token", Role::End),
    ("pad_token", Role::Padding),
    ("unk_token", Role::Unknown),
];

/// Adds roles to a vocabulary: those that the configuration names, then those that are known by name. `declared` is the
/// token of a field of the configuration, `id` the id of a token.
pub(crate) fn with_roles<'a>(
    mut vocab: Vocab,
    declared: impl Fn(&str) -> Option<&'a str>,
    id: impl Fn(&str) -> Option<u32>,
) -> Vocab {
    for (field, role) in FIELDS {
        if let Some(id) = declared(field).and_then(&id) {
            vocab = vocab.with_role(role, id);
        }
    }
    for (role, names) in NAMES {
        for id in names.iter().filter_map(|name| id(name)) {
            // `<|endoftext|>` begins a text only where nothing else does.
            let second = role == Role::Beginning && vocab.role(role).is_some();
            if !second {
                vocab = vocab.with_role(role, id);
            }
        }
    }
    vocab
}

/// Whether a `tokenizer.json` gives every text a leading space of its own.
pub(crate) fn adds_space(parts: &[&Value]) -> bool {
    parts.iter().any(|part| match part["type"].as_str() {
        Some("Prepend") => part["prepend"] == "▁" || part["prepend"] == " ",
        // The scheme replaced the flag; a file has one or the other.
        Some("Metaspace") => match part["prepend_scheme"].as_str() {
            Some(scheme) => scheme != "never",
            None => part["add_prefix_space"] != false,
        },
        Some("ByteLevel") => part["add_prefix_space"] == true,
        _ => false,
    })
}

/// Whether a `tokenizer.json` changes the characters of a text before it cuts them.
pub(crate) fn changes_text(normalizer: &[&Value]) -> bool {
    normalizer.iter().any(|part| match part["type"].as_str() {
        None | Some("Sequence" | "Prepend") => false,
        Some("Replace") => part["content"] != "▁",
        Some(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ivl_core::vocab::Token;
    use serde_json::json;

    fn roles(names: &[&'static str], eos: Option<&'static str>) -> Vec<(Role, u32)> {
        let vocab = Vocab::new(names.iter().map(|name| Some(Token::control(name))).collect());
        let id = |name: &str| names.iter().position(|other| *other == name).map(|id| id as u32);
        with_roles(vocab, |field| eos.filter(|_| field == "eos_token"), id).roles().to_vec()
    }

    #[test]
    fn roles_come_from_the_configuration_and_then_from_names() {
        assert_eq!(roles(&["<|endoftext|>"], None), [(Role::Beginning, 0), (Role::End, 0)]);
        let llama3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"];
        let named = [(Role::Beginning, 0), (Role::End, 1), (Role::TurnEnd, 2)];
        assert_eq!(roles(&llama3, None), named);
        let chat = roles(&llama3, Some("<|eot_id|>"));
        assert_eq!(chat, [(Role::End, 2), (Role::Beginning, 0), (Role::End, 1), (Role::TurnEnd, 2)]);
        assert_eq!(roles(&["my_own"], Some("my_own")), [(Role::End, 0)]);
    }

    #[test]
    fn leading_spaces_follow_the_file() {
        let says = |part: Value| adds_space(&[&part]);
        assert!(says(json!({"type": "Prepend", "prepend": "▁"})));
        assert!(says(json!({"type": "Metaspace", "prepend_scheme": "first"})));
        assert!(!says(json!({"type": "Metaspace", "prepend_scheme": "never"})));
        assert!(says(json!({"type": "Metaspace", "add_prefix_space": true})));
        assert!(!says(json!({"type": "ByteLevel", "add_prefix_space": false})));
    }
}
