//! The models by name: a base, and values that can be plugged into it.

use std::time::{SystemTime, UNIX_EPOCH};

use ivl_core::Vocab;
use ivl_core::cross_tokenizer::Retokenizer;
use ivl_models::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};

use crate::{ApiError, Error};

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
    pub own_tokens: Option<OwnTokens>,
}

/// How a value of another vocabulary reads texts.
#[derive(Debug, Clone)]
pub struct OwnTokens {
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that it can read.
    pub max_positions: usize,
}

/// What is said about the models, and how text becomes tokens.
#[derive(Debug)]
pub struct Catalog {
    base: String,
    values: Vec<ServedValue>,
    template: Option<ChatTemplate>,
    tokenizer: Tokenizer,
    vocab: Vocab,
    end_tokens: Vec<u32>,
    context: usize,
    longest_token: usize,
    created: u64,
}

impl Catalog {
    /// A base called `base` with its template, and values in the order in which they are attached. `vocab` is that of the
    /// logits, `context` the number of positions that base and values can read.
    ///
    /// # Errors
    /// [`Error::SameId`].
    pub fn new(
        base: String,
        template: Option<ChatTemplate>,
        values: Vec<ServedValue>,
        tokenizer: Tokenizer,
        end_tokens: Vec<u32>,
        vocab: &Vocab,
        context: usize,
    ) -> Result<Self, Error> {
        let mut ids: Vec<&str> =
            values.iter().map(|value| value.id.as_str()).chain([base.as_str()]).collect();
        ids.sort_unstable();
        if let Some(same) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::SameId { id: same[0].to_owned() });
        }
        let longest_token = vocab.iter().flatten().map(|token| token.bytes.len()).max().unwrap_or(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let vocab = vocab.clone();
        Ok(Self {
            base,
            values,
            template,
            tokenizer,
            vocab,
            end_tokens,
            context,
            longest_token,
            created: now,
        })
    }

    /// The base's name.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The values, in the order of the weights.
    pub fn values(&self) -> &[ServedValue] {
        &self.values
    }

    /// Text to tokens.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What the logits stand for.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Tokens that end an answer.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// Positions that base and values can read.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Most bytes that a text which fits into the context can have; longer ones need not be tokenized to be refused.
    pub fn longest_text(&self) -> usize {
        self.context.saturating_mul(self.longest_token)
    }

    /// Refuses a prompt that a value in use cannot read in its own tokens. What is written after it may be: there the base
    /// stands alone.
    ///
    /// # Errors
    /// [`ApiError::invalid`] names the value, and the character or the length.
    pub fn check_read(&self, text: &str, weights: &[f64]) -> Result<(), ApiError> {
        for (value, _) in self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0) {
            let Some(OwnTokens { tokenizer, max_positions }) = &value.own_tokens else { continue };
            let id = &value.id;
            let message = match tokenizer.write(text) {
                Ok(tokens) if tokens.len() <= *max_positions => continue,
                Ok(tokens) => {
                    let got = tokens.len();
                    format!("the prompt is {got} tokens to the value `{id}`, which reads {max_positions}")
                }
                Err(ivl_core::Error::Unwritable { text, byte }) => {
                    format!("the value `{id}` has no token for {text:?} at byte {byte} of the prompt")
                }
                Err(_) => format!("the value `{id}` cannot tokenize the prompt"),
            };
            return Err(ApiError::invalid("prompt", message));
        }
        Ok(())
    }

    /// The template of the first value in use that has one, else the base's.
    pub fn chat_template(&self, weights: &[f64]) -> Option<&ChatTemplate> {
        let used = self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        used.filter_map(|(value, _)| value.template.as_ref()).chain(&self.template).next()
    }

    /// Weights of all values for a model name: the base's name takes none, a value's name that value.
    ///
    /// # Errors
    /// [`ApiError::no_model`].
    pub fn weights_of(&self, model: Option<&str>) -> Result<Vec<f64>, ApiError> {
        let mut weights = vec![0.0; self.values.len()];
        match model {
            None => {}
            Some(model) if model == self.base => {}
            Some(model) => {
                let index = self.value_index(model).ok_or_else(|| ApiError::no_model(model))?;
                weights[index] = self.values[index].alpha;
            }
        }
        Ok(weights)
    }

    /// The place of a value among the weights.
    pub fn value_index(&self, id: &str) -> Option<usize> {
        self.values.iter().position(|value| value.id == id)
    }

    /// The names of the values that some weights use, in order.
    pub fn used(&self, weights: &[f64]) -> Vec<&str> {
        let used = self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        used.map(|(value, _)| value.id.as_str()).collect()
    }

    /// The name under which measurements of a request are kept: the base, a value, or `mixed`.
    pub fn label(&self, weights: &[f64]) -> &str {
        let mut used = self.values.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        match (used.next(), used.next()) {
            (None, _) => &self.base,
            (Some((value, _)), None) => &value.id,
            _ => "mixed",
        }
    }

    /// One entry of `GET /v1/models`.
    pub fn describe(&self, id: &str) -> Option<Value> {
        let ivl = if id == self.base {
            json!({"kind": "base", "chat": self.template.is_some()})
        } else {
            let value = &self.values[self.value_index(id)?];
            let chat = value.template.is_some() || self.template.is_some();
            json!({"kind": "value", "base": self.base, "alpha": value.alpha, "chat": chat})
        };
        Some(json!({
            "id": id, "object": "model", "created": self.created, "owned_by": "ivl",
            "max_model_len": self.context, "ivl": ivl,
        }))
    }

    /// The answer of `GET /v1/models`: the base, then the values.
    pub fn list(&self) -> Value {
        let ids =
            std::iter::once(self.base.as_str()).chain(self.values.iter().map(|value| value.id.as_str()));
        let models: Vec<Value> = ids.filter_map(|id| self.describe(id)).collect();
        json!({"object": "list", "data": models})
    }
}
