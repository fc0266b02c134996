//! A task that is ready to be run: templates compiled, rows read.

use std::path::{Path, PathBuf};

use ivl_models::RowTemplate;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::check::check;
use super::file::{ChoiceSource, MetricName, MetricSettings, OutputType, TaskFile};
use super::rows::{TaskRow, data_path, read_rows};
use crate::error::Error;
use crate::score::{Extraction, Metric};

/// Most new tokens of an answer, unless the task says otherwise; as in lm-evaluation-harness.
const MAX_GEN_TOKS: usize = 256;

/// A task that is ready to be run: templates compiled, rows read.
#[derive(Debug, Clone)]
pub struct Task {
    /// The file.
    pub path: PathBuf,
    /// The task file.
    pub(crate) file: TaskFile,
    /// The rows, in order.
    pub rows: Vec<TaskRow>,
    /// The metrics.
    pub metrics: Vec<Metric>,
    /// Filters of an answer; the identity if the task has none.
    pub extractions: Vec<Extraction>,
    pub(super) shots: Option<Vec<TaskRow>>,
    pub(super) text: RowTemplate,
    pub(super) target: Option<RowTemplate>,
    pub(super) choices: Option<RowTemplate>,
    pub(super) counted: Option<RowTemplate>,
    pub(super) completion_id: Option<RowTemplate>,
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
        let metrics = metrics(path, &file)?;
        let extractions = Extraction::all(path, &file.filter_list)?;
        let (rows, digest) = read_rows(&data_path(path, "data", &file.data)?)?;
        let mut digests = vec![digest];
        let shots = match &file.fewshot_data {
            Some(data) => {
                let (shots, digest) = read_rows(&data_path(path, "fewshot_data", data)?)?;
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
            metrics,
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

    /// The kind of output that a model computes.
    pub fn output_type(&self) -> OutputType {
        self.file.output_type
    }

    /// Examples before each prompt, unless a run says otherwise.
    pub fn num_fewshot(&self) -> usize {
        self.file.num_fewshot
    }

    /// Whether answers are written out for the harness of another project.
    pub fn has_completions(&self) -> bool {
        self.file.completions.is_some()
    }

    /// Strings that end an answer.
    pub(crate) fn until(&self) -> Vec<String> {
        let own = self.file.generation_kwargs.until.clone();
        own.unwrap_or_else(|| vec![self.file.fewshot_delimiter.clone()])
    }

    /// Most new tokens of an answer.
    pub(crate) fn max_gen_toks(&self) -> usize {
        self.file.generation_kwargs.max_gen_toks.unwrap_or(MAX_GEN_TOKS)
    }

    /// The parts of the task that determine a sample's answer: digests of its prompts and of its data. The metrics are
    /// left out: answers are kept and scored again.
    pub(crate) fn identity(&self) -> Value {
        let mut deciding = self.file.clone();
        (deciding.metric_list, deciding.filter_list, deciding.completions) = (Vec::new(), Vec::new(), None);
        (deciding.data, deciding.fewshot_data, deciding.doc_to_count) = (PathBuf::new(), None, None);
        let deciding = serde_json::to_vec(&deciding).expect("texts and numbers are JSON");
        json!({ "task": digest(&deciding), "data": self.digests })
    }
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The metrics of a task, or those that tasks of its kind have.
fn metrics(path: &Path, file: &TaskFile) -> Result<Vec<Metric>, Error> {
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
    let chosen = if file.metric_list.is_empty() { &usual } else { &file.metric_list };
    chosen.iter().map(|settings| Metric::new(path, file.output_type, settings)).collect()
}
