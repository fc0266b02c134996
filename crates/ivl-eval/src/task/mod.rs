//! Tasks: what is asked, and what counts as right.

mod document;
mod file;
mod rows;

use std::path::{Component, Path, PathBuf};

use ivl_models::RowTemplate;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use document::{Document, Gold};
pub use file::{
    ChoiceSource, CompletionSettings, FilterFunction, FilterPipeline, FilterStep, GenerationSettings,
    MetricName, MetricSettings, OutputType, TaskFile,
};
pub use rows::{Row, read_rows};

use crate::error::Error;
use crate::score::{Extraction, Measure};

/// Most new tokens of an answer, unless the task says otherwise; as in lm-evaluation-harness.
const MAX_GEN_TOKS: usize = 256;

/// A task that is ready to be run: templates compiled, rows read.
#[derive(Debug, Clone)]
pub struct Task {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub file: TaskFile,
    /// What is asked, in order.
    pub rows: Vec<Row>,
    /// What is measured.
    pub measures: Vec<Measure>,
    /// What is taken from an answer; one that takes it whole if the task names none.
    pub extractions: Vec<Extraction>,
    shots: Option<Vec<Row>>,
    text: RowTemplate,
    target: Option<RowTemplate>,
    choices: Option<RowTemplate>,
    counted: Option<RowTemplate>,
    completion_id: Option<RowTemplate>,
    digests: Vec<String>,
}

impl Task {
    /// Opens a task file and reads its rows.
    ///
    /// # Errors
    /// [`Error`] names the file, the key or the line, and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = TaskFile::read(path)?;
        check(path, &file)?;
        let template = |key, source: &str| {
            RowTemplate::new(source).map_err(|source| Error::Template { path: path.to_owned(), key, source })
        };
        let optional = |key, source: Option<&String>| source.map(|source| template(key, source)).transpose();
        let choices = match &file.doc_to_choice {
            Some(ChoiceSource::Template(source)) => Some(template("doc_to_choice", source)?),
            _ => None,
        };
        let text = template("doc_to_text", &file.doc_to_text)?;
        let target = optional("doc_to_target", file.doc_to_target.as_ref())?;
        let counted = optional("doc_to_count", file.doc_to_count.as_ref())?;
        let completion_id = optional(
            "completions.task_id",
            file.completions.as_ref().map(|completions| &completions.task_id),
        )?;
        let measures = measures(path, &file)?;
        let extractions = Extraction::all(path, &file.filter_list)?;
        let (rows, digest) = read_rows(&inside(path, "data", &file.data)?)?;
        let mut digests = vec![digest];
        let shots = match &file.fewshot_data {
            Some(data) => {
                let (shots, digest) = read_rows(&inside(path, "fewshot_data", data)?)?;
                digests.push(digest);
                Some(shots)
            }
            None => None,
        };
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            rows,
            measures,
            extractions,
            shots,
            text,
            target,
            choices,
            counted,
            completion_id,
            digests,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.file.task
    }

    /// What a model is asked for.
    pub fn output_type(&self) -> OutputType {
        self.file.output_type
    }

    /// Strings that end an answer.
    pub fn until(&self) -> Vec<String> {
        let own = self.file.generation_kwargs.until.clone();
        own.unwrap_or_else(|| vec![self.file.fewshot_delimiter.clone()])
    }

    /// Most new tokens of an answer.
    pub fn max_gen_toks(&self) -> usize {
        self.file.generation_kwargs.max_gen_toks.unwrap_or(MAX_GEN_TOKS)
    }

    /// All of the task that decides what a sample's answer is: digests of what it asks and of its data. What is measured is
    /// left out, since answers are kept and measured again.
    pub fn identity(&self) -> Value {
        let mut asked = self.file.clone();
        (asked.metric_list, asked.filter_list, asked.completions) = (Vec::new(), Vec::new(), None);
        (asked.data, asked.fewshot_data, asked.doc_to_count) = (PathBuf::new(), None, None);
        let asked = serde_json::to_vec(&asked).unwrap_or_default();
        json!({ "task": digest(&asked), "data": self.digests })
    }
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The path of a data file, which may not lead out of the folder of the task.
fn inside(task: &Path, key: &'static str, data: &Path) -> Result<PathBuf, Error> {
    let folder = match task.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let escapes = || Error::Escapes { path: task.to_owned(), key, got: data.to_owned() };
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !data.components().all(plain) {
        return Err(escapes());
    }
    let path = folder.join(data);
    let (Ok(real), Ok(folder)) = (path.canonicalize(), folder.canonicalize()) else {
        return Err(Error::NoData { path: task.to_owned(), key, data: path });
    };
    // A link may lead out where the words do not.
    if real.starts_with(folder) { Ok(path) } else { Err(escapes()) }
}

