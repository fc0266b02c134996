//! The spans of assistant turns in a rendered conversation.
//!
//! A template may strip the content, put a default system prompt before it, drop the reasoning of earlier turns, or merge
//! turns. So nothing is assumed of it but this: what it shows of a turn depends on that turn. A letter that occurs nowhere
//! else is rendered in place of the turn's content; what both renderings share before and after it is the frame, and what
//! is between in the true one is the turn's own text.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::template::chat::{ChatTemplate, Message, RenderOptions};
use crate::template::chat_error::ChatError;

/// A rendered conversation with the spans of its assistant turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// The whole text.
    pub text: String,
    /// The assistant's turns in order, as byte ranges of the text.
    pub turns: Vec<Turn>,
}

/// One turn of an assistant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Which of the messages.
    pub turn: usize,
    /// From the end of the generation prompt to the end of the turn's text: content, reasoning, tool calls.
    pub words: Range<usize>,
    /// The text that closes the turn whatever follows; empty if the beginning of the next turn closes it. A
    /// control token in it, or right after it, ends a generation. `None` if the template marks turns by blocks.
    pub close: Option<Range<usize>>,
}

/// The text that a template puts around every turn, found on a conversation of two.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    /// The text that `add_generation_prompt` adds; may be empty.
    prompt: String,
    /// The text after an assistant's last turn.
    close: Option<String>,
}

/// Fields with text of an assistant besides its content.
const SPOKEN_FIELDS: [&str; 5] =
    ["tool_calls", "function_call", "reasoning_content", "reasoning", "thinking"];

/// The end of the reasoning that templates drop from earlier turns.
const END_OF_REASONING: &str = "</think>";

impl ChatTemplate {
    /// Renders a conversation and finds every turn of an assistant in it.
    ///
    /// Where the template has `{% generation %}` blocks, they define the text exactly, as in transformers, and nothing
    /// else is trained.
    ///
    /// # Errors
    /// [`ChatError::Render`], or [`ChatError::TurnDropped`], [`ChatError::TurnMoved`], [`ChatError::TurnChanged`] or
    /// [`ChatError::NothingMarked`] for a template whose assistant turns cannot be found.
    pub fn render_spoken(&self, messages: &[Message], options: &RenderOptions) -> Result<Spoken, ChatError> {
        let text = self.render(messages, options)?;
        let letters = Letters::unused(messages, &text)?;
        let finder =
            Finder { template: self, messages, options, text: &text, letters, frame: self.frame(options) };
        let turns = finder.turns()?;
        if !self.has_marks(options) {
            return Ok(Spoken { text, turns });
        }
        let turns = self.marked(messages, options, letters, &turns)?;
        Ok(Spoken { text, turns })
    }

    /// The generation blocks, each with the turn that it belongs to.
    fn marked(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        letters: Letters,
        turns: &[Turn],
    ) -> Result<Vec<Turn>, ChatError> {
        let [open, close] = [letters.turn(0), letters.turn(1)];
        let text = self.render_marked(messages, options, Some([open, close]))?;
        let (mut marked, mut at, mut start) = (Vec::new(), 0, 0);
        for letter in text.chars() {
            if letter == open {
                start = at;
            } else if letter == close {
                let owner = turns.iter().rfind(|turn| turn.words.start < at).or(turns.first());
                let turn = owner.map_or(0, |owner| owner.turn);
                marked.push(Turn { turn, words: start..at, close: None });
            } else {
                at += letter.len_utf8();
            }
        }
        marked.retain(|turn| !turn.words.is_empty());
        if marked.is_empty() && !turns.is_empty() {
            return Err(ChatError::NothingMarked { path: self.path() });
        }
        Ok(marked)
    }

    fn frame(&self, options: &RenderOptions) -> &Frame {
        self.frames[usize::from(self.uses_tools(options))].get_or_init(|| self.probe(options))
    }

    /// A template may refuse the conversation of two; then nothing is known of its frame.
    fn probe(&self, options: &RenderOptions) -> Frame {
        let letters = Letters { first: Letters::FIRST };
        let (user, assistant) = (letters.message("user", 0), letters.message("assistant", 1));
        let after = |messages: &[Message], add_generation_prompt, letter: char| {
            let options = RenderOptions { add_generation_prompt, ..options.clone() };
            let text = self.render(messages, &options).ok()?;
            text.rsplit_once(letter).map(|(_, after)| after.to_owned())
        };
        let plain = after(std::slice::from_ref(&user), false, letters.turn(0)).unwrap_or_default();
        let prompted = after(std::slice::from_ref(&user), true, letters.turn(0)).unwrap_or_default();
        let prompt = prompted[common_prefix(&plain, &prompted)..].to_owned();
        Frame { prompt, close: after(&[user, assistant], false, letters.turn(1)) }
    }
}

