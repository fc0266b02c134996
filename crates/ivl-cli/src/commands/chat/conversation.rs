//! The messages so far, and their prompt.

use anyhow::{Context, Result};
use ivl::{ChatTemplate, Message, Model};

use crate::args::Chat;

/// Turns, the user's and the assistant's one after the other.
pub struct Conversation {
    /// Without one the turns form one text.
    template: Option<ChatTemplate>,
    system: Option<String>,
    turns: Vec<String>,
}

impl Conversation {
    pub fn new(args: &Chat, model: &Model) -> Result<Self> {
        let template = match args.plain {
            true => None,
            false => Some(model.chat_template().context("cannot chat; --plain does without a template")?),
        };
        Ok(Self { template, system: args.system.clone().filter(|text| !text.is_empty()), turns: Vec::new() })
    }

    /// The tokens of the messages, up to the beginning of the assistant's turn.
    pub fn prompt(&self, model: &Model) -> Result<Vec<u32>> {
        let Some(template) = &self.template else {
            return Ok(model.encode_prompt(&self.text())?);
        };
        let system = self.system.iter().map(|text| Message::new("system", text));
        let turn = |(at, text): (usize, &String)| Message::new(["user", "assistant"][at % 2], text);
        let messages: Vec<Message> = system.chain(self.turns.iter().enumerate().map(turn)).collect();
        Ok(model.encode_chat(&messages, template)?)
    }

    /// One text: a message begins a line, and its answer continues it.
    fn text(&self) -> String {
        let mut text = self.system.as_ref().map_or_else(String::new, |system| format!("{system}\n"));
        for exchange in self.turns.chunks(2) {
            text += &exchange.concat();
            text += "\n";
        }
        text.pop();
        text
    }

    /// Sets the system's message; an empty one takes it away.
    pub fn set_system(&mut self, text: String) {
        self.system = Some(text).filter(|text| !text.is_empty());
    }

    /// Adds what the one whose turn it is says.
    pub fn say(&mut self, text: String) {
        self.turns.push(text);
    }

    /// Takes the last answer back; whether there was one.
    pub fn take_answer(&mut self) -> bool {
        let answered = !self.turns.is_empty() && self.turns.len().is_multiple_of(2);
        if answered {
            self.turns.pop();
        }
        answered
    }

    /// Takes the last message and its answer back; whether there was one.
    pub fn undo(&mut self) -> bool {
        self.take_answer();
        self.turns.pop().is_some()
    }

    /// Forgets all turns; the system's message stays.
    pub fn reset(&mut self) {
        self.turns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_taken_back_in_pairs_and_plain_answers_go_on_with_the_line() {
        let mut talk =
            Conversation { template: None, system: Some("About Suna.".to_owned()), turns: Vec::new() };
        assert!(!talk.undo() && !talk.take_answer());
        for turn in ["Suna lives in", " Oslo.", "Her dog"] {
            talk.say(turn.to_owned());
        }
        assert_eq!(talk.text(), "About Suna.\nSuna lives in Oslo.\nHer dog");
        assert!(!talk.take_answer(), "the last message has none yet");
        assert!(talk.undo() && talk.take_answer());
        talk.set_system(String::new());
        assert_eq!(talk.text(), "Suna lives in");
    }
}
