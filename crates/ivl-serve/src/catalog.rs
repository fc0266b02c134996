//! The models by name: a base, and values that can be added to it.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use ivl_core::Vocab;
use ivl_core::cross_tokenizer::Retokenizer;
use ivl_models::{ChatTemplate, SamplingDefaults, Tokenizer};
use serde_json::{Value, json};

use crate::constraint::GrammarCompiler;
use crate::error::Error;

/// The base as clients see it.
#[derive(Debug, Clone)]
pub struct ServedBase {
    /// Its name.
    pub id: String,
    /// Text to tokens, for the base and for the values that share its vocabulary.
    pub tokenizer: Tokenizer,
    /// Its chat template.
    pub template: Option<ChatTemplate>,
    /// Tokens that end an answer: those of the base, of the values, and those with which a template ends a turn.
    pub end_tokens: Vec<u32>,
    /// Sampling settings of requests that name none.
    pub sampling: SamplingDefaults,
}

/// A value as clients see it.
#[derive(Debug, Clone)]
pub struct ServedValue {
    /// Its name.
    pub id: String,
    /// Its weight where a request gives none.
    pub alpha: f64,
    /// The template that it was trained with.
    pub template: Option<ChatTemplate>,
    /// How it reads texts, if not in the base's tokens.
    pub cross_tokenizer: Option<CrossTokenizer>,
}

/// How a value of another vocabulary reads texts.
#[derive(Debug, Clone)]
pub struct CrossTokenizer {
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that it can read.
    pub max_positions: usize,
}

/// The models that a server has, and how text becomes tokens.
#[derive(Debug)]
pub struct Catalog {
    base: ServedBase,
    values: Vec<ServedValue>,
    vocab: Vocab,
    context: usize,
    longest_token: usize,
    created: u64,
    grammars: OnceLock<Result<GrammarCompiler, String>>,
}

