//! Where in a rendered conversation the assistant speaks.
//!
//! A template may strip what is said, put a default system prompt before it, drop the reasoning of earlier turns, or merge
//! turns. So nothing is assumed of it but this: what it shows of a turn depends on that turn.
//!
//! A turn is rendered with a letter in its place, one that occurs nowhere else: what both renderings share before and after the
//! letter is the frame, and what stands between in the true one are the turn's own words. One rendering finds many turns, since
//! letters inside the texts of the other speakers cut it into segments.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;

use super::anchored::{AnchoredText, Segment, anchored_message};
use super::chat::{ChatTemplate, RenderOptions};
use super::chat_error::ChatError;
use super::letters::Letters;
use super::message::Message;
use super::turn_frame::{TurnFrame, common_prefix, common_suffix};

/// A rendered conversation, and where the assistant speaks in it.
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
    /// From the end of the generation prompt to the end of what is said: words, reasoning, calls of tools.
    pub words: Range<usize>,
    /// The text that closes the turn whatever follows; empty if the beginning of the next turn closes it. A
    /// control token in it, or right after it, ends a generation. None if the template has said all by its blocks.
    pub close: Option<Range<usize>>,
}

/// Fields with text of an assistant besides its content.
const SPOKEN_FIELDS: [&str; 5] =
    ["tool_calls", "function_call", "reasoning_content", "reasoning", "thinking"];

/// The end of the reasoning that templates drop from earlier turns.
const END_OF_REASONING: &str = "</think>";

/// Finds the assistant's words in conversations that one template renders.
#[derive(Debug)]
pub struct SpanFinder<'a> {
    template: &'a ChatTemplate,
    /// Of the template, and of the one for tools.
    frames: [OnceLock<TurnFrame>; 2],
}

impl<'a> SpanFinder<'a> {
    /// A finder for a template.
    pub fn new(template: &'a ChatTemplate) -> Self {
        Self { template, frames: Default::default() }
    }

    /// The template.
    pub fn template(&self) -> &'a ChatTemplate {
        self.template
    }

    /// Renders a conversation and finds every turn of an assistant in it.
    ///
    /// Where the template has `{% generation %}` blocks, they define the words exactly, as in transformers, and nothing
    /// else is trained.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; [`ChatError::CallsNotShown`], [`ChatError::TurnDropped`], [`ChatError::TurnMoved`], [`ChatError::TurnChanged`] or
    /// [`ChatError::NothingMarked`] for a template whose words cannot be told.
    pub fn find(&self, messages: &[Message], options: &RenderOptions) -> Result<Spoken, ChatError> {
        let messages = self.template.prepared(messages, options)?;
        let text = self.template.render_prepared(&messages, options, None)?;
        let letters = Letters::unused(&messages, &text)?;
        // Further variables, such as those of a row, may change the frame.
        let own = (!options.extra.is_empty()).then(|| TurnFrame::of(self.template, options));
        let usual = &self.frames[usize::from(self.template.uses_tools(options))];
        let frame =
            own.as_ref().unwrap_or_else(|| usual.get_or_init(|| TurnFrame::of(self.template, options)));
        let conversation = Conversation {
            template: self.template,
            messages: &messages,
            options,
            text: &text,
            letters,
            frame,
        };
        let turns = conversation.turns(&conversation.anchored())?;
        self.template.check_roles_shown(&messages, options, &text)?;
        self.template.check_calls_shown(&messages, options, &text)?;
        let turns = if self.template.has_marks(options) { conversation.marked(&turns)? } else { turns };
        Ok(Spoken { text, turns })
    }
}

/// One conversation whose turns are looked for.
struct Conversation<'a> {
    template: &'a ChatTemplate,
    messages: &'a [Message],
    options: &'a RenderOptions,
    text: &'a str,
    letters: Letters,
    frame: &'a TurnFrame,
}

/// Where the words of a turn stand in a text, and that text.
struct Found<'t> {
    /// The text before them.
    before: &'t str,
    /// The text after them.
    after: &'t str,
    /// The words in the true text.
    words: Range<usize>,
    /// Bytes of the true text before which it is that text.
    same_before: usize,
    /// Bytes of the true text after which it is that text.
    same_after: usize,
}

