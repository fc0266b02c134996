//! The table `[data]`: files, how their rows are read, and how examples share a forward pass.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Error;
use crate::config::format::{Field, Format};

/// Demonstrations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DataConfig {
    /// Sources to train on.
    pub train: Vec<SourceConfig>,
    /// Sources of the held-out loss.
    #[serde(default)]
    pub eval: Vec<SourceConfig>,
    /// Longest example in tokens; the rest is cut off at the end and counted. 1024 holds most instruction data, and
    /// memory grows with it.
    #[serde(default = "default_max_length")]
    pub max_length: usize,
    /// A Jinja file, in place of the model's own template.
    #[serde(default)]
    pub chat_template: Option<PathBuf>,
    /// Which examples share a forward pass.
    #[serde(default)]
    pub batching: Batching,
    /// Trains only the last of the trained turns of a conversation.
    #[serde(default)]
    pub last_turn_only: bool,
    /// Leaves out examples longer than `max_length`, instead of cutting them.
    #[serde(default)]
    pub drop_longer: bool,
    /// The treatment of a row that cannot be read, rendered or masked.
    #[serde(default)]
    pub on_error: OnError,
    /// Where token ids are kept between runs; `tokens` in the run's output if not set.
    #[serde(default)]
    pub cache: Option<PathBuf>,
}

/// The treatment of a row that cannot become an example.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The run ends with an error that names the row.
    #[default]
    Fail,
    /// The row is left out and counted.
    Skip,
}

fn default_max_length() -> usize {
    1024
}

/// Which examples share a forward pass. None of the three changes the gradient of an example: its tokens never see
/// another example's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batching {
    /// Those that the shuffled order puts together: the default, since it is the plain reading of stochastic gradient
    /// descent.
    #[default]
    Random,
    /// Those of similar length: less padding.
    ByLength,
    /// Several to a row of `max_length`, by best-fit decreasing: almost no padding. `steps.batch_size` then counts rows.
    Packed,
}

impl Batching {
    /// Its name in the TOML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::ByLength => "by-length",
            Self::Packed => "packed",
        }
    }
}

/// A set of files of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SourceConfig {
    /// A file, a directory, or a pattern such as `data/*.jsonl`; several files are read in the order of their names.
    pub path: PathBuf,
    /// How often each row comes in an epoch.
    pub weight: f64,
    /// The format of the rows; recognised by their fields if not set.
    pub format: Option<Format>,
    /// From our names of fields to those of the file.
    pub columns: BTreeMap<Field, String>,
    /// From the file's names of speakers to the roles of the chat template.
    pub roles: BTreeMap<String, String>,
}

impl SourceConfig {
    /// Files that explain themselves.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            weight: 1.0,
            format: None,
            columns: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

/// A source as a table of the TOML.
#[derive(Deserialize)]
struct SourceTable {
    path: PathBuf,
    #[serde(default = "default_weight")]
    weight: f64,
    #[serde(default)]
    format: Option<Format>,
    #[serde(default)]
    columns: BTreeMap<Field, String>,
    #[serde(default)]
    roles: BTreeMap<String, String>,
}

fn default_weight() -> f64 {
    1.0
}

impl<'de> Deserialize<'de> for SourceConfig {
    /// A path, or a table with `path`. Written by hand, since serde's untagged enums lose the reason of an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrTable;
        impl<'de> Visitor<'de> for PathOrTable {
            type Value = SourceConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a table with `path`")
            }

            fn visit_str<E>(self, path: &str) -> Result<SourceConfig, E> {
                Ok(SourceConfig::new(path))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SourceConfig, A::Error> {
                let table = SourceTable::deserialize(MapAccessDeserializer::new(map))?;
                let SourceTable { path, weight, format, columns, roles } = table;
                Ok(SourceConfig { path, weight, format, columns, roles })
            }
        }
        deserializer.deserialize_any(PathOrTable)
    }
}

impl DataConfig {
    /// Sources to train on, with all defaults.
    pub fn new(train: Vec<SourceConfig>) -> Self {
        Self {
            train,
            eval: Vec::new(),
            max_length: default_max_length(),
            chat_template: None,
            batching: Batching::default(),
            last_turn_only: false,
            drop_longer: false,
            on_error: OnError::default(),
            cache: None,
        }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] or [`Error::ForeignColumn`] for the first that is outside.
    pub fn validate(&self) -> Result<(), Error> {
        let invalid = |name, expected, got: String| Err(Error::InvalidSetting { name, expected, got });
        if self.train.is_empty() {
            return invalid("data.train", "1 or more sources", "an empty list".to_owned());
        }
        if self.max_length < 2 {
            return invalid("data.max_length", "2 or more", self.max_length.to_string());
        }
        for source in self.train.iter().chain(&self.eval) {
            if !(source.weight > 0.0 && source.weight <= MOST_REPEATS) {
                return invalid("data.train.weight", "above 0 and at most 1000", source.weight.to_string());
            }
            source.check_columns()?;
        }
        match self.eval.iter().find(|source| source.weight != 1.0) {
            Some(source) => invalid(
                "data.eval.weight",
                "1: held-out rows are measured once each",
                source.weight.to_string(),
            ),
            None => Ok(()),
        }
    }
}

/// Largest weight of a source.
const MOST_REPEATS: f64 = 1000.0;

impl SourceConfig {
    /// Remapped fields must belong to the format, or together to at least one.
    fn check_columns(&self) -> Result<(), Error> {
        let fits = |format: &Format| self.columns.keys().all(|&field| format.knows(field));
        let fitting = match self.format {
            Some(format) => fits(&format),
            None => Format::ALL.iter().any(fits),
        };
        if fitting {
            return Ok(());
        }
        let columns = self.columns.keys().map(|field| field.name()).collect();
        Err(Error::ForeignColumn { path: self.path.clone(), columns, format: self.format })
    }
}
