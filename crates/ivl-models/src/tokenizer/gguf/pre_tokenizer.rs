//! What `tokenizer.ggml.pre` names: how a byte-level tokenizer changes a text and cuts it into words before it merges bytes.

use serde_json::{Value, json};

use super::split_patterns as patterns;
use super::split_patterns::{
    BLOOM, GPT2, GPT4O, LLAMA3, QWEN2, QWEN35, SAME, TEKKEN, THREE_ASCII_DIGITS, THREE_DIGITS,
};
use crate::tokenizer::stages::parts;

/// One cut of a text; later ones cut the pieces of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut<'a> {
    /// At the matches of a regular expression, which are pieces as well.
    Split(&'a str),
    /// Numbers from the rest; or every digit alone.
    Digits { individual: bool },
    /// Runs of punctuation from the rest.
    Punctuation,
    /// No cut: from here on, letters stand for bytes.
    Bytes,
}
use Cut::{Bytes, Digits, Punctuation, Split};

/// How the tokenizers that share some names cut texts.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// Names in `tokenizer.ggml.pre`. The first is the one that is written.
    pub(super) names: &'static [&'static str],
    /// Whether the text is brought into Unicode's composed form first.
    nfc: bool,
    cuts: &'static [Cut<'static>],
    /// Whether a word that is a token is never taken apart, whatever the merges are.
    pub(super) ignore_merges: bool,
    /// Whether a text begins with the beginning-of-text token where the file does not say.
    pub(super) adds_bos: bool,
}

const fn named(names: &'static [&'static str], cuts: &'static [Cut<'static>]) -> PreTokenizer {
    PreTokenizer { names, nfc: false, cuts, ignore_merges: false, adds_bos: false }
}

const EACH_DIGIT: Cut<'static> = Digits { individual: true };

/// Cuts and normalization are those of the tokenizer.json of the model after which a name is called, else those of llama.cpp.
const PRE_TOKENIZERS: [PreTokenizer; 24] = [
    named(
        &[
            "gpt-2",
            "phi-2",
            "jais",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
            "trillion",
            "granite-docling",
            "modern-bert",
            "roberta-bpe",
        ],
        &[Split(GPT2), Bytes],
    ),
    PreTokenizer { nfc: true, ..named(&["olmo", "mpt"], &[Split(GPT2), Bytes]) },
    named(
        &["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[EACH_DIGIT, Split(GPT2), Bytes],
    ),
    PreTokenizer { nfc: true, ..named(&["command-r"], &[EACH_DIGIT, Split(GPT2), Bytes]) },
    PreTokenizer {
        ignore_merges: true,
        adds_bos: true,
        ..named(
            &[
                "llama-bpe",
                "llama3",
                "llama-v3",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
                "jina-v5-nano",
            ],
            &[Split(LLAMA3), Bytes],
        )
    },
    PreTokenizer { ignore_merges: true, ..named(&["glm4", "glm5"], &[Split(LLAMA3), Bytes]) },
    named(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[Split(LLAMA3), Bytes]),
    PreTokenizer {
        nfc: true,
        ..named(&["qwen2", "deepseek-r1-qwen", "megrez", "kormo", "f2llmv2"], &[Split(QWEN2), Bytes])
    },
    named(
        &["stablelm2", "hunyuan", "solar-open", "grok-2", "bailingmoe", "bailingmoe2", "llada-moe"],
        &[Split(QWEN2), Bytes],
    ),
    PreTokenizer { nfc: true, ..named(&["qwen35"], &[Split(QWEN35), Bytes]) },
    PreTokenizer { ignore_merges: true, adds_bos: true, ..named(&["tekken"], &[Split(TEKKEN), Bytes]) },
    named(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[Split(GPT4O), Bytes]),
    named(&["tiny_aya", "cohere2moe"], &[Split(patterns::DIGITS_FROM_THE_RIGHT), Split(GPT4O), Bytes]),
    named(
        &["deepseek-llm"],
        &[
            Split(patterns::LINE_BREAK),
            Split(patterns::DEEPSEEK_LETTERS),
            Split(patterns::DEEPSEEK_PUNCTUATION),
            Split(patterns::BLANKS_AT_THE_END),
            Split(patterns::DEEPSEEK_ASIAN),
            Split(patterns::NUMBERS),
            Bytes,
        ],
    ),
    named(
        &["deepseek-coder"],
        &[
            Split(patterns::LINE_BREAK),
            Split(patterns::DEEPSEEK_CODER_LETTERS),
            Split(patterns::DEEPSEEK_CODER_PUNCTUATION),
            Split(patterns::DEEPSEEK_ASIAN),
            EACH_DIGIT,
            Bytes,
        ],
    ),
    named(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[Split(THREE_DIGITS), Split(patterns::DEEPSEEK3_ASIAN), Split(patterns::DEEPSEEK3), Bytes],
    ),
    named(
        &["falcon"],
        &[Punctuation, Split(GPT2), Bytes, Digits { individual: false }, Split(THREE_ASCII_DIGITS)],
    ),
    named(&["bloom", "poro-chat", "gpt3-finnish"], &[Split(BLOOM), Bytes]),
    named(&["viking"], &[Split(BLOOM), EACH_DIGIT, Bytes]),
    named(&["seed-coder"], &[Split(patterns::SEED_CODER), Bytes]),
    PreTokenizer {
        ignore_merges: true,
        ..named(&["minicpm5"], &[Split(THREE_DIGITS), Split(patterns::MINICPM5), Bytes])
    },
    named(&["exaone-moe"], &[Split(patterns::EXAONE_MOE), Bytes]),
    named(&["jais-2"], &[Split(patterns::JAIS2), Bytes]),
    named(
        &["default"],
        &[
            Split(patterns::DEFAULT_PUNCTUATION),
            Split(GPT2),
            Split(patterns::NUMBERS),
            Split(THREE_ASCII_DIGITS),
            Bytes,
        ],
    ),
];

impl PreTokenizer {
    /// The one of a name.
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        PRE_TOKENIZERS.iter().find(|known| known.names.contains(&name))
    }

    /// Every name, sorted.
    pub(super) fn all_names() -> Vec<&'static str> {
        let mut names: Vec<&str> = PRE_TOKENIZERS.iter().flat_map(|known| known.names).copied().collect();
        names.sort_unstable();
        names
    }

    /// The one that changes and cuts every text as these stages of a `tokenizer.json` do.
    pub(super) fn recognize(
        normalizer: &Value,
        pre_tokenizer: &Value,
        ignore_merges: bool,
    ) -> Option<&'static Self> {
        let changes: Vec<_> = parts(&[normalizer]).into_iter().filter(|part| !is_nothing(part)).collect();
        let nfc = match changes.as_slice() {
            [] => false,
            [change] if change["type"] == "NFC" => true,
            _ => return None,
        };
        let cuts = cuts_of(pre_tokenizer)?;
        PRE_TOKENIZERS.iter().find(|known| {
            known.nfc == nfc && known.ignore_merges == ignore_merges && known.cuts == cuts.as_slice()
        })
    }

    /// The `normalizer` of a `tokenizer.json`.
    pub(super) fn normalizer(&self) -> Value {
        if self.nfc { json!({"type": "NFC"}) } else { Value::Null }
    }

    /// The `pre_tokenizer` of a `tokenizer.json`.
    pub(super) fn pre_tokenizer(&self) -> Value {
        json!({"type": "Sequence", "pretokenizers": self.cuts.iter().map(Cut::stage).collect::<Vec<_>>()})
    }
}