impl Conversation<'_> {
    /// The turns in order.
    fn turns(&self, anchored: &AnchoredText) -> Result<Vec<Turn>, ChatError> {
        let spoken = self.spoken();
        if spoken.is_empty() {
            return Ok(Vec::new());
        }
        let skeleton = self.render_replaced(|_| true, self.messages)?;
        let places = self.places(&skeleton);
        let mut segments = self.segments(anchored, &spoken);
        let mut turns: Vec<Turn> = Vec::with_capacity(spoken.len());
        let mut last = 0;
        for turn in spoken {
            let at = self.place(&places[turn], turn)?;
            if at < last {
                return Err(self.moved(turn));
            }
            let opening = &skeleton[last..at];
            last = at + self.letters.turn(turn).len_utf8();
            // The letter of another speaker may stand between.
            let is_turn = |letter: char| self.letters.turn_of(letter).is_some();
            let opening = opening.rsplit(is_turn).next().unwrap_or(opening);
            let closing = skeleton[last..].split(is_turn).next().unwrap_or_default();
            let is_last = last + closing.len() == skeleton.len();
            let around =
                Around { opening, closing: Closing { text: closing, is_last }, previous: turns.last() };
            let in_segment = segments.remove(&turn).map(|segment| self.turn_in(turn, &segment, &around));
            let found = match in_segment {
                Some(Ok(found)) => found,
                // The other letters may have changed what the template makes of this turn.
                Some(Err(_)) | None => self.turn_in(turn, &self.whole(turn)?, &around)?,
            };
            turns.extend(found);
        }
        match turns.windows(2).find(|pair| pair[1].words.start < pair[0].words.end) {
            Some(pair) => Err(self.moved(pair[1].turn)),
            None => Ok(turns),
        }
    }

    /// The assistant's messages.
    fn spoken(&self) -> Vec<usize> {
        (0..self.messages.len()).filter(|&turn| self.messages[turn].role == "assistant").collect()
    }

    /// The text with letters inside what the others say, if more than one turn is looked for and the letters change nothing else.
    fn anchored(&self) -> AnchoredText {
        let whole = || AnchoredText::whole(self.text, self.letters);
        if self.spoken().len() < 2 {
            return whole();
        }
        let rendered = self.template.render_prepared(&self.with_anchors(), self.options, None).ok();
        rendered
            .and_then(|anchored| AnchoredText::new(&anchored, self.text, self.letters))
            .unwrap_or_else(whole)
    }

    fn with_anchors(&self) -> Vec<Message> {
        let anchor = |(turn, message): (usize, &Message)| match message.role.as_str() {
            "assistant" => message.clone(),
            _ => anchored_message(message, self.letters.anchor(turn)),
        };
        self.messages.iter().enumerate().map(anchor).collect()
    }

    /// The segments of those turns that are found in renderings with anchors.
    fn segments(&self, anchored: &AnchoredText, spoken: &[usize]) -> BTreeMap<usize, Segment> {
        let mut segments = BTreeMap::new();
        let with_anchors = self.with_anchors();
        for group in anchored.groups(spoken).into_iter().filter(|group| group.len() > 1) {
            let replaced = self.render_replaced(|turn| group.binary_search(&turn).is_ok(), &with_anchors);
            let found = replaced.ok().and_then(|replaced| anchored.segments(&replaced, &group));
            segments.extend(group.into_iter().zip(found.into_iter().flatten()));
        }
        segments
    }

    /// A turn by a rendering of its own.
    fn whole(&self, turn: usize) -> Result<Segment, ChatError> {
        let replaced = self.render_replaced(|other| other == turn, self.messages)?;
        Ok(Segment { range: 0..self.text.len(), replaced })
    }

    fn moved(&self, turn: usize) -> ChatError {
        ChatError::TurnMoved { path: self.template.path().to_owned(), turn }
    }

    /// A turn where its letter is, or none if it says nothing and nothing of it is shown.
    fn turn_in(
        &self,
        turn: usize,
        segment: &Segment,
        around: &Around<'_>,
    ) -> Result<Option<Turn>, ChatError> {
        let (from, text, replaced) =
            (segment.range.start, &self.text[segment.range.clone()], &segment.replaced);
        let places: Vec<usize> = replaced.match_indices(self.letters.turn(turn)).map(|(at, _)| at).collect();
        let x = self.place(&places, turn)?;
        let (before, after) = (&replaced[..x], &replaced[x + self.letters.turn(turn).len_utf8()..]);
        let (same_before, same_after) = (common_prefix(text, replaced), common_suffix(text, replaced));
        let path = || self.template.path().to_owned();
        if same_before + same_after > text.len() {
            let silent = self.messages[turn].texts().is_empty();
            return if silent { Ok(None) } else { Err(ChatError::TurnDropped { path: path(), turn }) };
        }
        let words = x.min(same_before)..text.len() - same_after;
        if words.start > words.end {
            return Err(ChatError::TurnChanged { path: path(), turn });
        }
        let words = from + x..from + words.end;
        let found = Found { before, after, words, same_before: from + same_before, same_after };
        let found = self.turn_of(turn, &found, around)?;
        if !shows(&self.text[found.words.clone()], &self.messages[turn]) {
            return Err(ChatError::TurnChanged { path: path(), turn });
        }
        Ok(Some(found))
    }

    /// The turn around its words: what the generation prompt does not open is said, and what follows closes it.
    fn turn_of(&self, turn: usize, found: &Found<'_>, around: &Around<'_>) -> Result<Turn, ChatError> {
        let Around { opening, closing, previous } = *around;
        // Between the turn before and this one: what closes the former, then what opens this.
        let opening = &opening[opening.len() - common_suffix(found.before, opening)..];
        let prompt = &self.frame.prompt;
        let header = if prompt.is_empty() { None } else { opening.rfind(prompt.as_str()) };
        let mut start = found.words.start - header.map_or(0, |header| opening.len() - header - prompt.len());
        if let (None, Some(previous)) = (header, previous)
            && previous.turn + 1 == turn
            && previous.close.as_ref().is_some_and(Range::is_empty)
            && !prompt.is_empty()
        {
            // Two turns as one: what joins them is said, too.
            start = previous.words.end;
        }
        let (start, end) = (start.min(found.same_before), found.words.end);
        if start > end {
            return Err(ChatError::TurnChanged { path: self.template.path().to_owned(), turn });
        }
        let close = closing.len(found.after, self.frame.close.as_deref());
        // Where the words decide how the turn is closed, that is part of what they are.
        let close = close.saturating_sub(found.after.len() - found.same_after);
        Ok(Turn { turn, words: start..end, close: Some(end..end + close) })
    }

    /// The generation blocks, each with the turn that it belongs to.
    fn marked(&self, turns: &[Turn]) -> Result<Vec<Turn>, ChatError> {
        let [open, close] = self.letters.brackets();
        let text = self.template.render_prepared(self.messages, self.options, Some([open, close]))?;
        let (mut marked, mut at, mut start) = (Vec::new(), 0, 0);
        for letter in text.chars() {
            if letter == open {
                start = at;
            } else if letter == close {
                let owner = turns.partition_point(|turn| turn.words.start < at).saturating_sub(1);
                let turn = turns.get(owner).map_or(0, |owner| owner.turn);
                marked.push(Turn { turn, words: start..at, close: None });
            } else {
                at += letter.len_utf8();
            }
        }
        marked.retain(|turn| !turn.words.is_empty());
        if marked.is_empty() && !turns.is_empty() {
            return Err(ChatError::NothingMarked { path: self.template.path().to_owned() });
        }
        Ok(marked)
    }

    /// Messages of the conversation, with letters in place of some turns. A template may insist on calls before their results:
    /// then only the content is replaced.
    fn render_replaced(
        &self,
        which: impl Fn(usize) -> bool,
        messages: &[Message],
    ) -> Result<String, ChatError> {
        let render = |keep_fields| {
            let replace = |(turn, message): (usize, &Message)| {
                if which(turn) { self.replaced(message, turn, keep_fields) } else { message.clone() }
            };
            let messages: Vec<Message> = messages.iter().enumerate().map(replace).collect();
            self.template.render_prepared(&messages, self.options, None)
        };
        render(false).or_else(|_| render(true))
    }

    /// A turn with its letter in place of all that it says.
    fn replaced(&self, message: &Message, turn: usize, keep_fields: bool) -> Message {
        let mut replaced = Message::new(&message.role, &self.letters.turn(turn).to_string());
        replaced.extra.clone_from(&message.extra);
        if !keep_fields {
            for field in SPOKEN_FIELDS {
                replaced.extra.remove(field);
            }
        }
        replaced
    }

    /// Where the letter of each turn stands.
    fn places(&self, text: &str) -> Vec<Vec<usize>> {
        let mut places = vec![Vec::new(); self.messages.len()];
        for (at, letter) in text.char_indices() {
            if let Some(places) = self.letters.turn_of(letter).and_then(|turn| places.get_mut(turn)) {
                places.push(at);
            }
        }
        places
    }

    /// The place of the letter of a turn, which must be one.
    fn place(&self, places: &[usize], turn: usize) -> Result<usize, ChatError> {
        match places {
            &[at] => Ok(at),
            [] => Err(ChatError::TurnDropped { path: self.template.path().to_owned(), turn }),
            _ => Err(self.moved(turn)),
        }
    }
}