/// Letters of Unicode's last plane, one for each turn, that occur nowhere in a conversation.
#[derive(Debug, Clone, Copy)]
struct Letters {
    first: u32,
}

impl Letters {
    const FIRST: u32 = 0x10_0000;
    const LAST: u32 = 0x10_fffd;

    fn unused(messages: &[Message], text: &str) -> Result<Self, ChatError> {
        let turns = messages.len().max(2) as u32;
        let json = serde_json::to_string(messages).unwrap_or_default();
        let used = json.chars().chain(text.chars()).map(u32::from);
        let past = used.filter(|letter| *letter >= Self::FIRST).max().map_or(Self::FIRST, |last| last + 1);
        if past + turns > Self::LAST {
            return Err(ChatError::NoLetters { turns: messages.len() });
        }
        Ok(Self { first: past })
    }

    fn turn(self, turn: usize) -> char {
        char::from_u32(self.first + turn as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn message(self, role: &str, turn: usize) -> Message {
        Message { role: role.to_owned(), content: self.turn(turn).to_string().into(), extra: Map::new() }
    }

    /// A turn with its letter in place of all that it says.
    fn replace(self, message: &Message, turn: usize, keep_fields: bool) -> Message {
        let mut replaced = Message { extra: message.extra.clone(), ..self.message(&message.role, turn) };
        if !keep_fields {
            for field in SPOKEN_FIELDS {
                replaced.extra.remove(field);
            }
        }
        replaced
    }
}

/// Looks for the turns of one conversation.
struct Finder<'a> {
    template: &'a ChatTemplate,
    messages: &'a [Message],
    options: &'a RenderOptions,
    text: &'a str,
    letters: Letters,
    frame: &'a Frame,
}

impl Finder<'_> {
    fn turns(&self) -> Result<Vec<Turn>, ChatError> {
        let spoken: Vec<usize> =
            (0..self.messages.len()).filter(|&turn| self.messages[turn].role == "assistant").collect();
        if spoken.is_empty() {
            return Ok(Vec::new());
        }
        let skeleton = self.render_replaced(|_| true)?;
        let mut turns: Vec<Turn> = Vec::with_capacity(spoken.len());
        let mut last = 0;
        for turn in spoken {
            let at = self.place(&skeleton, turn)?;
            if at < last {
                return Err(ChatError::TurnMoved { path: self.template.path(), turn });
            }
            last = at;
            if let Some(found) = self.turn(turn, &skeleton, at, turns.last())? {
                turns.push(found);
            }
        }
        match turns.windows(2).find(|pair| pair[1].words.start < pair[0].words.end) {
            Some(pair) => Err(ChatError::TurnMoved { path: self.template.path(), turn: pair[1].turn }),
            None => Ok(turns),
        }
    }

    /// One turn, or none if it says nothing and nothing of it is shown.
    fn turn(
        &self,
        turn: usize,
        skeleton: &str,
        at: usize,
        previous: Option<&Turn>,
    ) -> Result<Option<Turn>, ChatError> {
        let replaced = self.render_replaced(|other| other == turn)?;
        let letter = self.letters.turn(turn);
        let x = self.place(&replaced, turn)?;
        let (before, after) = (&replaced[..x], &replaced[x + letter.len_utf8()..]);
        let (same_before, same_after) =
            (common_prefix(self.text, &replaced), common_suffix(self.text, &replaced));
        let path = || self.template.path();
        if same_before + same_after > self.text.len() {
            let silent = words(&self.messages[turn]).is_empty();
            return if silent { Ok(None) } else { Err(ChatError::TurnDropped { path: path(), turn }) };
        }
        // Between the turn before and this one: what closes the former, then what opens this.
        let opening =
            &skeleton[skeleton[..at].rfind(|c| self.is_letter(c)).map_or(0, |i| i + letter.len_utf8())..at];
        let opening = &opening[opening.len() - common_suffix(before, opening)..];
        let prompt = &self.frame.prompt;
        let header = if prompt.is_empty() { None } else { opening.rfind(prompt.as_str()) };
        let mut start = x - header.map_or(0, |header| opening.len() - header - prompt.len());
        if let (None, Some(previous)) = (header, previous)
            && previous.turn + 1 == turn
            && previous.close.as_ref().is_some_and(Range::is_empty)
            && !prompt.is_empty()
        {
            // Two turns merged: the text that joins them belongs to them.
            start = previous.words.end;
        }
        let start = start.min(same_before);
        let end = self.text.len() - same_after;
        if start > end || !shows(&self.text[start..end], &self.messages[turn]) {
            return Err(ChatError::TurnChanged { path: path(), turn });
        }
        let close = self.close(after, &skeleton[at + letter.len_utf8()..]);
        // If the closing text depends on the content, it belongs to the content.
        let close = close.saturating_sub(after.len() - same_after);
        Ok(Some(Turn { turn, words: start..end, close: Some(end..end + close) }))
    }

