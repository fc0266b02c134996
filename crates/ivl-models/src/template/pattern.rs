//! Regular expressions as Python's `re` reads them.

use std::ops::Range;
use std::sync::OnceLock;

use fancy_regex::{Regex, RegexBuilder};

type Captures<'t> = fancy_regex::Captures<'t, str>;

/// Longest pattern that is compiled.
const LONGEST_PATTERN: usize = 64 << 10;

/// Errors of a pattern.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The pattern is longer than any useful one.
    #[error("the pattern has {got} bytes, more than the {LONGEST_PATTERN} that ivl compiles")]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// The pattern is no regular expression.
    #[error("`{pattern}` is not a regular expression")]
    Invalid {
        /// The pattern.
        pattern: String,
        /// The reason.
        #[source]
        source: Box<fancy_regex::Error>,
    },
    /// Matching took too many steps.
    #[error(
        "`{pattern}` takes too many steps on a text of {bytes} bytes; write it without nested repetition"
    )]
    Steps {
        /// The pattern.
        pattern: String,
        /// Length of the text.
        bytes: usize,
        /// The bound that was reached.
        #[source]
        source: Box<fancy_regex::Error>,
    },
}

/// A regular expression in Python's syntax and with Python's meaning, which tasks of lm-evaluation-harness are written in:
/// `$` also matches before a newline at the end, `\w` is a letter, number or underscore, `\s` includes the separators
/// U+001C to U+001F, a lone brace is a brace, and matches follow each other as in `re.findall`.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    compiled: Regex,
    /// The same without empty matches, for the place where one was found.
    not_empty: OnceLock<Option<Regex>>,
}

/// How letters and lines count in a pattern.
#[derive(Debug, Clone, Copy, Default)]
pub struct PatternFlags {
    /// `re.IGNORECASE`.
    pub ignore_case: bool,
    /// `re.MULTILINE`.
    pub multiline: bool,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`PatternError::Invalid`], [`PatternError::TooLong`].
    pub fn new(source: &str) -> Result<Self, PatternError> {
        Self::with_flags(source, PatternFlags::default())
    }

    /// Compiles a pattern with flags.
    ///
    /// # Errors
    /// [`PatternError::Invalid`], [`PatternError::TooLong`].
    pub fn with_flags(source: &str, flags: PatternFlags) -> Result<Self, PatternError> {
        if source.len() > LONGEST_PATTERN {
            return Err(PatternError::TooLong { got: source.len() });
        }
        let letters = match (flags.ignore_case, flags.multiline) {
            (false, false) => "",
            (true, false) => "(?i)",
            (false, true) => "(?m)",
            (true, true) => "(?im)",
        };
        let translated = format!("{letters}{}", translate(source, flags.multiline));
        let compiled = Regex::new(&translated)
            .map_err(|error| PatternError::Invalid { pattern: source.to_owned(), source: Box::new(error) })?;
        Ok(Self { source: source.to_owned(), compiled, not_empty: OnceLock::new() })
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it is found anywhere: `re.search`.
    ///
    /// # Errors
    /// [`PatternError::Steps`].
    pub fn is_match(&self, text: &str) -> Result<bool, PatternError> {
        self.compiled.is_match(text).map_err(|source| self.steps(text, source))
    }

    /// All matches that do not overlap, each with its groups: group 0 is the whole. The order and the rules for empty
    /// matches are those of `re.finditer`.
    fn matches<'t>(&self, text: &'t str) -> Result<Vec<Captures<'t>>, PatternError> {
        let mut found = Vec::new();
        let (mut at, mut after_empty) = (0, false);
        loop {
            let next = match after_empty {
                true => self.after_empty(text, at)?,
                false => self.find_from(&self.compiled, text, at)?,
            };
            let Some(captures) = next else { return Ok(found) };
            let Some(whole) = captures.get(0) else { return Ok(found) };
            (at, after_empty) = (whole.end(), whole.range().is_empty());
            found.push(captures);
        }
    }

    /// The result of `re.findall`: the whole match without groups, the group if there is one, else all groups. Groups that
    /// took no part are empty.
    ///
    /// # Errors
    /// [`PatternError::Steps`].
    pub fn find_all<'t>(&self, text: &'t str) -> Result<Vec<Vec<&'t str>>, PatternError> {
        let groups = |captures: Captures<'t>| {
            let first = usize::from(captures.len() > 1);
            (first..captures.len()).map(|group| captures.get(group).map_or("", |m| m.as_str())).collect()
        };
        Ok(self.matches(text)?.into_iter().map(groups).collect())
    }

    /// The spans of each match and its groups: group 0 is the whole, groups that took no part have no span.
    ///
    /// # Errors
    /// [`PatternError::Steps`].
    pub fn spans(&self, text: &str) -> Result<Vec<Vec<Option<Range<usize>>>>, PatternError> {
        let spans =
            |captures: Captures<'_>| captures.iter().map(|group| group.map(|group| group.range())).collect();
        Ok(self.matches(text)?.into_iter().map(spans).collect())
    }

    /// Number of matches.
    ///
    /// # Errors
    /// [`PatternError::Steps`].
    pub fn count(&self, text: &str) -> Result<usize, PatternError> {
        Ok(self.matches(text)?.len())
    }

    /// Puts `replacement` in place of every match: `re.sub`, where `\1` and `\g<name>` refer to groups.
    ///
    /// # Errors
    /// [`PatternError::Steps`].
    pub fn replace_all(&self, text: &str, replacement: &str) -> Result<String, PatternError> {
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for captures in self.matches(text)? {
            let Some(whole) = captures.get(0) else { continue };
            out.push_str(&text[at..whole.start()]);
            expand(replacement, &captures, &mut out);
            at = whole.end();
        }
        out.push_str(&text[at..]);
        Ok(out)
    }

    /// The pieces between matches: `re.split` for a pattern without groups.
    ///
    /// # Errors
    /// [`PatternError::Steps`].
    pub fn split<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, PatternError> {
        let (mut pieces, mut at) = (Vec::new(), 0);
        for whole in self.matches(text)?.iter().filter_map(|captures| captures.get(0)) {
            pieces.push(&text[at..whole.start()]);
            at = whole.end();
        }
        pieces.push(&text[at..]);
        Ok(pieces)
    }

    /// The match that follows an empty one: at its position it must not be empty, after that it may.
    fn after_empty<'t>(&self, text: &'t str, at: usize) -> Result<Option<Captures<'t>>, PatternError> {
        let build = || RegexBuilder::new(self.compiled.as_str()).find_not_empty(true).build().ok();
        if let Some(not_empty) = self.not_empty.get_or_init(build)
            && let Some(captures) = self.find_from(not_empty, text, at)?
            && captures.get(0).is_some_and(|whole| whole.start() == at)
        {
            return Ok(Some(captures));
        }
        match text[at..].chars().next() {
            Some(letter) => self.find_from(&self.compiled, text, at + letter.len_utf8()),
            None => Ok(None),
        }
    }

    fn find_from<'t>(
        &self,
        regex: &Regex,
        text: &'t str,
        at: usize,
    ) -> Result<Option<Captures<'t>>, PatternError> {
        regex.captures_from_pos(text, at).map_err(|source| self.steps(text, source))
    }

    fn steps(&self, text: &str, source: fancy_regex::Error) -> PatternError {
        PatternError::Steps { pattern: self.source.clone(), bytes: text.len(), source: Box::new(source) }
    }
}