/// What is around a turn.
struct Around<'a> {
    /// The text before it in the rendering with letters for all turns, from the letter before.
    opening: &'a str,
    closing: Closing<'a>,
    /// The assistant's turn before.
    previous: Option<&'a Turn>,
}

/// The text after a turn in the rendering with letters for all turns, up to the next letter.
#[derive(Clone, Copy)]
struct Closing<'a> {
    text: &'a str,
    /// Whether no letter follows.
    is_last: bool,
}

impl Closing<'_> {
    /// How much of what follows the words closes the turn. `last` is what closes a conversation.
    fn len(self, after: &str, last: Option<&str>) -> usize {
        let close = common_prefix(after, self.text);
        match last {
            Some(last) if !self.is_last => common_prefix(&after[..close], last),
            _ => close,
        }
    }
}

/// Whether a text shows all that a message says, reasoning aside, in its order. Blanks do not count.
fn shows(text: &str, message: &Message) -> bool {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    let text = bare(text);
    let mut from = 0;
    message.texts().into_iter().all(|said| {
        let said = bare(said.rsplit(END_OF_REASONING).next().unwrap_or(said));
        let found = text[from..].find(&said);
        from += found.map_or(0, |at| at + said.len());
        found.is_some()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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

    /// For each turn its words and what closes it.
    fn spoken(source: &str, turns: &[(&str, &str)]) -> Result<Vec<(String, String)>, ChatError> {
        let template = template(source);
        let spoken = SpanFinder::new(&template).find(&messages(turns), &RenderOptions::default())?;
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
        // Turns of one speaker are merged: what joins them is said.
        let source = "{% for m in messages %}{% if loop.first or messages[loop.index0 - 1].role != m.role %}\
                      [{{ m.role }}]{% else %}, {% endif %}{{ m.content }}{% endfor %}\
                      {% if add_generation_prompt %}[assistant]{% endif %}";
        check(source, &[LONG[0], LONG[1], LONG[1]], &[(" a ", ""), (",  a ", "")]);
        // An empty turn still has its end.
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<end>{% endfor %}";
        check(source, &[LONG[0], ("assistant", "")], &[("", "<end>")]);
    }

    #[test]
    fn one_rendering_finds_what_a_rendering_for_each_turn_finds() {
        let sources = [
            "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}<end>\n{% endfor %}\
             {% if add_generation_prompt %}[assistant]{% endif %}",
            "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}",
            "{% for m in messages %}{% if m.role == 'user' %}Q:{{ m.content }}\nA:{% else %}{{ m.content.strip() }}</s>{% endif %}\
             {% endfor %}",
            "S{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' and '</think>' not in m.content %}<think></think>\
             {% endif %}{{ m.content }}<end>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
        ];
        let turns = [
            ("user", "a"),
            ("assistant", " a "),
            ("user", "[assistant]b"),
            ("assistant", "b<end>\n"),
            ("user", "c"),
            ("assistant", "<think>x</think>c"),
            ("user", "d"),
            ("assistant", "d\n\n"),
        ];
        let (messages, options) = (messages(&turns), RenderOptions::default());
        for source in sources {
            assert_found_at_once(&template(source), &messages, &options);
        }
    }

    /// The turns are found in one rendering of all of them, and are those of a rendering for each.
    fn assert_found_at_once(template: &ChatTemplate, messages: &[Message], options: &RenderOptions) {
        let text = template.render(messages, options).expect("renders");
        let letters = Letters::unused(messages, &text).expect("letters");
        let frame = TurnFrame::of(template, options);
        let conversation = Conversation { template, messages, options, text: &text, letters, frame: &frame };
        let (spoken, anchored) = (conversation.spoken(), conversation.anchored());
        assert_eq!(conversation.segments(&anchored, &spoken).len(), spoken.len(), "{}", template.source());
        let one = conversation.turns(&anchored).expect("found");
        let each = conversation.turns(&AnchoredText::whole(&text, letters)).expect("found");
        assert_eq!(one, each, "{}", template.source());
    }

    #[test]
    fn one_rendering_finds_turns_that_call_tools_reason_or_follow_each_other() {
        // In the manner of Qwen 3: calls as JSON, results as the user's, reasoning after the last question only.
        let source = "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' and not \
                      m.content.startswith('<tool_response>') %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}\
                      {% for m in messages %}{% if m.role == 'assistant' %}<s>assistant\n{% if loop.index0 > ns.last and \
                      m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content or '' }}\
                      {% for call in m.tool_calls or [] %}\n<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<e>\n\
                      {% else %}<s>{{ m.role }}\n{{ m.content }}<e>\n{% endif %}{% endfor %}\
                      {% if add_generation_prompt %}<s>assistant\n{% endif %}";
        let call = |at: usize| serde_json::json!([{ "function": { "name": "f", "arguments": { "x": at } } }]);
        let mut long = Vec::new();
        for at in 0..12 {
            let mut calls = Message::new("assistant", "");
            calls.extra.insert("tool_calls".to_owned(), call(at));
            let mut reasons = Message::new("assistant", &format!("It is {at}."));
            reasons.extra.insert("reasoning_content".to_owned(), "Hm.".into());
            let result = format!("<tool_response>{at}</tool_response>");
            long.extend([Message::new("user", "And then?"), calls, Message::new("user", &result), reasons]);
            long.extend([Message::new("assistant", "Two in a row."), Message::new("tool", "[1, 2]")]);
            long.extend([Message::new("assistant", &result)]);
        }
        assert_found_at_once(&template(source), &long, &RenderOptions::default());
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
        let template = template(source);
        let spoken = SpanFinder::new(&template).find(&messages, &RenderOptions::default()).expect("renders");
        let words: Vec<&str> = spoken.turns.iter().map(|turn| &spoken.text[turn.words.clone()]).collect();
        assert_eq!(words, ["<call>f</call>", "one two"]);
    }

    #[test]
    fn calls_of_which_nothing_is_shown_are_an_error() {
        let find = |source: &str| {
            let mut messages = messages(&[("user", "q"), ("assistant", "")]);
            let call = serde_json::json!([{ "function": { "name": "f", "arguments": { "x": 1 } } }]);
            messages[1].extra.insert("tool_calls".to_owned(), call);
            messages[1].content = Value::Null;
            SpanFinder::new(&template(source))
                .find(&messages, &RenderOptions::default())
                .map(|spoken| spoken.text)
        };
        let hidden = find("{% for m in messages %}{{ m.content }};{% endfor %}");
        assert!(matches!(hidden, Err(ChatError::CallsNotShown { turn: 1, .. })), "{hidden:?}");
        let shown = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}\
                     {{ c.function.arguments | tojson }}{% endfor %};{% endfor %}";
        assert_eq!(find(shown).expect("shows the arguments"), "q;{\"x\": 1};");
    }
}