    /// The length of the text after the content that closes the turn.
    fn close(&self, after: &str, skeleton: &str) -> usize {
        let next = skeleton.find(|c| self.is_letter(c));
        let close = common_prefix(after, &skeleton[..next.unwrap_or(skeleton.len())]);
        match (&self.frame.close, next) {
            (Some(last), Some(_)) => common_prefix(&after[..close], last),
            _ => close,
        }
    }

    /// The conversation with letters in place of some turns. A template may insist on calls before their results: then
    /// only the content is replaced.
    fn render_replaced(&self, which: impl Fn(usize) -> bool) -> Result<String, ChatError> {
        let render = |keep_fields| {
            let replace = |(turn, message): (usize, &Message)| {
                if which(turn) { self.letters.replace(message, turn, keep_fields) } else { message.clone() }
            };
            let messages: Vec<Message> = self.messages.iter().enumerate().map(replace).collect();
            self.template.render(&messages, self.options)
        };
        render(false).or_else(|_| render(true))
    }

    /// The position of the letter of a turn, which must occur once.
    fn place(&self, text: &str, turn: usize) -> Result<usize, ChatError> {
        let mut places = text.match_indices(self.letters.turn(turn)).map(|(at, _)| at);
        match (places.next(), places.next()) {
            (Some(at), None) => Ok(at),
            (None, _) => Err(ChatError::TurnDropped { path: self.template.path(), turn }),
            _ => Err(ChatError::TurnMoved { path: self.template.path(), turn }),
        }
    }

    fn is_letter(&self, c: char) -> bool {
        let first = self.letters.first;
        (first..first + self.messages.len() as u32).contains(&u32::from(c))
    }
}

/// The content of a message: its text, or the texts of its parts.
fn words(message: &Message) -> Vec<&str> {
    let texts: Vec<&str> = match &message.content {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => Vec::new(),
    };
    texts.into_iter().map(str::trim).filter(|text| !text.is_empty()).collect()
}

/// Whether a text shows all that a message says, reasoning aside, in its order. Blanks do not count.
fn shows(text: &str, message: &Message) -> bool {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    let text = bare(text);
    let mut from = 0;
    words(message).into_iter().all(|said| {
        let said = bare(said.rsplit(END_OF_REASONING).next().unwrap_or(said));
        let found = text[from..].find(&said);
        from += found.map_or(0, |at| at + said.len());
        found.is_some()
    })
}

/// Bytes that two texts begin with alike.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y);
    same.map_or(a.len().min(b.len()), |((at, _), _)| at)
}