impl Catalog {
    /// Names for a base and its values, these in the order in which they are attached. `vocab` is that of the logits,
    /// `context` the number of positions that base and values can read.
    ///
    /// # Errors
    /// [`Error::SameId`] if two models have one name.
    pub fn new(
        base: ServedBase,
        values: Vec<ServedValue>,
        vocab: &Vocab,
        context: usize,
    ) -> Result<Self, Error> {
        let mut ids: Vec<&str> =
            values.iter().map(|value| value.id.as_str()).chain([base.id.as_str()]).collect();
        ids.sort_unstable();
        if let Some(same) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::SameId { id: same[0].to_owned() });
        }
        let longest_token = vocab.iter().flatten().map(|token| token.bytes.len()).max().unwrap_or(1);
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        Ok(Self {
            base,
            values,
            vocab: vocab.clone(),
            context,
            longest_token,
            created,
            grammars: OnceLock::new(),
        })
    }

    /// The base's name.
    pub fn base(&self) -> &str {
        &self.base.id
    }

    /// The values, in the order of the weights.
    pub fn values(&self) -> &[ServedValue] {
        &self.values
    }

    /// Text to tokens.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.base.tokenizer
    }

    /// The tokens of the logits.
    pub(crate) fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Tokens that end an answer.
    pub(crate) fn end_tokens(&self) -> &[u32] {
        &self.base.end_tokens
    }

    /// Sampling settings of requests that name none.
    pub(crate) fn sampling(&self) -> &SamplingDefaults {
        &self.base.sampling
    }

    /// Compiles grammars for the vocabulary. Made when the first request has one: it takes memory for every token.
    ///
    /// # Errors
    /// What llguidance says about the vocabulary.
    pub(crate) fn grammars(&self) -> Result<&GrammarCompiler, String> {
        self.grammars.get_or_init(|| GrammarCompiler::new(&self.vocab)).as_ref().map_err(Clone::clone)
    }

    /// Positions that base and values can read.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// The largest number of bytes of a text that fits into the context; longer ones are refused before they are tokenized.
    pub(crate) fn longest_text(&self) -> usize {
        self.context.saturating_mul(self.longest_token)
    }

    /// Checks that every value in use can read a prompt in its own tokens. It need not be able to read what is written
    /// after it: there the base predicts without it.
    ///
    /// # Errors
    /// One sentence that names the value, and the character or the length.
    pub(crate) fn check_readable(&self, text: &str, weights: &[f64]) -> Result<(), String> {
        for (value, _) in self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0) {
            let Some(CrossTokenizer { tokenizer, max_positions }) = &value.cross_tokenizer else { continue };
            let id = &value.id;
            match tokenizer.tokenize(text) {
                Ok(tokens) if tokens.len() <= *max_positions => {}
                Ok(tokens) => {
                    let got = tokens.len();
                    return Err(format!(
                        "the prompt is {got} tokens to the value `{id}`, which reads {max_positions}"
                    ));
                }
                Err(ivl_core::Error::Unwritable { text, byte }) => {
                    return Err(format!(
                        "the value `{id}` has no token for {text:?} at byte {byte} of the prompt"
                    ));
                }
                Err(_) => return Err(format!("the value `{id}` cannot tokenize the prompt")),
            }
        }
        Ok(())
    }

    /// The template of the first value in use that has one, else the base's.
    pub(crate) fn chat_template(&self, weights: &[f64]) -> Option<&ChatTemplate> {
        let used = self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        used.filter_map(|(value, _)| value.template.as_ref()).chain(&self.base.template).next()
    }

    /// Weights of all values for a model name: no value for the base's name, one value for its own name. `None` if no model
    /// has the name.
    pub(crate) fn weights_of(&self, model: Option<&str>) -> Option<Vec<f64>> {
        let mut weights = vec![0.0; self.values.len()];
        if let Some(model) = model.filter(|model| *model != self.base.id) {
            let index = self.value_index(model)?;
            weights[index] = self.values[index].alpha;
        }
        Some(weights)
    }

    /// The place of a value among the weights.
    pub(crate) fn value_index(&self, id: &str) -> Option<usize> {
        self.values.iter().position(|value| value.id == id)
    }

    /// The names of the values that some weights use, in order.
    pub(crate) fn used(&self, weights: &[f64]) -> Vec<&str> {
        let used = self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        used.map(|(value, _)| value.id.as_str()).collect()
    }

    /// The name under which measurements of a request are kept: the base, a value, or `mixed`.
    pub(crate) fn label(&self, weights: &[f64]) -> &str {
        let mut used = self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        match (used.next(), used.next()) {
            (None, _) => &self.base.id,
            (Some((value, _)), None) => &value.id,
            _ => "mixed",
        }
    }

    /// One entry of `GET /v1/models`.
    pub(crate) fn describe(&self, id: &str) -> Option<Value> {
        let ivl = if id == self.base.id {
            json!({
                "kind": "base", "chat": self.base.template.is_some(), "sampling": sampling_json(&self.base.sampling),
            })
        } else {
            let value = &self.values[self.value_index(id)?];
            let chat = value.template.is_some() || self.base.template.is_some();
            json!({"kind": "value", "base": self.base.id, "alpha": value.alpha, "chat": chat})
        };
        Some(json!({
            "id": id, "object": "model", "created": self.created, "owned_by": "ivl",
            "max_model_len": self.context, "ivl": ivl,
        }))
    }

    /// The answer of `GET /v1/models`: the base, then the values.
    pub(crate) fn list(&self) -> Value {
        let ids =
            std::iter::once(self.base.id.as_str()).chain(self.values.iter().map(|value| value.id.as_str()));
        let models: Vec<Value> = ids.filter_map(|id| self.describe(id)).collect();
        json!({"object": "list", "data": models})
    }
}

/// The sampling settings that the model asks for.
fn sampling_json(sampling: &SamplingDefaults) -> Value {
    let SamplingDefaults { temperature, top_k, top_p, min_p, repetition_penalty, .. } = sampling;
    let settings = [
        ("temperature", temperature.map(Value::from)),
        ("top_k", top_k.map(Value::from)),
        ("top_p", top_p.map(Value::from)),
        ("min_p", min_p.map(Value::from)),
        ("repetition_penalty", repetition_penalty.map(Value::from)),
    ];
    settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
