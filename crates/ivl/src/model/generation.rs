//! Continuing prompts.

use ivl_core::decode::{EndTokens, FinishReason, GenerateConfig, Session, TokenStream, generate};
use ivl_models::Message;

use super::Model;
use crate::error::Result;

/// A text that was generated.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Generation {
    /// The text, without the prompt and without what ended it.
    pub text: String,
    /// Its tokens, an end token included.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

impl Generation {
    /// Reads a stream of one row to its end.
    fn collect(stream: TokenStream<'_>) -> Result<Self> {
        let mut generation =
            Self { text: String::new(), ids: Vec::new(), finish_reason: FinishReason::Length };
        for token in stream {
            let token = token?;
            generation.ids.push(token.token);
            generation.text.push_str(&token.text);
            generation.finish_reason = token.finish.unwrap_or(FinishReason::Length);
        }
        Ok(generation)
    }
}

impl Model {
    /// Continues a text.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`](crate::Error::EmptyPrompt), [`Error::Unreadable`](crate::Error::Unreadable), and what [`ivl_core::decode::generate`] refuses.
    pub fn generate(&self, prompt: &str, config: &GenerateConfig) -> Result<Generation> {
        Generation::collect(self.stream(prompt, config)?)
    }

    /// Writes the assistant's turn after some messages, by the model's [chat template](Self::chat_template).
    ///
    /// # Errors
    /// [`Error::NoChatTemplate`](crate::Error::NoChatTemplate), [`Error::Chat`](crate::Error::Chat), and as [`generate`](Self::generate).
    pub fn generate_chat(&self, messages: &[Message], config: &GenerateConfig) -> Result<Generation> {
        let prompt = self.encode_chat(messages, &self.chat_template()?)?;
        Generation::collect(self.stream_tokens(&[prompt], config)?)
    }

    /// Continues a text token by token: an iterator that computes as it is read.
    ///
    /// ```
    /// # let lm = ivl::Model::open("../../examples/first-value/large")?;
    /// let config = ivl::GenerateConfig::default();
    /// for token in lm.stream("Suna lives in", &config)? {
    ///     print!("{}", token?.text);
    /// }
    /// # Ok::<(), ivl::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn stream(&self, prompt: &str, config: &GenerateConfig) -> Result<TokenStream<'_>> {
        let prompt = self.encode_prompt(prompt)?;
        self.stream_tokens(&[prompt], config)
    }

    /// Continues prompts in tokens, all of them in one batch.
    ///
    /// # Errors
    /// As [`ivl_core::decode::generate`].
    pub fn stream_tokens<S: AsRef<[u32]>>(
        &self,
        prompts: &[S],
        config: &GenerateConfig,
    ) -> Result<TokenStream<'_>> {
        Ok(generate(self.lm(), prompts, &self.with_end_tokens(config))?)
    }

    /// A configuration with the [end tokens](Self::end_tokens) of this model, unless it has end tokens of its own.
    pub fn with_end_tokens(&self, config: &GenerateConfig) -> GenerateConfig {
        let mut config = config.clone();
        if config.end_tokens == EndTokens::OfVocab {
            config.end_tokens = EndTokens::Given(self.end_tokens().to_vec());
        }
        config
    }

    /// A session, which keeps what was read of a text for the next one that begins alike.
    pub fn session(&self) -> Session {
        Session::new(self.lm())
    }

    /// The tokens of a text that is to be continued. An empty text is continued where the tokenizer begins every text with a
    /// token of its own.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`](crate::Error::EmptyPrompt) if there is no token, [`Error::Unreadable`](crate::Error::Unreadable).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.reader().encode_prompt(text)
    }
}
