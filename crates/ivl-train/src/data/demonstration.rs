//! What a row holds: a conversation, an instruction, a prompt with its completion, a text, or two answers to compare.

use ivl_models::Message;
use serde_json::{Map, Value};

/// One demonstration.
#[derive(Debug, Clone, PartialEq)]
pub enum Demonstration {
    /// A conversation; the assistant's turns are trained.
    Conversation(Conversation),
    /// A task and its answer, which is trained. Where there is a chat template it becomes a conversation of one turn, else
    /// Alpaca's prompt.
    Instruction {
        /// The task.
        instruction: String,
        /// The input of the task; may be empty.
        input: String,
        /// Trained.
        output: String,
        /// The system's message; may be empty.
        system: String,
    },
    /// A prompt and what should follow it; the completion is trained.
    Completion {
        /// Given.
        prompt: String,
        /// Trained.
        completion: String,
    },
    /// Plain text, all of it trained: for pre-training.
    Text(String),
    /// The chosen and the rejected answer to one prompt, each with the prompt.
    Pair(Box<[Demonstration; 2]>),
}

/// Messages and what goes with them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// The turns.
    pub messages: Vec<Message>,
    /// The number of turns at the start that are read but not trained, whatever their role.
    pub given: usize,
    /// Turns that are read but not trained, whatever their role, in order: those of weight 0.
    pub untrained: Vec<usize>,
    /// Tools, as JSON schemas.
    pub tools: Option<Vec<Value>>,
    /// Further variables of the template, as in TRL.
    pub template_kwargs: Map<String, Value>,
}

impl Conversation {
    /// Messages of which every assistant turn is trained.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// The turns that are trained.
    pub fn trained_turns(&self) -> impl Iterator<Item = usize> {
        let speaks = |&turn: &usize| {
            self.messages[turn].role == ASSISTANT && self.untrained.binary_search(&turn).is_err()
        };
        (self.given..self.messages.len()).filter(speaks)
    }
}

/// What a demonstration asks, without its (last) answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A text to continue.
    Text(String),
    /// Messages to answer.
    Messages(Conversation),
}

impl Demonstration {
    /// What it asks: of a conversation all that comes before its last trained turn, of a text the whole.
    pub fn prompt(&self) -> Prompt {
        match self {
            Self::Conversation(conversation) => {
                let end = conversation.trained_turns().last().unwrap_or(conversation.messages.len());
                let messages = conversation.messages[..end].to_vec();
                Prompt::Messages(Conversation { given: end, messages, ..conversation.clone() })
            }
            Self::Instruction { instruction, input, system, .. } => {
                Prompt::Messages(Conversation::new(instruction_messages(instruction, input, system)))
            }
            Self::Completion { prompt, .. } => Prompt::Text(prompt.clone()),
            Self::Text(text) => Prompt::Text(text.clone()),
            Self::Pair(sides) => sides[0].prompt(),
        }
    }
}

/// The messages of an instruction: the system's, if there is one, and the task of the user.
pub(super) fn instruction_messages(instruction: &str, input: &str, system: &str) -> Vec<Message> {
    let mut messages = Vec::with_capacity(3);
    if !system.is_empty() {
        messages.push(Message::new("system", system));
    }
    let task = if input.is_empty() { instruction.to_owned() } else { format!("{instruction}\n\n{input}") };
    messages.push(Message::new("user", &task));
    messages
}

/// The role whose turns are trained.
pub(super) const ASSISTANT: &str = "assistant";
