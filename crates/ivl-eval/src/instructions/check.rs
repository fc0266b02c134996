//! Whether a text follows an instruction.

use ivl_models::{Pattern, PatternError, PatternFlags};

use super::instruction::Instruction;
use super::json::is_json;
use super::language::is_in;
use super::sentences::sentences;
use super::words::tokens;
use crate::python_text::{is_lower, is_space, is_upper, trim};

/// The answers that a constrained response may give.
const OPTIONS: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];

impl Instruction {
    /// Whether a text follows it.
    pub(super) fn is_followed(&self, text: &str) -> Result<bool, PatternError> {
        Ok(match self {
            Self::KeywordExistence { keywords } => {
                for keyword in keywords {
                    if !ignoring_case(keyword)?.is_match(text)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::KeywordFrequency { keyword, frequency, relation } => {
                relation.holds(ignoring_case(keyword)?.count(text)?, *frequency)
            }
            Self::ForbiddenWords { words } => {
                for word in words {
                    if ignoring_case(&format!(r"\b{word}\b"))?.is_match(text)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::LetterFrequency { letter, frequency, relation } => {
                let count = text.to_lowercase().chars().filter(|other| other == letter).count();
                relation.holds(count, *frequency)
            }
            Self::ResponseLanguage { language } => is_in(text, language),
            Self::NumberSentences { number, relation } => relation.holds(sentences(text)?.len(), *number),
            Self::NumberParagraphs { number } => paragraphs(text)? == Some(*number),
            Self::NumberWords { number, relation } => {
                relation.holds(Pattern::new(r"\w+")?.count(text)?, *number)
            }
            Self::NthParagraphFirstWord { paragraphs, nth, first_word } => {
                begins_paragraph(text, *paragraphs, *nth, first_word)
            }
            Self::NumberPlaceholders { number } => Pattern::new(r"\[.*?\]")?.count(text)? >= *number,
            Self::Postscript { marker } => has_postscript(text, marker)?,
            Self::NumberBulletLists { number } => {
                let stars = lines(r"^\s*\*[^\*].*$")?.count(text)?;
                stars + lines(r"^\s*-.*$")?.count(text)? == *number
            }
            Self::ConstrainedResponse => OPTIONS.iter().any(|option| trim(text).contains(option)),
            Self::NumberHighlightedSections { number } => highlights(text)? >= *number,
            Self::MultipleSections { splitter, number } => {
                Pattern::new(&format!(r"\s?{splitter}\s?\d+\s?"))?.count(text)? >= *number
            }
            Self::JsonFormat => is_json(without_fence(text)),
            Self::Title => {
                let titles = Pattern::new("<<[^\n]+>>")?;
                let inside =
                    |title: &[&str]| !trim(title[0].trim_start_matches('<').trim_end_matches('>')).is_empty();
                titles.find_all(text)?.iter().any(|title| inside(title))
            }
            Self::TwoResponses => two_responses(text),
            Self::RepeatPrompt { prompt } => {
                trim(text).to_lowercase().starts_with(&trim(prompt).to_lowercase())
            }
            Self::EndChecker { phrase } => {
                let text = trim(text).trim_matches('"').to_lowercase();
                text.ends_with(trim(&phrase.to_lowercase()))
            }
            Self::CapitalWordFrequency { frequency, relation } => {
                let capitals = tokens(text)?.iter().filter(|token| is_upper(token)).count();
                relation.holds(capitals, *frequency)
            }
            Self::EnglishCapital => is_upper(text) && is_in(text, "en"),
            Self::EnglishLowercase => is_lower(text) && is_in(text, "en"),
            Self::NoComma => !text.contains(','),
            Self::Quotation => {
                let text = trim(text);
                text.chars().count() > 1 && text.starts_with('"') && text.ends_with('"')
            }
        })
    }
}

fn ignoring_case(source: &str) -> Result<Pattern, PatternError> {
    Pattern::with_flags(source, PatternFlags { ignore_case: true, multiline: false })
}

fn lines(source: &str) -> Result<Pattern, PatternError> {
    Pattern::with_flags(source, PatternFlags { ignore_case: false, multiline: true })
}

/// Number of paragraphs between dividers `***`; none if one between two others is empty.
fn paragraphs(text: &str) -> Result<Option<usize>, PatternError> {
    let pieces = Pattern::new(r"\s?\*\*\*\s?")?.split(text)?;
    let last = pieces.len() - 1;
    let mut count = pieces.len();
    for (index, piece) in pieces.iter().enumerate() {
        if trim(piece).is_empty() {
            if index != 0 && index != last {
                return Ok(None);
            }
            count -= 1;
        }
    }
    Ok(Some(count))
}

/// Whether there are as many paragraphs, separated by empty lines, and the `nth` begins with a word.
fn begins_paragraph(text: &str, wanted: usize, nth: usize, first_word: &str) -> bool {
    let pieces: Vec<&str> = text.split("\n\n").collect();
    let count = pieces.iter().filter(|piece| !trim(piece).is_empty()).count();
    if nth > count {
        return false;
    }
    let Some(word) = pieces[nth - 1].split(is_space).find(|word| !word.is_empty()) else { return false };
    let word = word.trim_start_matches('\'').trim_start_matches('"');
    let word = word.split(['.', ',', '?', '!', '\'', '"']).next().unwrap_or_default();
    let word: String = word.chars().flat_map(char::to_lowercase).collect();
    count == wanted && word == first_word
}

fn has_postscript(text: &str, marker: &str) -> Result<bool, PatternError> {
    let pattern = match marker {
        "P.P.S" => r"\s*p\.\s?p\.\s?s.*$".to_owned(),
        "P.S." => r"\s*p\.\s?s\..*$".to_owned(),
        other => format!(r"\s*{}.*$", other.to_lowercase()),
    };
    lines(&pattern)?.is_match(&text.to_lowercase())
}

/// Pieces between single and between double asterisks that are not empty.
fn highlights(text: &str) -> Result<usize, PatternError> {
    let single = Pattern::new(r"\*[^\n\*]*\*")?.find_all(text)?;
    let double = Pattern::new(r"\*\*[^\n\*]*\*\*")?.find_all(text)?;
    let single = single.iter().filter(|piece| !trim(piece[0].trim_matches('*')).is_empty()).count();
    let inside = |piece: &str| {
        let piece = piece.strip_prefix("**").unwrap_or(piece);
        !trim(piece.strip_suffix("**").unwrap_or(piece)).is_empty()
    };
    Ok(single + double.iter().filter(|piece| inside(piece[0])).count())
}

/// The text inside a fence of Markdown.
fn without_fence(text: &str) -> &str {
    let mut text = trim(text);
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    trim(text.strip_suffix("```").unwrap_or(text))
}

/// Two responses that differ, with six asterisks between them.
fn two_responses(text: &str) -> bool {
    let pieces: Vec<&str> = text.split("******").collect();
    let last = pieces.len() - 1;
    let empty_inside = |(index, piece): (usize, &&str)| trim(piece).is_empty() && index != 0 && index != last;
    if pieces.iter().enumerate().any(empty_inside) {
        return false;
    }
    let responses: Vec<&str> =
        pieces.iter().map(|piece| trim(piece)).filter(|piece| !piece.is_empty()).collect();
    matches!(responses.as_slice(), [first, second] if first != second)
}
