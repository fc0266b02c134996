//! The model that a task is run on.

use ivl_core::CausalLm;
use ivl_models::Tokenizer;

/// A model with what it takes to prompt it and to read its answers.
#[derive(Clone, Copy)]
pub struct EvalModel<'a> {
    /// The model.
    pub lm: &'a dyn CausalLm,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Tokens that end an answer.
    pub end_tokens: &'a [u32],
    /// Whether all parts of the model can read a text; values of another vocabulary may not.
    pub reads: &'a dyn Fn(&str) -> bool,
}