/// The text of a replacement, as `re.sub` reads it.
fn expand(replacement: &str, captures: &Captures<'_>, out: &mut String) {
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let named = rest.strip_prefix("g<").and_then(|name| name.split_once('>'));
        let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        if let Some((name, behind)) = named {
            let group = name
                .parse()
                .ok()
                .and_then(|group: usize| captures.get(group))
                .or_else(|| captures.name(name));
            out.push_str(group.map_or("", |group| group.as_str()));
            rest = behind;
        } else if digits > 0 {
            let group = rest[..digits].parse().ok().and_then(|group: usize| captures.get(group));
            out.push_str(group.map_or("", |group| group.as_str()));
            rest = &rest[digits..];
        } else {
            let (letter, text) = match rest.chars().next() {
                Some('n') => ('n', "\n".to_owned()),
                Some('t') => ('t', "\t".to_owned()),
                Some('r') => ('r', "\r".to_owned()),
                Some('\\') => ('\\', "\\".to_owned()),
                Some(other) => (other, format!("\\{other}")),
                None => return out.push('\\'),
            };
            out.push_str(&text);
            rest = &rest[letter.len_utf8()..];
        }
    }
    out.push_str(rest);
}

const WORD: &str = r"\p{L}\p{N}_";
const SPACE: &str = r"\s\x{1c}-\x{1f}";

/// Python's syntax in that of the `fancy-regex` crate.
fn translate(source: &str, multiline: bool) -> String {
    let multiline = multiline || has_multiline_flag(source);
    let mut out = String::with_capacity(source.len() + 16);
    let mut letters = source.char_indices();
    let mut class: Option<usize> = None;
    while let Some((at, letter)) = letters.next() {
        let in_class = class.is_some();
        match letter {
            '\\' => {
                let Some((_, escaped)) = letters.next() else {
                    out.push('\\');
                    break;
                };
                escape(escaped, in_class, &mut out);
            }
            '[' if in_class => out.push_str(r"\["),
            '&' | '~' if in_class => out.extend(['\\', letter]),
            '[' => {
                class = Some(at);
                out.push('[');
            }
            // The first in a class is a bracket like any other letter.
            ']' if class.is_some_and(|start| matches!(&source[start..at], "[" | "[^")) => out.push_str(r"\]"),
            ']' => {
                class = None;
                out.push(']');
            }
            '$' if !in_class && !multiline => out.push_str(r"(?=\n?\z)"),
            '{' if !in_class && !is_repetition(&source[at..]) => out.push_str(r"\{"),
            _ => out.push(letter),
        }
    }
    out
}

