//! The errors of this crate.

use std::path::PathBuf;

use ivl_models::FileError;

use crate::config::format::Format;
use crate::data::place::Place;

/// Errors between a configuration and a trained value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting outside its range.
    #[error("`{name}` is {got}, expected {expected}")]
    InvalidSetting {
        /// Its name in the TOML.
        name: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The given value.
        got: String,
    },
    /// Settings that exclude each other.
    #[error("`{}` cannot be combined with `{}`: {reason}. Remove one", settings[0], settings[1])]
    Conflict {
        /// Their names in the TOML, with their values where only these conflict.
        settings: [&'static str; 2],
        /// Why.
        reason: &'static str,
    },
    /// A setting that another one needs.
    #[error("`{name}` is not set: {reason}")]
    MissingSetting {
        /// Its name in the TOML.
        name: &'static str,
        /// Why it is needed.
        reason: &'static str,
    },
    /// A file that is not TOML.
    #[error("`{}` is not TOML", path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Where it is broken.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key that no configuration has.
    #[error("unknown key `{key}`; {}", match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("expected one of `{}`", known.join("`, `")),
    })]
    UnknownKey {
        /// The key, with its table.
        key: String,
        /// The key that was probably meant.
        meant: Option<String>,
        /// The keys of that table.
        known: Vec<String>,
    },
    /// A key whose value is of the wrong kind, or that is missing.
    #[error("`{key}` has a value that cannot be read")]
    Config {
        /// The key.
        key: String,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A record that is not a JSON object.
    #[error("{place} is not a JSON object; expected one object per line, one array of objects, or a table")]
    Json {
        /// Where.
        place: Place,
        /// Where it is broken.
        #[source]
        source: serde_json::Error,
    },
    /// A record longer than the bound.
    #[error("{place} is longer than {limit} bytes")]
    LongRecord {
        /// Where.
        place: Place,
        /// The bound.
        limit: usize,
    },
    /// A JSON array without its end.
    #[error("the array ends in the middle of {place}; the file seems truncated")]
    OpenArray {
        /// Where.
        place: Place,
    },
    /// A JSON file with more than one array.
    #[error("`{}` continues after its array; expected one array of objects, or one object per line", path.display())]
    AfterArray {
        /// Which file.
        path: PathBuf,
    },
    /// A table that cannot be read.
    #[error("cannot read the Parquet table `{}`", path.display())]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A table of delimited values that cannot be read.
    #[error(
        "cannot read {place}; expected a table with a header, its values separated by commas (tabs in .tsv)"
    )]
    Csv {
        /// Where.
        place: Place,
        /// The reason.
        #[source]
        source: Box<csv::Error>,
    },
    /// An invalid pattern of paths.
    #[error("`{}` is no pattern of paths", path.display())]
    Pattern {
        /// The pattern.
        path: PathBuf,
        /// The reason.
        #[source]
        source: glob::PatternError,
    },
    /// A source without rows.
    #[error("`{}` holds no rows; expected a .jsonl, .json, .csv, .tsv or .parquet file (or .gz, .zst), a directory of such files, or a pattern", path.display())]
    EmptySource {
        /// The file or directory.
        path: PathBuf,
    },
    /// Fields that belong to none of the formats.
    #[error(
        "{place} has the fields {fields:?}, which match no format; expected `messages`, `conversations`, `instruction` and \
         `output`, `prompt` and `completion`, or `text`. Map the fields, for example \
         columns = {{ prompt = \"question\", completion = \"answer\" }}"
    )]
    UnknownFormat {
        /// Where.
        place: Place,
        /// The content of the row.
        fields: Vec<String>,
    },
    /// Fields that are no pair of answers.
    #[error(
        "{place} has the fields {fields:?}, which are no pair of answers; expected `chosen` and `rejected`, and perhaps \
         `prompt`. Map the fields, for example columns = {{ chosen = \"better\", rejected = \"worse\" }}"
    )]
    NoPair {
        /// Where.
        place: Place,
        /// The content of the row.
        fields: Vec<String>,
    },
    /// Pairs where demonstrations are expected, demonstrations where pairs are, or prompts in place of either.
    #[error("`{}` is of the format {}; {}", path.display(), format.name(), match format {
        Format::Preference => "only `objective = \"dpo\"` trains on pairs of answers: set it, or choose other data",
        Format::Prompt => "training needs answers: choose data that has some",
        _ => "`objective = \"dpo\"` trains on pairs of `chosen` and `rejected`: set another objective, or choose other data",
    })]
    FormatOfObjective {
        /// The source.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
    /// Fields that belong to several formats.
    #[error("{place} matches the formats {}; choose one, for example format = \"{}\"", names(formats), formats[0].name())]
    AmbiguousFormat {
        /// Where.
        place: Place,
        /// Those that fit; at least two.
        formats: Vec<Format>,
    },
    /// A field that the format requires.
    #[error("{place} has no `{column}`, which the format {} requires; it has {fields:?}", format.name())]
    MissingColumn {
        /// Where.
        place: Place,
        /// The format.
        format: Format,
        /// The name in the file.
        column: String,
        /// The content of the row.
        fields: Vec<String>,
    },
    /// Columns of different formats.
    #[error(
        "the columns {columns:?} of `{}` do not belong to {}; see docs/data.md for the fields of each format",
        path.display(), format.map_or("one format", Format::name)
    )]
    ForeignColumn {
        /// The source.
        path: PathBuf,
        /// Our names.
        columns: Vec<&'static str>,
        /// The configured format.
        format: Option<Format>,
    },
    /// A record that is not of the format of its source.
    #[error("{place} has {got}; its source is of the format {}", format.name())]
    Record {
        /// Where.
        place: Place,
        /// The source's format.
        format: Format,
        /// The content of the row.
        got: String,
    },
    /// Messages without a template to render them.
    #[error(
        "{place} has messages, but the model has no chat template; set `data.chat_template` to a Jinja file"
    )]
    NoTemplate {
        /// Where.
        place: Place,
    },
    /// Messages that the template does not render, or whose assistant turns cannot be found in the rendering.
    #[error("cannot train on {place}")]
    Render {
        /// Where.
        place: Place,
        /// The reason.
        #[source]
        source: Box<ivl_models::ChatError>,
    },
    /// A token that the tokenizer knows and the model has no logit for.
    #[error(
        "token {id} ({token:?}) in {place} is beyond the {logits} logits of the model; leave it out, or use a model that has it"
    )]
    TokenBeyondLogits {
        /// Where.
        place: Place,
        /// The token.
        id: u32,
        /// Its text.
        token: String,
        /// Logits of the model.
        logits: usize,
    },
    /// A row that the tokenizer cannot encode.
    #[error("cannot tokenize {place}")]
    RowTokens {
        /// Where.
        place: Place,
        /// The reason.
        #[source]
        source: ivl_models::TokenizerError,
    },
    /// A file of tokens that is not what was just written.
    #[error("`{}` was written but cannot be read back; is the disk full or shared with another run?", path.display())]
    CorruptTokenFile {
        /// Which file.
        path: PathBuf,
    },
    /// Nothing to train on.
    #[error(
        "no trained token is left in {what}: {rows} rows were read, {dropped} lost all trained tokens to max_length {max_length}"
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
    /// Logits of a base or teacher that are not on disk.
    #[error("the logits of `{base}` are not on disk {wanted}; load the model itself")]
    NotCached {
        /// The model.
        base: String,
        /// The expected content.
        wanted: &'static str,
    },
    /// A record of a checkpoint that cannot be read.
    #[error("cannot load `{}`", path.display())]
    Checkpoint {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<burn::train::checkpoint::CheckpointerError>,
    },
    /// Resuming with other settings or data.
    #[error(
        "`{}` was written by another run, which differs in {}; resume with what it had, or choose another `output`",
        path.display(), differs.join(", ")
    )]
    ForeignCheckpoint {
        /// The checkpoint.
        path: PathBuf,
        /// In what: settings, data, models.
        differs: Vec<String>,
    },
    /// Nothing to resume from.
    #[error("there is no complete checkpoint in `{}` to resume from", path.display())]
    NoCheckpoint {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A run is already there.
    #[error("`{}` already holds {what}; resume that run, or choose another `output`", path.display())]
    OutputExists {
        /// The directory.
        path: PathBuf,
        /// Its content.
        what: &'static str,
    },
    /// A device that shares the work.
    #[error("the worker on {device} failed: {reason}")]
    Worker {
        /// Which device.
        device: String,
        /// The reason.
        reason: String,
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
    /// From the fusion.
    #[error(transparent)]
    Core(#[from] ivl_core::Error),
}

impl Error {
    /// Whether the error is about one row of the data, so that others may still be read.
    pub fn is_about_a_row(&self) -> bool {
        matches!(
            self,
            Self::Json { .. }
                | Self::Record { .. }
                | Self::Render { .. }
                | Self::RowTokens { .. }
                | Self::TokenBeyondLogits { .. }
        )
    }
}

fn names(formats: &[Format]) -> String {
    formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(" and ")
}
