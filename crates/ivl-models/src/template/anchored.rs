//! Turns found by renderings of the whole conversation, a few for any number of turns.
//!
//! Letters inside the texts of the other speakers cut the rendered text into segments. A second rendering has a letter in place of one
//! turn in each segment as well; within its segment, such a turn is found as it is in a rendering of its own.

use std::ops::Range;

use serde_json::Value;

use super::letters::Letters;
use super::message::Message;

/// The part of a rendering where one turn was replaced by its letter, and the same part of the true text.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// From the anchor before the turn to the one after it, in the true text.
    pub(super) range: Range<usize>,
    /// The same with the letter in place of the turn.
    pub(super) replaced: String,
}

/// A letter in the text of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    turn: usize,
    /// Its byte in the rendering that it stands in.
    at: usize,
}

/// The anchors of a conversation in its rendering.
#[derive(Debug)]
pub(super) struct AnchoredText {
    anchors: Vec<Anchor>,
    /// Where each of them would stand in the true text.
    in_text: Vec<usize>,
    text_len: usize,
    letters: Letters,
}

impl AnchoredText {
    /// A text without anchors: one segment.
    pub(super) fn whole(text: &str, letters: Letters) -> Self {
        Self { anchors: Vec::new(), in_text: Vec::new(), text_len: text.len(), letters }
    }

    /// Reads the anchors out of a rendering with them. `None` if it differs from the true text in more than the anchors, or
    /// shows one twice or out of order.
    pub(super) fn new(anchored: &str, text: &str, letters: Letters) -> Option<Self> {
        let anchors = anchors(anchored, letters)?;
        let mut in_text = Vec::with_capacity(anchors.len());
        let (mut rest, mut from) = (text, 0);
        for &Anchor { turn, at } in &anchors {
            rest = rest.strip_prefix(&anchored[from..at])?;
            in_text.push(text.len() - rest.len());
            from = at + letters.anchor(turn).len_utf8();
        }
        (rest == &anchored[from..]).then_some(Self { anchors, in_text, text_len: text.len(), letters })
    }

    /// Turns in groups: between two turns of a group stands an anchor.
    pub(super) fn groups(&self, turns: &[usize]) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let (mut segment, mut place) = (None, 0);
        for &turn in turns {
            let own = self.segment_of(turn);
            place = if segment == Some(own) { place + 1 } else { 0 };
            segment = Some(own);
            if place == groups.len() {
                groups.push(Vec::new());
            }
            groups[place].push(turn);
        }
        groups
    }

    /// The segments of the turns of a group in a rendering where they are replaced. `None` if its anchors are not those of the
    /// text.
    pub(super) fn segments(&self, replaced: &str, group: &[usize]) -> Option<Vec<Segment>> {
        let found = anchors(replaced, self.letters)?;
        let turns = |anchors: &[Anchor]| anchors.iter().map(|anchor| anchor.turn).collect::<Vec<_>>();
        if turns(&found) != turns(&self.anchors) {
            return None;
        }
        let segment = |&turn: &usize| {
            let after = self.segment_of(turn);
            let before = after.checked_sub(1);
            let start = before.map_or(0, |before| self.in_text[before]);
            let end = self.in_text.get(after).copied().unwrap_or(self.text_len);
            let from = before
                .map_or(0, |before| found[before].at + self.letters.anchor(found[before].turn).len_utf8());
            let to = found.get(after).map_or(replaced.len(), |anchor| anchor.at);
            Segment { range: start..end, replaced: replaced[from..to].to_owned() }
        };
        Some(group.iter().map(segment).collect())
    }

    /// The number of anchors before a turn.
    fn segment_of(&self, turn: usize) -> usize {
        self.anchors.partition_point(|anchor| anchor.turn < turn)
    }
}

/// The anchors in a rendering, if they stand in the order of the turns.
fn anchors(text: &str, letters: Letters) -> Option<Vec<Anchor>> {
    let found =
        text.char_indices().filter_map(|(at, letter)| Some(Anchor { turn: letters.anchored(letter)?, at }));
    let found: Vec<Anchor> = found.collect();
    found.windows(2).all(|pair| pair[0].turn < pair[1].turn).then_some(found)
}

/// A message with a letter inside its first text; as it is if it has none.
pub(super) fn anchored_message(message: &Message, anchor: char) -> Message {
    let mut anchored = message.clone();
    match &mut anchored.content {
        Value::String(text) => insert(text, anchor),
        Value::Array(parts) => {
            let text = parts.iter_mut().find_map(|part| match part.get_mut("text") {
                Some(Value::String(text)) if !text.trim().is_empty() => Some(text),
                _ => None,
            });
            if let Some(text) = text {
                insert(text, anchor);
            }
        }
        _ => {}
    }
    anchored
}

/// Puts a letter where no template strips it and no tag is cut: between two of a word near the middle, else between any two, else
/// after the first that is not blank.
fn insert(text: &mut String, letter: char) {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let middle = places.partition_point(|&at| at < text.len() / 2);
    let between = |counts: fn(char) -> bool| {
        let is_between = |at: &usize| {
            let (before, after) = text.split_at(*at);
            let is_tag = before.rsplit(['>', ' ', '\n']).next().is_some_and(|word| word.contains('<'));
            before.ends_with(counts) && after.starts_with(counts) && !is_tag
        };
        places[middle..].iter().chain(places[..middle].iter().rev()).copied().find(is_between)
    };
    let first = || {
        let (at, first) = text.char_indices().find(|(_, letter)| !letter.is_whitespace())?;
        Some(at + first.len_utf8())
    };
    let place = between(char::is_alphanumeric).or_else(|| between(|letter| !letter.is_whitespace()));
    if let Some(at) = place.or_else(first) {
        text.insert(at, letter);
    }
}
