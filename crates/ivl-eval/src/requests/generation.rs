//! Answers, many at a time.

use ivl_core::CausalLm;
use ivl_core::decode::{GenerateConfig, generate};
use ivl_models::Tokenizer;

use crate::error::Error;

/// How answers are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GreedyBatch<'a> {
    /// Turns tokens into text.
    pub(crate) tokenizer: &'a Tokenizer,
    /// Tokens that end an answer.
    pub(crate) end_tokens: &'a [u32],
    /// Strings that end an answer; it is cut before the first of them.
    pub(crate) until: &'a [String],
    /// Most new tokens.
    pub(crate) max_gen_toks: usize,
}

impl GreedyBatch<'_> {
    /// Greedy answers to a batch of prompts: the text of the new tokens, decoded by the tokenizer without control tokens, up
    /// to the first of the strings that end it.
    ///
    /// # Errors
    /// [`Error::Core`], [`Error::Tokenizer`].
    pub(crate) fn answers<S: AsRef<[u32]>>(
        &self,
        lm: &dyn CausalLm,
        prompts: &[S],
    ) -> Result<Vec<String>, Error> {
        let config = GenerateConfig::default()
            .max_new_tokens(self.max_gen_toks)
            .end_tokens(self.end_tokens.to_vec())
            .stop_strings(self.until.to_vec());
        let mut ids = vec![Vec::new(); prompts.len()];
        for step in generate(lm, prompts, &config)? {
            let step = step?;
            ids[step.row].push(step.token);
        }
        ids.iter().map(|ids| Ok(self.cut(self.tokenizer.decode(ids, true)?))).collect()
    }

    /// The text before the first string that ends it.
    fn cut(&self, mut text: String) -> String {
        let ends = self.until.iter().filter(|end| !end.is_empty()).filter_map(|end| text.find(end.as_str()));
        if let Some(end) = ends.min() {
            text.truncate(end);
        }
        text
    }
}