/// Bytes that two texts end with alike.
fn common_suffix(a: &str, b: &str) -> usize {
    a.chars().rev().zip(b.chars().rev()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("chat_template.jinja");
        std::fs::write(&path, source).expect("writes");
        ChatTemplate::from_file(&path).expect("compiles")
    }

    fn messages(turns: &[(&str, &str)]) -> Vec<Message> {
        turns.iter().map(|(role, content)| Message::new(role, content)).collect()
    }

    /// For each turn its text and the text that closes it.
    fn spoken(source: &str, turns: &[(&str, &str)]) -> Result<Vec<(String, String)>, ChatError> {
        let spoken = template(source).render_spoken(&messages(turns), &RenderOptions::default())?;
        let part = |range: &Range<usize>| spoken.text[range.clone()].to_owned();
        let turn = |turn: &Turn| (part(&turn.words), turn.close.as_ref().map(part).unwrap_or_default());
        Ok(spoken.turns.iter().map(turn).collect())
    }

    const LONG: [(&str, &str); 4] =
        [("user", "a"), ("assistant", " a "), ("user", "b"), ("assistant", "<think>x</think>b")];

    #[test]
    fn words_are_told_from_what_is_around_them() {
        let check = |source, turns: &[(&str, &str)], expected: &[(&str, &str)]| {
            let found = spoken(source, turns).expect(source);
            let found: Vec<(&str, &str)> = found.iter().map(|(words, close)| (&**words, &**close)).collect();
            assert_eq!(found, expected, "{source}");
        };
        // Stripped, and closed the same way every time, whatever follows.
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}<end>\n{% endfor %}\
                      {% if add_generation_prompt %}[assistant]{% endif %}";
        check(source, &LONG, &[("a", "<end>\n"), ("<think>x</think>b", "<end>\n")]);
        // Not closed at all: the next turn's opening is no part of the turn.
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
        check(source, &LONG, &[(" a ", ""), ("<think>x</think>b", "")]);
        // Reasoning is dropped except in the last turn, and inserted if it is missing.
        let source = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' and loop.last and \
                      '</think>' not in m.content %}<think></think>{% endif %}\
                      {% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}<end>\
                      {% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
        check(source, &LONG, &[(" a ", "<end>"), ("<think>x</think>b", "<end>")]);
        check(source, &LONG[..2], &[("<think></think> a ", "<end>")]);
        check(
            source,
            &[LONG[0], LONG[3], LONG[0], LONG[1]],
            &[("b", "<end>"), ("<think></think> a ", "<end>")],
        );
        // Turns of one role are merged: the text that joins them belongs to them.
        let source = "{% for m in messages %}{% if loop.first or messages[loop.index0 - 1].role != m.role %}\
                      [{{ m.role }}]{% else %}, {% endif %}{{ m.content }}{% endfor %}\
                      {% if add_generation_prompt %}[assistant]{% endif %}";
        check(source, &[LONG[0], LONG[1], LONG[1]], &[(" a ", ""), (",  a ", "")]);
        // An empty turn still has its end.
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<end>{% endfor %}";
        check(source, &[LONG[0], ("assistant", "")], &[("", "<end>")]);
    }

    #[test]
    fn a_template_that_hides_moves_or_changes_words_is_refused_with_the_turn() {
        let refused = |source| spoken(source, &LONG).expect_err(source);
        let dropped = refused("{% for m in messages[:3] %}{{ m.content }};{% endfor %}");
        assert!(matches!(dropped, ChatError::TurnDropped { turn: 3, .. }), "{dropped:?}");
        let reordered = refused("{% for m in messages | reverse %}{{ m.content }};{% endfor %}");
        assert!(matches!(reordered, ChatError::TurnMoved { turn: 3, .. }), "{reordered:?}");
        let twice = refused("{% for m in messages %}{{ m.content }};{{ m.content }};{% endfor %}");
        assert!(matches!(twice, ChatError::TurnMoved { turn: 1, .. }), "{twice:?}");
        let changed = refused("{% for m in messages %}{{ m.content | upper }};{% endfor %}");
        assert!(matches!(changed, ChatError::TurnChanged { turn: 1, .. }), "{changed:?}");
        let cut = refused("{% for m in messages %}{{ m.content[:5] }};{% endfor %}");
        assert!(matches!(cut, ChatError::TurnChanged { turn: 3, .. }), "{cut:?}");
        let unmarked =
            refused("{% for m in messages %}{{ m.content }};{% endfor %}{% generation %}{% endgeneration %}");
        assert!(matches!(unmarked, ChatError::NothingMarked { .. }), "{unmarked:?}");
    }

    #[test]
    fn parts_and_calls_of_tools_are_words_too() {
        let source = "{% for m in messages %}[{{ m.role }}]{% if m.content is string %}{{ m.content }}{% else %}\
                      {% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}\
                      {% for call in m.tool_calls or [] %}<call>{{ call.name }}</call>{% endfor %}<end>{% endfor %}";
        let mut messages = messages(&[("user", "q"), ("assistant", ""), ("assistant", "")]);
        messages[1].extra.insert("tool_calls".to_owned(), serde_json::json!([{ "name": "f" }]));
        messages[2].content = serde_json::json!([{ "text": "one" }, { "text": " two" }]);
        let spoken = template(source).render_spoken(&messages, &RenderOptions::default()).expect("renders");
        let words: Vec<&str> = spoken.turns.iter().map(|turn| &spoken.text[turn.words.clone()]).collect();
        assert_eq!(words, ["<call>f</call>", "one two"]);
    }
}
