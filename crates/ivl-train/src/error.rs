//! The errors of this crate.

use std::path::PathBuf;

/// What can go wrong between a configuration and a trained value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting outside its range.
    #[error("`{name}` is {got}, expected {expected}")]
    InvalidSetting {
        /// Its name in the TOML.
        name: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// `read`, `write`, ...
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A line of a data file that is not a JSON object.
    #[error("line {line} of `{}` is not a JSON object", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// Where it is broken.
        #[source]
        source: serde_json::Error,
    },
    /// A line of a data file without anything to learn from.
    #[error(
        "line {line} of `{}` has {got}, expected {{\"messages\": [{{\"role\": .., \"content\": ..}}, ..]}}, \
         {{\"prompt\": .., \"completion\": ..}} or {{\"text\": ..}}, all strings", path.display()
    )]
    Record {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What stands there.
        got: String,
    },
    /// A line longer than any honest one.
    #[error("line {line} of `{}` is longer than {limit} bytes", path.display())]
    LongLine {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// The bound.
        limit: u64,
    },
    /// Messages without a template to render them.
    #[error(
        "line {line} of `{}` has messages, but the model has no chat template; set `data.chat_template` to a Jinja file",
        path.display()
    )]
    NoTemplate {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
    },
    /// A chat template that does not show the assistant's words as they are.
    #[error(
        "the chat template changes earlier turns when a later one is added (line {line} of `{}`, turn {turn}), so that the \
         assistant's tokens cannot be found; use a template that only appends", path.display()
    )]
    TemplateRewrites {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// Which turn, counted from zero.
        turn: usize,
    },
    /// Nothing to train on.
    #[error(
        "no trained token is left in {what}: {rows} rows were read, {dropped} lost all of theirs to max_length {max_length}"
    )]
    NothingToTrain {
        /// `data.train` or `data.eval`.
        what: &'static str,
        /// Rows in the files.
        rows: usize,
        /// Rows without a trained token after truncation.
        dropped: usize,
        /// The limit.
        max_length: usize,
    },
    /// The loss is no longer a number.
    #[error(
        "the loss or its gradient is not finite at step {step}; lower `optimizer.learning_rate` (the last checkpoint is intact)"
    )]
    Diverged {
        /// The step.
        step: usize,
    },
    /// Resuming with other settings or data.
    #[error(
        "`{}` was written by a run with other settings, data or models; resume with those, or choose another `output`",
        path.display()
    )]
    ForeignCheckpoint {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Nothing to resume from.
    #[error("there is no complete checkpoint in `{}` to resume from; start without --resume", path.display())]
    NoCheckpoint {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A run is already there.
    #[error("`{}` already holds {what}; continue with --resume, or choose another `output`", path.display())]
    OutputExists {
        /// The directory.
        path: PathBuf,
        /// What was found in it.
        what: &'static str,
    },
    /// The training framework stopped.
    #[error("training stopped: {reason}")]
    Stopped {
        /// Its message.
        reason: String,
    },
    /// From the model side.
    #[error(transparent)]
    Model(#[from] ivl_models::Error),
    /// From the tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] ivl_models::TokenizerError),
    /// From the chat template.
    #[error(transparent)]
    Chat(#[from] ivl_models::ChatError),
    /// From the fusion.
    #[error(transparent)]
    Core(#[from] ivl_core::Error),
}
