//! Demonstrations as examples: rendered, tokenised, and masked.

use std::ops::Range;

use ivl_core::Vocab;
use ivl_core::vocab::TokenKind;
use ivl_models::{ChatTemplate, Message, RenderOptions, SpanFinder, Tokenizer, Turn};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::config::{DataConfig, OnError};
use crate::data::dataset::Row;
use crate::data::demonstration::{Conversation, Demonstration, instruction_messages};
use crate::data::example::Example;

/// A token with the bytes that it covers; none if the tokenizer has added it.
type Encoded = (u32, (usize, usize));

/// Turns rows into examples.
#[derive(Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    template: Option<SpanFinder<'a>>,
    options: EncodeOptions,
    vocab: Vocab,
    end: Option<u32>,
    /// Logits of the models that read the tokens.
    logits: usize,
}

/// Counts of a row, besides its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EncodeOptions {
    /// The longest example in tokens.
    pub(crate) max_length: usize,
    /// Leaves out longer examples, instead of cutting them.
    pub(crate) drop_longer: bool,
    /// Leaves out rows that cannot become examples, instead of failing.
    pub(crate) on_error: OnError,
    /// Trains only the last trained turn of a conversation.
    pub(crate) last_turn_only: bool,
}

/// A text, and the parts of it that are trained.
struct RenderedExample {
    text: String,
    /// Trained: every token with a byte of these.
    trained: Vec<Range<usize>>,
    /// Trained up to the first control token: what ends a turn, and a control token right after it.
    turn_ends: Vec<Range<usize>>,
    /// Whether no template rendered the text: it then begins and ends as the tokenizer wants.
    plain: bool,
}

impl<'a> Encoder<'a> {
    /// An encoder with the tokenizer of base and value, the template that renders messages, and the longest example in
    /// tokens.
    pub fn new(tokenizer: &'a Tokenizer, template: Option<&'a ChatTemplate>, max_length: usize) -> Self {
        let template = template.map(SpanFinder::new);
        let options =
            EncodeOptions { max_length, drop_longer: false, on_error: OnError::Fail, last_turn_only: false };
        let logits = usize::MAX;
        Self { vocab: tokenizer.vocab(), end: tokenizer.eos_id(), tokenizer, template, options, logits }
    }

    /// The encoder with what `[data]` says of rows that are too long, broken, or conversations; its `max_length` is not
    /// taken.
    #[must_use]
    pub fn with_data(mut self, data: &DataConfig) -> Self {
        self.options.drop_longer = data.drop_longer;
        self.options.on_error = data.on_error;
        self.options.last_turn_only = data.last_turn_only;
        self
    }

    /// The encoder for models with so many logits: a row with a token beyond them is an error.
    #[must_use]
    pub fn with_logits(mut self, logits: usize) -> Self {
        self.logits = logits;
        self
    }

    /// The longest example in tokens.
    pub fn max_length(&self) -> usize {
        self.options.max_length
    }

    pub(crate) fn options(&self) -> EncodeOptions {
        self.options
    }

