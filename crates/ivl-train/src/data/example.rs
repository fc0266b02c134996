//! Demonstrations as tokens, with a mark on those that are learnt.

use std::ops::Range;

use ivl_core::Vocab;
use ivl_core::vocab::TokenKind;
use ivl_models::{ChatTemplate, Message, RenderOptions, Tokenizer, Turn};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::data::{Conversation, Demonstration, Row};

/// A tokenised demonstration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether each token is learnt: predicted under the loss.
    pub learnt: Vec<bool>,
}

impl Example {
    /// Learnt tokens that something precedes: the first token is predicted by nothing.
    pub fn learnt_tokens(&self) -> usize {
        self.learnt.iter().skip(1).filter(|&&learnt| learnt).count()
    }

    /// Cuts the end off.
    pub fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        self.learnt.truncate(len);
    }
}

/// Turns rows into examples.
#[derive(Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    template: Option<&'a ChatTemplate>,
    max_length: usize,
    vocab: Vocab,
    end: Option<u32>,
}

/// A text, and what of it is learnt.
struct Lesson {
    text: String,
    /// Learnt: every token with a byte of these.
    words: Vec<Range<usize>>,
    /// Learnt up to the first control token: what closes a turn, and a control token right behind it.
    closes: Vec<Range<usize>>,
    /// Whether the text stands for itself: it then begins and ends as the tokenizer wants, not as a template says.
    bare: bool,
}

impl<'a> Encoder<'a> {
    /// An encoder with the tokenizer of base and value, the template that renders messages, and the longest example in
    /// tokens.
    pub fn new(tokenizer: &'a Tokenizer, template: Option<&'a ChatTemplate>, max_length: usize) -> Self {
        Self { vocab: tokenizer.vocab(), end: tokenizer.eos_id(), tokenizer, template, max_length }
    }

    /// The longest example in tokens.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// SHA-256, in hexadecimal, over all that decides which tokens a row becomes.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn fingerprint(&self) -> Result<String, Error> {
        let mut hash = Sha256::new();
        hash.update(self.tokenizer.to_json()?);
        // The dates that a template may print are no part of what it is.
        hash.update(format!("{:?} {} ", self.end, self.max_length));
        hash.update(self.template.map_or_else(String::new, ChatTemplate::identity));
        Ok(hex::encode(hash.finalize()))
    }

    /// Tokenises one row: the text as a whole, so that tokens are those of generation. A token is learnt if it has a byte
    /// of what is learnt, as in transformers. Prompt-completion pairs and texts end with the end token, learnt; of a
    /// turn, what closes it is learnt up to the first control token, which is where a generation ends.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] or [`Error::Render`] for messages that cannot be rendered.
    pub fn encode(&self, row: &Row) -> Result<Example, Error> {
        let lesson = self.lesson(row)?;
        let encoded = self.tokenizer.encode_with_offsets(&lesson.text, lesson.bare)?;
        let mut marker = Marker { lesson: &lesson, word: 0, close: 0 };
        let mut example = Example::default();
        for (id, (start, end)) in encoded {
            // A token without text of its own (the beginning-of-text token) is given, not learnt.
            let learnt = start < end && marker.is_learnt(start, end, self.is_control(id));
            example.ids.push(id);
            example.learnt.push(learnt);
        }
        let end = self.end.filter(|&end| lesson.bare && example.ids.last() != Some(&end));
        example.ids.extend(end);
        example.learnt.resize(example.ids.len(), true);
        Ok(example)
    }

    fn is_control(&self, id: u32) -> bool {
        Some(id) == self.end || self.vocab.token(id).is_some_and(|token| token.kind == TokenKind::Control)
    }

    fn lesson(&self, row: &Row) -> Result<Lesson, Error> {
        match &row.demonstration {
            Demonstration::Conversation(conversation) => self.rendered(row, conversation),
            Demonstration::Instruction { instruction, input, output, system } => match self.template {
                Some(_) => self.rendered(row, &as_conversation(instruction, input, output, system)),
                None => Ok(completion(&alpaca_prompt(instruction, input, system), output)),
            },
            Demonstration::Completion { prompt, completion: completed } => Ok(completion(prompt, completed)),
            Demonstration::Text(text) => Ok(completion("", text)),
        }
    }

    fn rendered(&self, row: &Row, conversation: &Conversation) -> Result<Lesson, Error> {
        let Some(template) = self.template else {
            return Err(Error::NoTemplate { place: row.place.clone() });
        };
        let options = RenderOptions { tools: conversation.tools.clone(), ..RenderOptions::default() };
        let spoken = template
            .render_spoken(&conversation.messages, &options)
            .map_err(|source| Error::Render { place: row.place.clone(), source })?;
        let learnt: Vec<Turn> =
            spoken.turns.into_iter().filter(|turn| turn.turn >= conversation.given).collect();
        Ok(Lesson {
            text: spoken.text,
            words: learnt.iter().map(|turn| turn.words.clone()).collect(),
            closes: learnt.into_iter().filter_map(|turn| turn.close).collect(),
            bare: false,
        })
    }
}

fn completion(prompt: &str, completion: &str) -> Lesson {
    let text = format!("{prompt}{completion}");
    let words = prompt.len()..text.len();
    Lesson { text, words: vec![words], closes: Vec::new(), bare: true }
}

fn as_conversation(instruction: &str, input: &str, output: &str, system: &str) -> Conversation {
    let mut messages = Vec::with_capacity(3);
    if !system.is_empty() {
        messages.push(Message::new("system", system));
    }
    let task = if input.is_empty() { instruction.to_owned() } else { format!("{instruction}\n\n{input}") };
    messages.push(Message::new("user", &task));
    messages.push(Message::new("assistant", output));
    Conversation::new(messages)
}

/// The prompt of [Alpaca](https://github.com/tatsu-lab/stanford_alpaca), in whose words its data is meant to be read.
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
    format!("{system}{task}\n\n### Response:\n")
}

/// Walks over a lesson, token by token.
struct Marker<'a> {
    lesson: &'a Lesson,
    /// The first span of words that does not end before the next token.
    word: usize,
    /// The first close that is not done with.
    close: usize,
}

impl Marker<'_> {
    fn is_learnt(&mut self, start: usize, end: usize, is_control: bool) -> bool {
        let (words, closes) = (&self.lesson.words, &self.lesson.closes);
        while words.get(self.word).is_some_and(|span| span.end <= start) {
            self.word += 1;
        }
        if words.get(self.word).is_some_and(|span| span.start < end && start < span.end) {
            return true;
        }
        while closes.get(self.close).is_some_and(|span| span.end < start) {
            self.close += 1;
        }
        match closes.get(self.close) {
            // It ends a generation, also if it opens the next turn.
            Some(close) if close.start <= start && is_control => {
                self.close += 1;
                true
            }
            Some(close) => close.start <= start && end <= close.end,
            None => false,
        }
    }
}