impl Cut<'_> {
    fn stage(&self) -> Value {
        match self {
            Self::Split(pattern) => json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false
            }),
            Self::Digits { individual } => json!({"type": "Digits", "individual_digits": individual}),
            Self::Punctuation => json!({"type": "Punctuation", "behavior": "Contiguous"}),
            Self::Bytes => json!({
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
            }),
        }
    }
}

/// A stage that changes nothing, as an empty sequence.
fn is_nothing(stage: &Value) -> bool {
    stage.is_null() || stage["type"] == "Sequence"
}

/// The cuts of the stages of a `tokenizer.json`; `None` where one is of another kind.
fn cuts_of(pre_tokenizer: &Value) -> Option<Vec<Cut<'_>>> {
    let mut cuts = Vec::new();
    for stage in parts(&[pre_tokenizer]) {
        match stage["type"].as_str()? {
            "Sequence" => {}
            "Split" => cuts.push(split_of(stage)?),
            "Digits" => cuts.push(Digits { individual: stage["individual_digits"] == true }),
            "Punctuation" if stage["behavior"] == "Contiguous" => cuts.push(Punctuation),
            "ByteLevel" if stage["add_prefix_space"] == false => {
                if stage["use_regex"] != false {
                    cuts.push(Split(GPT2));
                }
                cuts.push(Bytes);
            }
            _ => return None,
        }
    }
    Some(cuts)
}

fn split_of(stage: &Value) -> Option<Cut<'_>> {
    let pattern = stage["pattern"]["Regex"].as_str()?;
    let pattern = SAME.iter().find(|(other, _)| *other == pattern).map_or(pattern, |(_, same)| same);
    // A pattern that matches everything cuts alike whether matches are isolated, or all else is removed.
    let isolates = stage["behavior"] == "Isolated" && stage["invert"] != true;
    let keeps = stage["behavior"] == "Removed" && stage["invert"] == true && pattern.ends_with(r"|\s+");
    match pattern {
        _ if !isolates && !keeps => None,
        r"\p{N}" => Some(EACH_DIGIT),
        _ => Some(Split(pattern)),
    }
}