fn escape(letter: char, in_class: bool, out: &mut String) {
    let class = |set: &str| if in_class { set.to_owned() } else { format!("[{set}]") };
    match letter {
        'w' => out.push_str(&class(WORD)),
        's' => out.push_str(&class(SPACE)),
        'W' => out.push_str(&format!("[^{WORD}]")),
        'S' => out.push_str(&format!("[^{SPACE}]")),
        'b' if !in_class => {
            out.push_str(&format!("(?:(?<=[{WORD}])(?![{WORD}])|(?<![{WORD}])(?=[{WORD}]))"));
        }
        'B' if !in_class => {
            out.push_str(&format!("(?:(?<=[{WORD}])(?=[{WORD}])|(?<![{WORD}])(?![{WORD}]))"));
        }
        'b' => out.push_str(r"\x08"),
        'Z' => out.push_str(r"\z"),
        // Letters that only mean themselves in Python.
        '<' | '>' | '"' | '\'' | '/' | ',' | ':' | ';' | '=' | '!' | '@' | '`' | '%' | '_' | ' ' => {
            out.push(letter);
        }
        _ => out.extend(['\\', letter]),
    }
}

/// Whether a text begins with `{2}`, `{2,}`, `{,2}` or `{2,3}`.
fn is_repetition(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(inner, _)| inner)
    else {
        return false;
    };
    let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    digits(low) && digits(high) && !(low.is_empty() && high.is_empty())
}

/// Whether the pattern begins with flags like `(?m)`, the only place where Python allows flags of the whole pattern.
fn has_multiline_flag(source: &str) -> bool {
    let flags = source.strip_prefix("(?").and_then(|rest| rest.split_once(')'));
    flags.is_some_and(|(flags, _)| flags.bytes().all(|b| b.is_ascii_alphabetic()) && flags.contains('m'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str) -> Pattern {
        Pattern::new(source).expect("compiles")
    }

    /// Results of CPython 3.11 for `re.findall`.
    #[test]
    fn findall_gives_what_python_gives() {
        let check = |source: &str, text: &str, expected: &[&[&str]]| {
            assert_eq!(pattern(source).find_all(text).expect("ends"), expected, "{source} in {text:?}");
        };
        check(r"#### (\-?[0-9\.\,]+)", "x #### 1,234.5 #### -2", &[&["1,234.5"], &["-2"]]);
        check(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "It is $18. Or 7", &[&["$18.", ""], &["", "7"]]);
        check(r"x*", "axb", &[&[""], &["x"], &[""], &[""]]);
        check(r"a*?", "aa", &[&[""], &["a"], &[""], &["a"], &[""]]);
        check(r"\w+", "naïve हिन्दी ab_1", &[&["naïve"], &["ह"], &["न"], &["द"], &["ab_1"]]);
        check(r"{\s*([^}]*?)\s*}", "a { b } c", &[&["b"]]);
        check(r"[]a]+", "x]a]", &[&["]a]"]]);
        check(r"[[&&~~]+", "a[&~b", &[&["[&~"]]);
        check(r"\.$", "a.\n", &[&["."]]);
        check(r"(?m)^-.*$", "-a\nb\n-c\n", &[&["-a"], &["-c"]]);
        check(r"\bcat\b", "cat concat cat_ cat", &[&["cat"], &["cat"]]);
        check(r"a{,2}b", "aaab", &[&["aab"]]);
        check(r"\<a\>", "<a>", &[&["<a>"]]);
        check(r"\s", "a\u{1c}b\u{a0}c", &[&["\u{1c}"], &["\u{a0}"]]);
    }

    #[test]
    fn sub_and_split_give_what_python_gives() {
        let sub = |source: &str, replacement: &str, text: &str| {
            pattern(source).replace_all(text, replacement).expect("ends")
        };
        assert_eq!(sub("x*", "-", "abxd"), "-a-b--d-");
        assert_eq!(sub(r"(?s).*#### ", "", "a\nb#### 7"), "7");
        assert_eq!(sub(r"\(\s*([^\)]*?)\s*\)", r"(\1)", "( a b )"), "(a b)");
        assert_eq!(sub(r"(?P<n>a)(b)?", r"[\g<n>\2\n]", "ab a"), "[ab\n] [a\n]");
        assert_eq!(pattern(r"\s+").split(" a  b ").expect("ends"), ["", "a", "b", ""]);
        assert_eq!(pattern("x").split("").expect("ends"), [""]);
    }

    #[test]
    fn broken_and_endless_patterns_are_errors() {
        assert!(matches!(Pattern::new("a("), Err(PatternError::Invalid { .. })));
        assert!(matches!(Pattern::new(&"a".repeat(1 << 20)), Err(PatternError::TooLong { .. })));
        let endless = pattern(r"((a|aa)+)\1[bc]$").is_match(&("a".repeat(200) + "b!"));
        assert!(matches!(endless, Err(PatternError::Steps { .. })), "{endless:?}");
    }
}