/// Keys that belong to other kinds of task, and keys that are missing.
fn check(path: &Path, file: &TaskFile) -> Result<(), Error> {
    let kind = file.output_type;
    let setting = |key: &str, expected, got: &str| {
        Err(Error::Setting { path: path.to_owned(), key: key.to_owned(), expected, got: got.to_owned() })
    };
    let name = &file.task;
    if name.is_empty()
        || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        || name.starts_with('.')
    {
        return setting(
            "task",
            "a name of letters, digits, `-`, `_` and `.`, since files are called by it",
            name,
        );
    }
    let missing = |key| Err(Error::Missing { path: path.to_owned(), key, kind: kind.name() });
    if kind == OutputType::MultipleChoice && file.doc_to_choice.is_none() {
        return missing("doc_to_choice");
    }
    if kind != OutputType::MultipleChoice && file.doc_to_choice.is_some() {
        return setting("doc_to_choice", "only for output_type `multiple_choice`", kind.name());
    }
    let scored = file.metric_list.iter().any(|metric| metric.metric != MetricName::Ifeval);
    let needs_target = kind != OutputType::GenerateUntil
        || scored
        || file.metric_list.is_empty() && file.completions.is_none();
    if file.doc_to_target.is_none() && needs_target {
        return missing("doc_to_target");
    }
    if kind != OutputType::LoglikelihoodRolling && file.doc_to_text.is_empty() {
        return missing("doc_to_text");
    }
    if kind == OutputType::LoglikelihoodRolling && !file.doc_to_text.is_empty() {
        return setting("doc_to_text", "nothing for output_type `loglikelihood_rolling`", &file.doc_to_text);
    }
    if kind != OutputType::GenerateUntil && file.generation_kwargs != GenerationSettings::default() {
        return setting("generation_kwargs", "only for output_type `generate_until`", kind.name());
    }
    if kind != OutputType::GenerateUntil && !(file.filter_list.is_empty() && file.completions.is_none()) {
        return setting("filter_list and completions", "only for output_type `generate_until`", kind.name());
    }
    if kind != OutputType::LoglikelihoodRolling && file.doc_to_count.is_some() {
        return setting("doc_to_count", "only for output_type `loglikelihood_rolling`", kind.name());
    }
    if file.generation_kwargs.max_gen_toks == Some(0) {
        return setting("generation_kwargs.max_gen_toks", "at least 1", "0");
    }
    Ok(())
}

/// The metrics of a task, or those that tasks of its kind have.
fn measures(path: &Path, file: &TaskFile) -> Result<Vec<Measure>, Error> {
    let usual: &[MetricName] = match file.output_type {
        OutputType::MultipleChoice => &[MetricName::Acc, MetricName::AccNorm],
        OutputType::LoglikelihoodRolling => &[
            MetricName::WordPerplexity,
            MetricName::BytePerplexity,
            MetricName::BitsPerByte,
            MetricName::TokenPerplexity,
        ],
        OutputType::GenerateUntil if file.completions.is_some() => &[],
        OutputType::GenerateUntil => &[MetricName::ExactMatch],
    };
    let usual: Vec<MetricSettings> = usual.iter().map(|&metric| MetricSettings::new(metric)).collect();
    let asked = if file.metric_list.is_empty() { &usual } else { &file.metric_list };
    asked.iter().map(|settings| Measure::new(path, file.output_type, settings)).collect()
}
