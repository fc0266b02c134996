//! Tokens to text as they come: characters split over tokens, stop strings split over tokens.

use std::ops::Range;

/// Turns the bytes of successive tokens into text and watches for stop strings.
///
/// Nothing is released that could still change: bytes of an unfinished character wait for the rest, and an end that
/// could be the beginning of a stop string waits until it is one or cannot become one. Names of control tokens can be part
/// of a stop string; they are not part of the text.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    bytes: Vec<u8>,
    held: String,
    /// Parts of `held` that are names of control tokens.
    hidden: Vec<Range<usize>>,
    stops: Vec<String>,
    include_stop: bool,
    /// The stop string that was found.
    found: Option<String>,
    closes_with_space: bool,
}

impl TextStream {
    /// A stream that ends before the first of `stops`; empty strings are ignored.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), ..Self::default() }
    }

    /// Whether the stream ends after the stop string and not before it.
    #[must_use]
    pub fn include_stop(self, include_stop: bool) -> Self {
        Self { include_stop, ..self }
    }

    /// The same stream after the bytes of a prompt, for a vocabulary whose words end with a space
    /// ([`Vocab::closes_with_space`](crate::vocab::Vocab::closes_with_space)): the space that ends the prompt comes with the next
    /// word, and the last space never comes.
    #[must_use]
    pub fn after_words(mut self, prompt: &[u8]) -> Self {
        self.closes_with_space = true;
        if prompt.ends_with(b" ") {
            self.held.push(' ');
        }
        self
    }

    /// Whether a stop string was found.
    pub fn stopped(&self) -> bool {
        self.found.is_some()
    }

    /// The stop string that was found.
    pub fn stop_string(&self) -> Option<&str> {
        self.found.as_deref()
    }

    /// Adds the bytes of a token and returns the text that is now certain.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped() {
            return String::new();
        }
        self.bytes.extend_from_slice(bytes);
        let text = self.take_characters();
        self.held.push_str(&text);
        self.release()
    }

    /// Adds the bytes of a token without looking for stop strings.
    pub fn push_unwatched(&mut self, bytes: &[u8]) -> String {
        self.bytes.extend_from_slice(bytes);
        let text = self.take_characters();
        self.held.push_str(&text);
        self.take_visible(self.held.len() - self.closing_space())
    }

    /// Adds a control token by its name.
    pub fn push_control(&mut self, name: &[u8]) -> String {
        if self.stopped() || self.stops.is_empty() {
            return String::new();
        }
        let start = self.held.len();
        self.held.push_str(&String::from_utf8_lossy(name));
        self.hidden.push(start..self.held.len());
        self.release()
    }

    /// Returns what was held back, as nothing more will come.
    pub fn finish(&mut self) -> String {
        if self.stopped() {
            return String::new();
        }
        let rest = String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned();
        self.held.push_str(&rest);
        let text = self.release();
        if self.stopped() {
            return text;
        }
        // The space after the last word never comes.
        self.held.truncate(self.held.len() - self.closing_space());
        text + &self.take_visible(self.held.len())
    }

    /// Complete characters at the front; bytes that can never become one turn into U+FFFD.
    fn take_characters(&mut self) -> String {
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.bytes) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.bytes.clear();
                    return text;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.bytes[..valid]));
                    let Some(invalid) = error.error_len() else {
                        self.bytes.drain(..valid);
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.bytes.drain(..valid + invalid);
                }
            }
        }
    }

    fn release(&mut self) -> String {
        let found = self.stops.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop)));
        if let Some((at, stop)) = found.min_by_key(|(at, stop)| (*at, stop.len())) {
            self.found = Some(stop.clone());
            let len = stop.len();
            let mut text = self.take_visible(at);
            if self.include_stop {
                text.push_str(&self.held[..len]);
            }
            return text;
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        self.take_visible(self.held.len() - keep.max(self.closing_space()))
    }

    /// Bytes at the end of what is held that may be the space after the last word.
    fn closing_space(&self) -> usize {
        usize::from(self.closes_with_space && self.held.ends_with(' '))
    }

    /// Takes the first bytes out of what is held; the text of them without names of control tokens.
    fn take_visible(&mut self, len: usize) -> String {
        let rest = self.held.split_off(len);
        let mut text = std::mem::replace(&mut self.held, rest);
        for hidden in self.hidden.iter().rev().filter(|hidden| hidden.start < len) {
            text.replace_range(hidden.start..hidden.end.min(len), "");
        }
        self.hidden.retain_mut(|hidden| {
            *hidden = hidden.start.saturating_sub(len)..hidden.end.saturating_sub(len);
            hidden.end > hidden.start
        });
        text
    }
}

