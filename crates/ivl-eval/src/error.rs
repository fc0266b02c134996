//! The errors of this crate: each a situation, with its facts as fields.

use std::fmt;
use std::path::PathBuf;

use ivl_models::{ChatError, FileError, PatternError, RowTemplateError, TokenizerError};

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// Which file.
    pub path: PathBuf,
    /// Which line, from 1.
    pub line: usize,
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of `{}`", self.line, self.path.display())
    }
}

/// Errors of an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A task file that is not TOML.
    #[error("the task `{}` is not TOML", path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Where it is broken.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key that task files do not have.
    #[error("unknown key `{key}` in the task `{}`; {}", path.display(), hint(meant.as_deref(), known))]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The key that was probably meant.
        meant: Option<String>,
        /// All known keys.
        known: Vec<String>,
    },
    /// A key whose value cannot be read.
    #[error("`{key}` in the task `{}` has a value that cannot be read", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The expected value.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key whose value does not fit.
    #[error("`{key}` in the task `{}` is {got}, expected {expected}", path.display())]
    Setting {
        /// Which file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The allowed values.
        expected: &'static str,
        /// The value in the file.
        got: String,
    },
    /// A key without which a task of this kind means nothing.
    #[error("the task `{}` has no `{key}`, which a task of output_type `{kind}` needs", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The kind of task.
        kind: &'static str,
    },
    /// A data file outside the folder of the task.
    #[error(
        "`{key}` in the task `{}` is `{}`, expected a path inside the folder of the task; copy the file there",
        path.display(), got.display()
    )]
    Escapes {
        /// Which task.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The path.
        got: PathBuf,
    },
    /// A data file that is not there.
    #[error(
        "`{}`, which `{key}` in the task `{}` names, does not exist; the comments of the task file say where to get it",
        data.display(), path.display()
    )]
    NoData {
        /// Which task.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The file.
        data: PathBuf,
    },
    /// A data file without rows.
    #[error("`{}` has no rows, expected one JSON object per line", path.display())]
    NoRows {
        /// Which file.
        path: PathBuf,
    },
    /// A line that is longer than any real one.
    #[error("{place} is longer than {limit} bytes")]
    LongLine {
        /// Where.
        place: FileLine,
        /// The bound.
        limit: u64,
    },
    /// A line that is not a JSON object.
    #[error("{place} is not a JSON object")]
    Json {
        /// Where.
        place: FileLine,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
    /// A template that does not compile.
    #[error("`{key}` in the task `{}`", path.display())]
    Template {
        /// Which task.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The reason.
        #[source]
        source: RowTemplateError,
    },
    /// A template that fails on a row.
    #[error("`{key}` fails on {place}")]
    Row {
        /// Which row.
        place: FileLine,
        /// The key.
        key: &'static str,
        /// The reason.
        #[source]
        source: RowTemplateError,
    },
    /// A template that gives something of another kind.
    #[error("`{key}` gives {got} for {place}, expected {expected}")]
    Gives {
        /// Which row.
        place: FileLine,
        /// The key.
        key: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The value it gives.
        got: String,
    },
    /// More examples than there are.
    #[error(
        "the task `{task}` puts {wanted} examples before each prompt, but has only {got}; use at most {got}"
    )]
    FewShots {
        /// Which task.
        task: String,
        /// The configured number.
        wanted: usize,
        /// How many there are.
        got: usize,
    },
    /// A pattern that cannot be used.
    #[error("{what}")]
    Pattern {
        /// Its place.
        what: String,
        /// The reason.
        #[source]
        source: PatternError,
    },
    /// An instruction that cannot be checked.
    #[error("{place} has the instruction `{instruction}` with {got}, expected {expected}")]
    Instruction {
        /// Which row.
        place: FileLine,
        /// The instruction.
        instruction: String,
        /// The reason.
        got: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// A continuation that adds no token to its context.
    #[error(
        "the continuation {continuation:?} of {place} adds no token to its context, so there is nothing to score"
    )]
    NoToken {
        /// Which row.
        place: FileLine,
        /// The continuation.
        continuation: String,
    },
    /// A continuation that is longer than the model's context.
    #[error(
        "a continuation of {got} tokens for {place} does not fit the {limit} positions that the model reads"
    )]
    LongContinuation {
        /// Which row.
        place: FileLine,
        /// Its tokens.
        got: usize,
        /// Positions.
        limit: usize,
    },
    /// A text without context, for a tokenizer that has no token to begin with.
    #[error(
        "{place} has an empty context, and the tokenizer has neither a bos_token nor an eos_token to start from; \
         declare one in tokenizer_config.json"
    )]
    NoBeginning {
        /// Which row.
        place: FileLine,
    },
    /// A length that leaves nothing.
    #[error("`{name}` is {got}, expected {expected}")]
    Length {
        /// The setting.
        name: &'static str,
        /// The allowed values.
        expected: String,
        /// The given value.
        got: usize,
    },
    /// A log of samples that belongs to another run.
    #[error(
        "`{}` holds samples of another run: {what} was {was}, and is {is}; delete the file, or write to another \
         directory", path.display()
    )]
    OtherRun {
        /// The log.
        path: PathBuf,
        /// The part that differs.
        what: String,
        /// Its value in the log.
        was: String,
        /// Its value now.
        is: String,
    },
    /// A log of samples that is broken before its end.
    #[error("{place} is not a sample of this task; delete the file, or write to another directory")]
    BrokenLog {
        /// Where.
        place: FileLine,
        /// The reason.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The model failed.
    #[error(transparent)]
    Core(#[from] ivl_core::Error),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template failed.
    #[error(transparent)]
    Chat(#[from] ChatError),
}

fn hint(meant: Option<&str>, known: &[String]) -> String {
    if let Some(meant) = meant {
        return format!("did you mean `{meant}`?");
    }
    let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    format!("expected one of {}", known.join(", "))
}
