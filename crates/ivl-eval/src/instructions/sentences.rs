//! Sentences as NLTK finds them in English: Punkt (Kiss and Strunk 2006, "Unsupervised Multilingual Sentence Boundary
//! Detection"), with the model that NLTK distributes.
//!
//! A period, question or exclamation mark ends a sentence unless the word before it is an abbreviation, an initial or a
//! number, and what is known of the two words around it speaks against it. The model is in `english/`: NLTK's package
//! `punkt_tab` by Jan Strunk, under the MIT licence.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ivl_models::{Pattern, PatternError, PatternFlags};

use crate::python_text::{is_space, trim};

/// In which places and case a word was seen: bits of the model.
mod seen {
    pub(super) const MID_UPPER: u32 = 1 << 2;
    pub(super) const BEGINNING_LOWER: u32 = 1 << 4;
    /// Anywhere with a capital: at the beginning, in the middle, unknown where.
    pub(super) const UPPER: u32 = (1 << 1) | MID_UPPER | (1 << 3);
    /// Anywhere without.
    pub(super) const LOWER: u32 = BEGINNING_LOWER | (1 << 5) | (1 << 6);
}

struct Model {
    abbreviations: HashSet<&'static str>,
    collocations: HashSet<(&'static str, &'static str)>,
    starters: HashSet<&'static str>,
    contexts: HashMap<&'static str, u32>,
}

static ENGLISH: LazyLock<Model> = LazyLock::new(|| {
    let pairs = |text: &'static str| text.lines().filter_map(|line| line.split_once('\t'));
    Model {
        abbreviations: include_str!("english/abbrev_types.txt").lines().collect(),
        collocations: pairs(include_str!("english/collocations.tab")).collect(),
        starters: include_str!("english/sent_starters.txt").lines().collect(),
        contexts: pairs(include_str!("english/ortho_context.tab"))
            .filter_map(|(word, bits)| Some((word, bits.parse().ok()?)))
            .collect(),
    }
});

const NON_WORD: &str = r#"(?:[)";}\]*:@'({\[‘’“”«»?!])"#;
const MULTI: &str = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)";

struct Patterns {
    /// A mark that may end a sentence, with what follows: punctuation, or the next word after white space.
    ends: Pattern,
    /// Words, without the punctuation around them.
    words: Pattern,
    /// Closing quotes and brackets at the beginning of a sentence, which belong to the one before.
    closing: Pattern,
    number: Pattern,
    initial: Pattern,
    ellipsis: Pattern,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let start = r#"[^("`{\[:;&#*@)}\]\-,]"#;
    let end = format!(r"(?=\s|$|{NON_WORD}|{MULTI}|,(?=$|\s|{NON_WORD}|{MULTI}))");
    let multiline = PatternFlags { multiline: true, ignore_case: false };
    let fixed = |source: &str| Pattern::new(source).expect("the patterns are fixed and compile");
    Patterns {
        ends: fixed(&format!(r"([.?!])(?=({NON_WORD}|\s+(\S+)))")),
        words: fixed(&format!(r"({MULTI}|(?={start})\S+?{end}|\S)")),
        closing: Pattern::with_flags(r#"\A(["')\]}‘’“”«»]+?(?:\s+|(?=--)|$))"#, multiline)
            .expect("the patterns are fixed and compile"),
        number: fixed(r"^-?[\.,]?\d[\d,\.-]*\.?$"),
        initial: fixed(r"\A[^\W\d]\.$"),
        ellipsis: fixed(r"\A\.\.+$"),
    }
});

/// The sentences of a text, without the white space between them.
pub(super) fn sentences(text: &str) -> Result<Vec<&str>, PatternError> {
    let patterns = &*PATTERNS;
    let mut slices = Vec::new();
    let mut begin = 0;
    for candidate in candidates(text, patterns)? {
        if contains_break(&candidate.context, patterns)? {
            slices.push((begin, candidate.end));
            begin = candidate.next;
        }
    }
    slices.push((begin, text.trim_end_matches(is_space).len()));
    realign(text, &slices, patterns)
}

