//! The 25 instructions, with what they are about.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::python_text::trim;
use crate::task::TaskRow;

/// The comparison of a number with the required one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// `less than`.
    LessThan,
    /// `at least`.
    AtLeast,
}

impl Relation {
    pub(super) fn holds(self, got: usize, wanted: usize) -> bool {
        match self {
            Self::LessThan => got < wanted,
            Self::AtLeast => got >= wanted,
        }
    }
}

/// A verifiable instruction. The names are those of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instruction {
    KeywordExistence { keywords: Vec<String> },
    KeywordFrequency { keyword: String, frequency: usize, relation: Relation },
    ForbiddenWords { words: Vec<String> },
    LetterFrequency { letter: char, frequency: usize, relation: Relation },
    ResponseLanguage { language: String },
    NumberSentences { number: usize, relation: Relation },
    NumberParagraphs { number: usize },
    NumberWords { number: usize, relation: Relation },
    NthParagraphFirstWord { paragraphs: usize, nth: usize, first_word: String },
    NumberPlaceholders { number: usize },
    Postscript { marker: String },
    NumberBulletLists { number: usize },
    ConstrainedResponse,
    NumberHighlightedSections { number: usize },
    MultipleSections { splitter: String, number: usize },
    JsonFormat,
    Title,
    TwoResponses,
    RepeatPrompt { prompt: String },
    EndChecker { phrase: String },
    CapitalWordFrequency { frequency: usize, relation: Relation },
    EnglishCapital,
    EnglishLowercase,
    NoComma,
    Quotation,
}

impl Instruction {
    /// The instructions of a row.
    pub(super) fn all(row: &TaskRow) -> Result<Vec<Self>, Error> {
        let gives = |key, expected, got: &Value| Error::Gives {
            place: row.place.clone(),
            key,
            expected,
            got: got.to_string(),
        };
        let list = |key: &'static str| {
            let value = row.fields.get(key).unwrap_or(&Value::Null);
            value.as_array().ok_or_else(|| gives(key, "a list, as in the rows of IFEval", value))
        };
        let (ids, kwargs) = (list("instruction_id_list")?, list("kwargs")?);
        if ids.len() != kwargs.len() || ids.is_empty() {
            return Err(gives(
                "kwargs",
                "one object for each of instruction_id_list",
                &Value::Array(kwargs.clone()),
            ));
        }
        let nothing = Map::new();
        let read = |(id, kwargs): (&Value, &Value)| {
            let id = id.as_str().ok_or_else(|| gives("instruction_id_list", "names of instructions", id))?;
            Arguments { row, id, kwargs: kwargs.as_object().unwrap_or(&nothing) }.read()
        };
        ids.iter().zip(kwargs).map(read).collect()
    }

    /// Its name in the data set.
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::KeywordExistence { .. } => "keywords:existence",
            Self::KeywordFrequency { .. } => "keywords:frequency",
            Self::ForbiddenWords { .. } => "keywords:forbidden_words",
            Self::LetterFrequency { .. } => "keywords:letter_frequency",
            Self::ResponseLanguage { .. } => "language:response_language",
            Self::NumberSentences { .. } => "length_constraints:number_sentences",
            Self::NumberParagraphs { .. } => "length_constraints:number_paragraphs",
            Self::NumberWords { .. } => "length_constraints:number_words",
            Self::NthParagraphFirstWord { .. } => "length_constraints:nth_paragraph_first_word",
            Self::NumberPlaceholders { .. } => "detectable_content:number_placeholders",
            Self::Postscript { .. } => "detectable_content:postscript",
            Self::NumberBulletLists { .. } => "detectable_format:number_bullet_lists",
            Self::ConstrainedResponse => "detectable_format:constrained_response",
            Self::NumberHighlightedSections { .. } => "detectable_format:number_highlighted_sections",
            Self::MultipleSections { .. } => "detectable_format:multiple_sections",
            Self::JsonFormat => "detectable_format:json_format",
            Self::Title => "detectable_format:title",
            Self::TwoResponses => "combination:two_responses",
            Self::RepeatPrompt { .. } => "combination:repeat_prompt",
            Self::EndChecker { .. } => "startend:end_checker",
            Self::CapitalWordFrequency { .. } => "change_case:capital_word_frequency",
            Self::EnglishCapital => "change_case:english_capital",
            Self::EnglishLowercase => "change_case:english_lowercase",
            Self::NoComma => "punctuation:no_comma",
            Self::Quotation => "startend:quotation",
        }
    }
}

/// The fields of a row for one instruction.
struct Arguments<'a> {
    row: &'a TaskRow,
    id: &'a str,
    kwargs: &'a Map<String, Value>,
}