/// Length of the longest end of `text` that is a proper beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let beginnings = stop.char_indices().map(|(at, _)| at).rev();
    beginnings.into_iter().find(|&at| text.ends_with(&stop[..at])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[&[u8]], stops: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut stream = TextStream::new(&stops);
        let mut out: Vec<String> = pieces.iter().map(|piece| stream.push(piece)).collect();
        out.push(stream.finish());
        (out, stream.stopped())
    }

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let snowman = "☃".as_bytes();
        let (out, _) = run(&[b"a", &snowman[..1], &snowman[1..2], &snowman[2..]], &[]);
        assert_eq!(out, ["a", "", "", "☃", ""]);
    }

    #[test]
    fn bytes_that_are_no_character_become_replacements() {
        assert_eq!(run(&[&[0xff], b"a", &[0xe2, 0x98]], &[]).0, ["\u{fffd}", "a", "", "\u{fffd}"]);
    }

    #[test]
    fn a_stop_string_may_straddle_tokens() {
        let (out, stopped) = run(&[b"one\n", b"\nUs", b"er: two"], &["\n\nUser:"]);
        assert_eq!((out.concat().as_str(), stopped), ("one", true));
        assert_eq!(out[0], "one", "only the newline is held back");
    }

    #[test]
    fn what_only_began_like_a_stop_is_released() {
        let (out, stopped) = run(&[b"a<", b"e", b"n>"], &["<end>"]);
        assert_eq!((out, stopped), (vec!["a".into(), String::new(), "<en>".into(), String::new()], false));
        assert_eq!(run(&[b"a<en"], &["<end>"]).0, ["a", "<en"]);
    }

    #[test]
    fn the_earliest_of_several_stops_wins() {
        assert_eq!(run(&[b"abcdef"], &["ef", "cd", ""]).0.concat(), "ab");
    }

    #[test]
    fn stops_may_hold_wide_characters() {
        let text = "x。終わり".as_bytes();
        let pieces: Vec<&[u8]> = text.chunks(2).collect();
        assert_eq!(run(&pieces, &["。終"]).0.concat(), "x");
    }

    /// Text of tokens; those in angle brackets are control tokens.
    fn run_with_controls(pieces: &[&str], stops: &[&str], include: bool) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut stream = TextStream::new(&stops).include_stop(include);
        let mut out = String::new();
        for piece in pieces {
            out += &match piece.starts_with('<') {
                true => stream.push_control(piece.as_bytes()),
                false => stream.push(piece.as_bytes()),
            };
        }
        out += &stream.finish();
        (out, stream.stopped())
    }

    #[test]
    fn a_stop_string_may_be_the_name_of_a_control_token_or_hold_one() {
        let pieces = ["one ", "<turn>", "two", " three"];
        let run = |stop: &str| run_with_controls(&pieces, &[stop], false);
        assert_eq!(run("<turn>"), ("one ".to_owned(), true));
        assert_eq!(run("<turn>two"), ("one ".to_owned(), true));
        assert_eq!(run("ne <turn>t"), ("o".to_owned(), true));
        assert_eq!(run("three"), ("one two ".to_owned(), true));
        assert_eq!(run("<turn>x"), ("one two three".to_owned(), false), "and none appears in the text");
        assert_eq!(run_with_controls(&["a", "<x>", "b"], &[], false).0, "ab");
    }

    #[test]
    fn the_stop_string_is_included_on_request() {
        assert_eq!(run_with_controls(&["ab", "cd"], &["bc"], true), ("abc".to_owned(), true));
        assert_eq!(run_with_controls(&["ab", "<x>"], &["<x>"], true), ("ab<x>".to_owned(), true));
    }

    #[test]
    fn what_is_not_watched_stops_nothing() {
        let mut stream = TextStream::new(&["b".to_owned()]);
        let text = stream.push_unwatched(b"ab") + &stream.push(b"ab") + &stream.finish();
        assert_eq!((text.as_str(), stream.stopped()), ("aba", true));
    }

    #[test]
    fn words_that_end_with_a_space_are_joined_by_it() {
        let mut stream = TextStream::new(&[]).after_words(b"one ");
        let pieces = [stream.push(b"two "), stream.push(b"th"), stream.push(b"ree "), stream.finish()];
        assert_eq!(pieces, [" two", " th", "ree", ""]);
    }
}