/// A mark that may end a sentence.
struct Candidate {
    /// The word before the mark, the mark, and what follows.
    context: String,
    /// Where the sentence would end.
    end: usize,
    /// Where the next would begin.
    next: usize,
}

/// Marks that may end a sentence; of several after one word, the last.
fn candidates(text: &str, patterns: &Patterns) -> Result<Vec<Candidate>, PatternError> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut word = 0..0;
    let mut before: Option<Candidate> = None;
    for spans in patterns.ends.spans(text)? {
        let Some(mark) = spans[0].clone() else { continue };
        let last_space = text[word.end..mark.start].rfind([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
        // As in NLTK, a space right after the previous word does not count.
        let start = match last_space {
            Some(space) if space > 0 => word.end + space + 1,
            _ => word.start,
        };
        if word.end <= start {
            found.extend(before.take());
        }
        word = start..mark.start;
        let after = spans[2].clone().unwrap_or(mark.end..mark.end);
        before = Some(Candidate {
            context: text[start..after.end].to_owned(),
            end: mark.end,
            next: spans[3].as_ref().map_or(mark.end, |next| next.start),
        });
    }
    found.extend(before);
    Ok(found)
}

/// Gives closing quotes and brackets to the sentence before them, and leaves out empty sentences.
fn realign<'t>(
    text: &'t str,
    slices: &[(usize, usize)],
    patterns: &Patterns,
) -> Result<Vec<&'t str>, PatternError> {
    let slice = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let (mut sentences, mut moved) = (Vec::new(), 0);
    for (index, &(from, to)) in slices.iter().enumerate() {
        let from = from + moved;
        moved = 0;
        let mut sentence = slice(from, to);
        if let Some(&(next, end)) = slices.get(index + 1)
            && let Some(closing) = patterns.closing.spans(slice(next, end))?.into_iter().next()
            && let Some(closing) = closing[0].clone()
        {
            moved = closing.end;
            let kept = slice(next, next + closing.end).trim_end_matches(is_space).len();
            sentence = slice(from, next + kept);
            sentences.push(sentence);
            continue;
        }
        if !sentence.is_empty() {
            sentences.push(sentence);
        }
    }
    Ok(sentences)
}

/// A word with what is thought of it.
struct Word {
    text: String,
    /// In small letters; a number is `##number##`.
    kind: String,
    ends_sentence: bool,
    is_abbreviation: bool,
    is_ellipsis: bool,
    is_initial: bool,
}

impl Word {
    /// Annotations from the word itself.
    fn new(text: &str, patterns: &Patterns) -> Result<Self, PatternError> {
        let small = text.to_lowercase();
        let kind = if patterns.number.is_match(&small)? { "##number##".to_owned() } else { small };
        let is_ellipsis = patterns.ellipsis.is_match(text)?;
        let is_mark = matches!(text, "." | "?" | "!");
        let abbreviated =
            text.strip_suffix('.').filter(|_| !is_mark && !is_ellipsis && !text.ends_with(".."));
        let is_abbreviation = abbreviated.is_some_and(|word| {
            let word = word.to_lowercase();
            let last = word.rsplit('-').next().unwrap_or_default();
            [word.as_str(), last].iter().any(|word| ENGLISH.abbreviations.contains(word))
        });
        Ok(Self {
            text: text.to_owned(),
            kind,
            ends_sentence: is_mark || abbreviated.is_some() && !is_abbreviation,
            is_abbreviation,
            is_ellipsis,
            is_initial: patterns.initial.is_match(text)?,
        })
    }

    fn kind_without_period(&self) -> &str {
        match self.kind.strip_suffix('.') {
            Some(word) if !word.is_empty() => word,
            _ => &self.kind,
        }
    }