impl Arguments<'_> {
    fn read(&self) -> Result<Instruction, Error> {
        Ok(match self.id {
            "keywords:existence" => Instruction::KeywordExistence { keywords: self.texts("keywords")? },
            "keywords:frequency" => Instruction::KeywordFrequency {
                keyword: self.text("keyword")?,
                frequency: self.number("frequency")?,
                relation: self.relation("relation")?,
            },
            "keywords:forbidden_words" => {
                Instruction::ForbiddenWords { words: self.texts("forbidden_words")? }
            }
            "keywords:letter_frequency" => Instruction::LetterFrequency {
                letter: self.letter("letter")?,
                frequency: self.number("let_frequency")?,
                relation: self.relation("let_relation")?,
            },
            "language:response_language" => {
                Instruction::ResponseLanguage { language: self.text("language")? }
            }
            "length_constraints:number_sentences" => Instruction::NumberSentences {
                number: self.number("num_sentences")?,
                relation: self.relation("relation")?,
            },
            "length_constraints:number_paragraphs" => {
                Instruction::NumberParagraphs { number: self.number("num_paragraphs")? }
            }
            "length_constraints:number_words" => Instruction::NumberWords {
                number: self.number("num_words")?,
                relation: self.relation("relation")?,
            },
            "length_constraints:nth_paragraph_first_word" => self.nth_paragraph()?,
            "detectable_content:number_placeholders" => {
                Instruction::NumberPlaceholders { number: self.number("num_placeholders")? }
            }
            "detectable_content:postscript" => {
                Instruction::Postscript { marker: self.text("postscript_marker")? }
            }
            "detectable_format:number_bullet_lists" => {
                Instruction::NumberBulletLists { number: self.number("num_bullets")? }
            }
            "detectable_format:constrained_response" => Instruction::ConstrainedResponse,
            "detectable_format:number_highlighted_sections" => {
                Instruction::NumberHighlightedSections { number: self.number("num_highlights")? }
            }
            "detectable_format:multiple_sections" => Instruction::MultipleSections {
                splitter: self.text("section_spliter")?,
                number: self.number("num_sections")?,
            },
            "detectable_format:json_format" => Instruction::JsonFormat,
            "detectable_format:title" => Instruction::Title,
            "combination:two_responses" => Instruction::TwoResponses,
            "combination:repeat_prompt" => {
                Instruction::RepeatPrompt { prompt: self.text("prompt_to_repeat")? }
            }
            "startend:end_checker" => Instruction::EndChecker { phrase: self.text("end_phrase")? },
            "change_case:capital_word_frequency" => Instruction::CapitalWordFrequency {
                frequency: self.number("capital_frequency")?,
                relation: self.relation("capital_relation")?,
            },
            "change_case:english_capital" => Instruction::EnglishCapital,
            "change_case:english_lowercase" => Instruction::EnglishLowercase,
            "punctuation:no_comma" => Instruction::NoComma,
            "startend:quotation" => Instruction::Quotation,
            _ => {
                return Err(self.error("a name that ivl does not know".to_owned(), "one of the 25 of IFEval"));
            }
        })
    }

    fn nth_paragraph(&self) -> Result<Instruction, Error> {
        let (paragraphs, nth) = (self.number("num_paragraphs")?, self.number("nth_paragraph")?);
        if nth > paragraphs {
            return Err(self.error(format!("nth_paragraph {nth}"), "at most num_paragraphs"));
        }
        let first_word = self.text("first_word")?.to_lowercase();
        Ok(Instruction::NthParagraphFirstWord { paragraphs, nth, first_word })
    }

    fn error(&self, got: String, expected: &'static str) -> Error {
        Error::Instruction { place: self.row.place.clone(), instruction: self.id.to_owned(), got, expected }
    }

    fn value(&self, key: &str) -> &Value {
        self.kwargs.get(key).unwrap_or(&Value::Null)
    }

    fn text(&self, key: &str) -> Result<String, Error> {
        match self.value(key) {
            Value::String(text) if !text.is_empty() => Ok(trim(text).to_owned()),
            other => Err(self.error(format!("{key} {other}"), "a text")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, Error> {
        let texts = self.value(key).as_array().into_iter().flatten();
        let texts: Vec<String> = texts.filter_map(|text| Some(text.as_str()?.to_owned())).collect();
        match texts.is_empty() {
            false => Ok(texts),
            true => Err(self.error(format!("{key} {}", self.value(key)), "a list of texts")),
        }
    }

    /// A number above 0: the harness draws one at random in place of 0. JSON made from tables has `3.0` for 3.
    fn number(&self, key: &str) -> Result<usize, Error> {
        let value = self.value(key);
        let number = value
            .as_u64()
            .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n > 0.0).map(|n| n as u64));
        let number = number.filter(|&number| number > 0);
        number
            .map(|n| n as usize)
            .ok_or_else(|| self.error(format!("{key} {value}"), "a whole number above 0"))
    }

    fn letter(&self, key: &str) -> Result<char, Error> {
        let text = self.text(key)?.to_lowercase();
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Ok(letter),
            _ => Err(self.error(format!("{key} {text:?}"), "a single letter")),
        }
    }

    fn relation(&self, key: &str) -> Result<Relation, Error> {
        match self.value(key).as_str() {
            Some("less than") => Ok(Relation::LessThan),
            Some("at least") => Ok(Relation::AtLeast),
            _ => Err(self.error(format!("{key} {}", self.value(key)), "`less than` or `at least`")),
        }
    }
}