    /// SHA-256, in hexadecimal, over all that decides which tokens a row becomes.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn fingerprint(&self) -> Result<String, Error> {
        let mut hash = Sha256::new();
        hash.update(self.tokenizer.to_json()?);
        // The dates that a template may print are no part of what it is.
        hash.update(format!("{:?} {:?} ", self.end, self.options));
        hash.update(self.template.as_ref().map_or_else(String::new, |finder| finder.template().identity()));
        Ok(hex::encode(hash.finalize()))
    }

    /// The examples of a row: one, or of a pair the chosen and the rejected answer.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_row(&self, row: &Row) -> Result<Vec<Example>, Error> {
        match &row.demonstration {
            Demonstration::Pair(sides) => {
                sides.iter().map(|side| self.encode_demonstration(row, side)).collect()
            }
            demonstration => Ok(vec![self.encode_demonstration(row, demonstration)?]),
        }
    }

    /// Tokenises one row, of a pair the chosen answer: the text as a whole, so that tokens are those of generation. A token is trained if it has a byte
    /// of a trained span, as in transformers. Prompt-completion pairs and texts end with the end token, trained; the end of
    /// a turn is trained up to its first control token, which is where a generation stops.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] or [`Error::Render`] for messages that cannot be rendered, [`Error::TokenBeyondLogits`].
    pub fn encode(&self, row: &Row) -> Result<Example, Error> {
        self.encode_demonstration(row, &row.demonstration)
    }

    fn encode_demonstration(&self, row: &Row, demonstration: &Demonstration) -> Result<Example, Error> {
        let rendered = self.render(row, demonstration)?;
        let encoded = self
            .tokenizer
            .encode_with_offsets(&rendered.text, rendered.plain)
            .map_err(|source| Error::RowTokens { place: row.place.clone(), source })?;
        let encoded = if rendered.plain { self.without_doubles(encoded) } else { encoded };
        let mut marker = Marker { rendered: &rendered, span: 0, end: 0 };
        let mut example = Example::default();
        let mut previous_end = 0;
        for (id, (start, end)) in encoded {
            let is_control = self.is_control(id);
            // A tokenizer that trims offsets gives blanks no bytes: they are those after the token before.
            let start = if start >= end && !is_control { previous_end.min(end) } else { start };
            // A control token without text of its own (the beginning of text) is read, not trained.
            let trained = start < end && marker.is_trained(start, end, is_control);
            example.ids.push(id);
            example.loss_mask.push(trained);
            previous_end = end.max(previous_end);
        }
        if rendered.plain {
            self.close(&mut example);
        }
        if let Some(&id) = example.ids.iter().find(|&&id| id as usize >= self.logits) {
            let token = self.tokenizer.id_to_token(id).unwrap_or_default();
            let place = row.place.clone();
            return Err(Error::TokenBeyondLogits { place, id, token, logits: self.logits });
        }
        Ok(example)
    }

    /// Ends a text with the end token, trained, whether the tokenizer has added it or not.
    fn close(&self, example: &mut Example) {
        let Some(end) = self.end else { return };
        match (example.ids.last(), example.loss_mask.last_mut()) {
            (Some(&last), Some(trained)) if last == end => *trained = true,
            _ => {
                example.ids.push(end);
                example.loss_mask.push(true);
            }
        }
    }

    /// Tokens without the beginning and the end that the tokenizer adds to a text which has them already.
    fn without_doubles(&self, mut encoded: Vec<Encoded>) -> Vec<Encoded> {
        let is_added = |(_, (start, end)): &Encoded| start == end;
        if let [first, second, ..] = &encoded[..]
            && is_added(first)
            && first.0 == second.0
            && self.is_control(first.0)
        {
            encoded.remove(0);
        }
        if let [.., before, last] = &encoded[..]
            && is_added(last)
            && last.0 == before.0
            && self.is_control(last.0)
        {
            encoded.pop();
        }
        encoded
    }

    fn is_control(&self, id: u32) -> bool {
        Some(id) == self.end || self.vocab.token(id).is_some_and(|token| token.kind == TokenKind::Control)
    }

    fn render(&self, row: &Row, demonstration: &Demonstration) -> Result<RenderedExample, Error> {
        match demonstration {
            Demonstration::Conversation(conversation) => self.render_conversation(row, conversation),
            Demonstration::Instruction { instruction, input, output, system } => match self.template {
                Some(_) => {
                    self.render_conversation(row, &as_conversation(instruction, input, output, system))
                }
                None => Ok(completion(&alpaca_prompt(instruction, input, system), output)),
            },
            Demonstration::Completion { prompt, completion: completed } => Ok(completion(prompt, completed)),
            Demonstration::Text(text) => Ok(completion("", text)),
            Demonstration::Pair(sides) => self.render(row, &sides[0]),
        }
    }

    fn render_conversation(&self, row: &Row, conversation: &Conversation) -> Result<RenderedExample, Error> {
        let Some(template) = &self.template else {
            return Err(Error::NoTemplate { place: row.place.clone() });
        };
        let (tools, extra) = (conversation.tools.clone(), conversation.template_kwargs.clone());
        let options = RenderOptions { tools, extra, ..RenderOptions::default() };
        let spoken = template
            .find(&conversation.messages, &options)
            .map_err(|source| Error::Render { place: row.place.clone(), source: Box::new(source) })?;
        let mut wanted: Vec<usize> = conversation.trained_turns().collect();
        if self.options.last_turn_only {
            wanted = wanted.split_off(wanted.len().saturating_sub(1));
        }
        let turns: Vec<Turn> =
            spoken.turns.into_iter().filter(|turn| wanted.binary_search(&turn.turn).is_ok()).collect();
        Ok(RenderedExample {
            text: spoken.text,
            trained: turns.iter().map(|turn| turn.words.clone()).collect(),
            turn_ends: turns.into_iter().filter_map(|turn| turn.close).collect(),
            plain: false,
        })
    }
}

fn completion(prompt: &str, completion: &str) -> RenderedExample {
    let text = format!("{prompt}{completion}");
    let trained = prompt.len()..text.len();
    RenderedExample { text, trained: vec![trained], turn_ends: Vec::new(), plain: true }
}

fn as_conversation(instruction: &str, input: &str, output: &str, system: &str) -> Conversation {
    let mut messages = instruction_messages(instruction, input, system);
    messages.push(Message::new("assistant", output));
    Conversation::new(messages)
}

/// The prompt of [Alpaca](https://github.com/tatsu-lab/stanford_alpaca), to the letter; the answer follows the colon.
fn alpaca_prompt(instruction: &str, input: &str, system: &str) -> String {
    let task = if input.is_empty() {
        format!(
            "Below is an instruction that describes a task. Write a response that appropriately completes the request.\
             \n\n### Instruction:\n{instruction}"
        )
    } else {
        format!(
            "Below is an instruction that describes a task, paired with an input that provides further context. Write a \
             response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}"
        )
    };
    let system = if system.is_empty() { String::new() } else { format!("{system}\n\n") };
    format!("{system}{task}\n\n### Response:")
}

/// Walks over a rendered example, token by token.
struct Marker<'a> {
    rendered: &'a RenderedExample,
    /// The first trained span that does not end before the next token.
    span: usize,
    /// The first turn's end that is not used up.
    end: usize,
}

impl Marker<'_> {
    fn is_trained(&mut self, start: usize, end: usize, is_control: bool) -> bool {
        let (trained, ends) = (&self.rendered.trained, &self.rendered.turn_ends);
        while trained.get(self.span).is_some_and(|span| span.end <= start) {
            self.span += 1;
        }
        if trained.get(self.span).is_some_and(|span| span.start < end && start < span.end) {
            return true;
        }
        while ends.get(self.end).is_some_and(|span| span.end < start) {
            self.end += 1;
        }
        match ends.get(self.end) {
            // It ends a generation, also if it opens the next turn.
            Some(close) if close.start <= start && is_control => {
                self.end += 1;
                true
            }
            Some(close) => close.start <= start && end <= close.end,
            None => false,
        }
    }
}