    /// Without the period that ends a sentence.
    fn kind_in_sentence(&self) -> &str {
        if self.ends_sentence { self.kind_without_period() } else { &self.kind }
    }

    fn begins(&self, case: fn(char) -> bool) -> bool {
        self.text.chars().next().is_some_and(case)
    }

    fn seen(&self) -> u32 {
        ENGLISH.contexts.get(self.kind_in_sentence()).copied().unwrap_or(0)
    }

    /// Whether the case of the word says that it begins a sentence, or that it does not.
    fn begins_sentence(&self) -> Option<bool> {
        if matches!(self.text.as_str(), ";" | ":" | "," | "." | "!" | "?") {
            return Some(false);
        }
        let seen = self.seen();
        if self.begins(char::is_uppercase) && seen & seen::LOWER != 0 && seen & seen::MID_UPPER == 0 {
            return Some(true);
        }
        let never_first = seen & seen::UPPER != 0 || seen & seen::BEGINNING_LOWER == 0;
        (self.begins(char::is_lowercase) && never_first).then_some(false)
    }

    /// Annotations from the next word.
    fn reconsider(&mut self, next: &Word) {
        if !self.text.ends_with('.') {
            return;
        }
        let (kind, next_kind) = (self.kind_without_period(), next.kind_in_sentence());
        if ENGLISH.collocations.contains(&(kind, next_kind)) {
            (self.ends_sentence, self.is_abbreviation) = (false, true);
            return;
        }
        let begins = next.begins_sentence();
        if (self.is_abbreviation || self.is_ellipsis) && !self.is_initial {
            let starter = next.begins(char::is_uppercase) && ENGLISH.starters.contains(next_kind);
            if begins == Some(true) || starter {
                self.ends_sentence = true;
                return;
            }
        }
        let always_capital = next.begins(char::is_uppercase)
            && ENGLISH.contexts.get(next_kind).copied().unwrap_or(0) & seen::LOWER == 0;
        let speaks_against = match begins {
            Some(begins) => !begins,
            None => self.is_initial && always_capital,
        };
        if (self.is_initial || kind == "##number##") && speaks_against {
            (self.ends_sentence, self.is_abbreviation) = (false, true);
        }
    }
}

/// Whether a sentence ends before the last word of a context.
fn contains_break(context: &str, patterns: &Patterns) -> Result<bool, PatternError> {
    let mut words = Vec::new();
    for line in context.split('\n').filter(|line| !trim(line).is_empty()) {
        for word in patterns.words.find_all(line)? {
            words.push(Word::new(word[0], patterns)?);
        }
    }
    for index in 1..words.len() {
        let (before, after) = words.split_at_mut(index);
        if let (Some(word), Some(next)) = (before.last_mut(), after.first()) {
            word.reconsider(next);
            if word.ends_sentence {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_compile_and_the_model_is_there() {
        LazyLock::force(&PATTERNS);
        let model = &*ENGLISH;
        assert_eq!((model.abbreviations.len(), model.collocations.len()), (156, 37));
        assert_eq!((model.starters.len(), model.contexts.len()), (39, 20366));
    }

    /// Results of `nltk.sent_tokenize` of NLTK 3.10.4.
    #[test]
    fn sentences_are_those_of_nltk() {
        let check =
            |text: &str, expected: &[&str]| assert_eq!(sentences(text).expect("ends"), expected, "{text}");
        check("Dr. Smith lives here. He is 3.5 m tall!", &["Dr. Smith lives here.", "He is 3.5 m tall!"]);
        check(
            "(Really?) \"Yes.\" J. Bach said so... Then left.",
            &["(Really?)", "\"Yes.\"", "J. Bach said so... Then left."],
        );
        check("Very bad!!! I promise.\n\nNo", &["Very bad!!!", "I promise.", "No"]);
        check("", &[]);
        check("1. One\n2. Two", &["1.", "One\n2.", "Two"]);
    }
}
