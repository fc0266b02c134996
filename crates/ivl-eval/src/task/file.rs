//! A task as a TOML file, with the keys of lm-evaluation-harness.

use std::path::{Path, PathBuf};

use ivl_models::{UnknownField, nearest, read_text};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Largest task file that is read.
const LARGEST_FILE: u64 = 4 << 20;

/// A task file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskFile {
    /// Its name in tables and file names.
    pub(crate) task: String,
    /// The kind of output that a model computes.
    pub(crate) output_type: OutputType,
    /// The rows, one JSON object a line, relative to the task file.
    pub(crate) data: PathBuf,
    /// Where the few-shot examples come from; the rows themselves unless set.
    #[serde(default)]
    pub(crate) fewshot_data: Option<PathBuf>,
    /// Number of few-shot examples before each prompt; a run may override it.
    #[serde(default)]
    pub(crate) num_fewshot: usize,
    /// Text before everything else; the system turn in a chat.
    #[serde(default)]
    pub(crate) description: String,
    /// Template of the prompt.
    #[serde(default)]
    pub(crate) doc_to_text: String,
    /// Template of what is right: an index, one of the choices, a text, or a list of them.
    #[serde(default)]
    pub(crate) doc_to_target: Option<String>,
    /// The choices: a template that gives a list, or the list.
    #[serde(default)]
    pub(crate) doc_to_choice: Option<ChoiceSource>,
    /// Between prompt and answer.
    #[serde(default = "space")]
    pub(crate) target_delimiter: String,
    /// Between examples.
    #[serde(default = "empty_line")]
    pub(crate) fewshot_delimiter: String,
    /// Template of the text whose words and bytes a perplexity is divided by; default: the scored text.
    #[serde(default)]
    pub(crate) doc_to_count: Option<String>,
    /// How answers end.
    #[serde(default)]
    pub(crate) generation_kwargs: GenerationSettings,
    /// Filters of an answer; each is scored separately.
    #[serde(default)]
    pub(crate) filter_list: Vec<FilterPipeline>,
    /// The metrics.
    #[serde(default)]
    pub(crate) metric_list: Vec<MetricSettings>,
    /// Answers written out for the harness of another project, in place of metrics.
    #[serde(default)]
    pub(crate) completions: Option<CompletionSettings>,
}

fn space() -> String {
    " ".to_owned()
}

fn empty_line() -> String {
    "\n\n".to_owned()
}

/// The kind of output that a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// The likelihood of each of several answers.
    MultipleChoice,
    /// The likelihood of a text.
    LoglikelihoodRolling,
    /// An answer.
    GenerateUntil,
}

impl OutputType {
    /// Its name in the TOML.
    pub fn name(self) -> &'static str {
        match self {
            Self::MultipleChoice => "multiple_choice",
            Self::LoglikelihoodRolling => "loglikelihood_rolling",
            Self::GenerateUntil => "generate_until",
        }
    }
}

/// Where choices come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a template that gives a list, or a list of texts")]
pub(crate) enum ChoiceSource {
    /// A template.
    Template(String),
    /// The same for all rows.
    List(Vec<String>),
}

/// How answers end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GenerationSettings {
    /// Strings that end an answer; the few-shot delimiter unless set.
    #[serde(default)]
    pub(crate) until: Option<Vec<String>>,
    /// Most new tokens; 256 unless set.
    #[serde(default)]
    pub(crate) max_gen_toks: Option<usize>,
}

/// A filter of an answer: a list of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterPipeline {
    /// Its name in tables.
    pub(crate) name: String,
    /// The steps.
    pub(crate) filter: Vec<FilterStep>,
}

/// One step of a filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterStep {
    /// The operation.
    pub(crate) function: FilterFunction,
    /// For `regex`: what is looked for.
    #[serde(default)]
    pub(crate) regex_pattern: Option<String>,
    /// For `regex`: which match; negative numbers count from the last.
    #[serde(default)]
    pub(crate) group_select: Option<i64>,
    /// For `regex`: what is taken if nothing is found.
    #[serde(default)]
    pub(crate) fallback: Option<String>,
}

/// The operation of a step of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FilterFunction {
    /// Takes a match of a regular expression.
    Regex,
    /// Takes white space away at both ends.
    RemoveWhitespace,
    /// Makes all letters small.
    Lowercase,
    /// Takes the first of several answers. ivl generates one, so this changes nothing.
    TakeFirst,
}

/// A metric with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricSettings {
    /// Which.
    pub(crate) metric: MetricName,
    /// For texts: whether capitals count.
    #[serde(default)]
    pub(crate) ignore_case: bool,
    /// For texts: whether ASCII punctuation counts.
    #[serde(default)]
    pub(crate) ignore_punctuation: bool,
    /// For texts: whether digits count.
    #[serde(default)]
    pub(crate) ignore_numbers: bool,
    /// For texts: what is taken out before they are compared.
    #[serde(default)]
    pub(crate) regexes_to_ignore: Vec<String>,
}

impl MetricSettings {
    /// A metric as it is without settings.
    pub(crate) fn new(metric: MetricName) -> Self {
        Self {
            metric,
            ignore_case: false,
            ignore_punctuation: false,
            ignore_numbers: false,
            regexes_to_ignore: Vec::new(),
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "docs/evaluation.md defines each")]
pub enum MetricName {
    Acc,
    AccNorm,
    AccBytes,
    WordPerplexity,
    BytePerplexity,
    BitsPerByte,
    TokenPerplexity,
    ExactMatch,
    Contains,
    Ifeval,
}

impl MetricName {
    /// Its name in the TOML and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::AccBytes => "acc_bytes",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::TokenPerplexity => "token_perplexity",
            Self::ExactMatch => "exact_match",
            Self::Contains => "contains",
            Self::Ifeval => "ifeval",
        }
    }

    /// The kind of task that it measures.
    pub fn output_type(self) -> OutputType {
        match self {
            Self::Acc | Self::AccNorm | Self::AccBytes => OutputType::MultipleChoice,
            Self::WordPerplexity | Self::BytePerplexity | Self::BitsPerByte | Self::TokenPerplexity => {
                OutputType::LoglikelihoodRolling
            }
            Self::ExactMatch | Self::Contains | Self::Ifeval => OutputType::GenerateUntil,
        }
    }
}

/// How answers are written out for the harness of another project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompletionSettings {
    /// Template of `task_id`.
    pub(crate) task_id: String,
}

impl TaskFile {
    /// Reads a task file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Toml`]; [`Error::UnknownKey`] names the key that was probably meant,
    /// [`Error::Value`] the key with a wrong value.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = read_text(path, "a task", LARGEST_FILE)?;
        let broken = |source| Error::Toml { path: path.to_owned(), source: Box::new(source) };
        let table = toml::Deserializer::parse(&text).map_err(broken)?;
        serde_path_to_error::deserialize(table).map_err(|error| {
            let key = error.path().to_string();
            let source = error.into_inner();
            match UnknownField::in_message(source.message()) {
                Some(field) => unknown_key(path, &key, &field),
                None => Error::Value { path: path.to_owned(), key, source: Box::new(source) },
            }
        })
    }
}

fn unknown_key(path: &Path, key: &str, field: &UnknownField<'_>) -> Error {
    let meant = nearest(field.key, field.known.iter().map(|name| ((*name).to_owned(), name)));
    let known = field.known.iter().map(|name| (*name).to_owned()).collect();
    Error::UnknownKey { path: path.to_owned(), key: key.to_owned(), meant, known }
}
