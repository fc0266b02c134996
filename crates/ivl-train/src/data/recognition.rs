//! Which of the formats a source is in.

use serde_json::Value;

use super::place::Place;
use super::record::Record;
use crate::Error;
use crate::config::{Field, Format, SourceConfig};

/// What the rows of a source are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKind {
    /// To be trained on.
    Demonstrations,
    /// Two answers each, to be compared.
    Pairs,
    /// To be answered: prompts, or demonstrations without their answers.
    Prompts,
}

impl RowKind {
    fn takes(self, format: Format) -> bool {
        match self {
            Self::Demonstrations => !format.is_paired() && format != Format::Prompt,
            Self::Pairs => format.is_paired(),
            Self::Prompts => !format.is_paired(),
        }
    }
}

/// The format of a record, among those of a kind; the rule is documented at
/// [`Source::format`](super::Source::format).
pub(super) fn recognise(
    config: &SourceConfig,
    record: &Record,
    place: &Place,
    kind: RowKind,
) -> Result<Format, Error> {
    let has = |field: &Field| find(record, column(config, *field)).is_some_and(|value| !value.is_null());
    let fits = |format: &Format| {
        format.required().iter().all(has) && config.columns.keys().all(|&field| format.knows(field))
    };
    let fields = || record.keys().take(MOST_NAMED).cloned().collect::<Vec<_>>();
    if let Some(format) = config.format {
        if !kind.takes(format) {
            return Err(Error::FormatOfObjective { path: config.path.clone(), format });
        }
        let missing = format.required().iter().find(|field| !has(field));
        return match missing {
            None => Ok(format),
            Some(&field) => Err(Error::MissingColumn {
                place: place.clone(),
                format,
                column: column(config, field).to_owned(),
                fields: fields(),
            }),
        };
    }
    let of_kind = |format: &Format| kind.takes(*format);
    let mut fitting: Vec<Format> = Format::ALL.into_iter().filter(of_kind).filter(fits).collect();
    for vague in [Format::Text, Format::Prompt] {
        if fitting.len() > 1 {
            fitting.retain(|&format| format != vague);
        }
    }
    match fitting[..] {
        [format] => Ok(format),
        [] if kind == RowKind::Pairs => Err(Error::NoPair { place: place.clone(), fields: fields() }),
        [] if fits(&Format::Preference) => {
            Err(Error::FormatOfObjective { path: config.path.clone(), format: Format::Preference })
        }
        [] => Err(Error::UnknownFormat { place: place.clone(), fields: fields() }),
        _ => Err(Error::AmbiguousFormat { place: place.clone(), formats: fitting }),
    }
}

/// Fields that an error lists.
const MOST_NAMED: usize = 12;

/// The name of a field in the file.
fn column(config: &SourceConfig, field: Field) -> &str {
    config.columns.get(&field).map_or(field.name(), String::as_str)
}

/// The columns of a table that a format reads, by the names at their roots.
pub(super) fn roots(config: &SourceConfig, format: Format) -> Vec<String> {
    let fields = format.required().iter().chain(format.optional()).filter(|field| !field.is_inner());
    let names = fields.map(|&field| column(config, field));
    names.flat_map(|name| [name.to_owned(), name.split('.').next().unwrap_or(name).to_owned()]).collect()
}

/// A value by its name, or by a path such as `instances.0.output`.
pub(super) fn find<'a>(record: &'a Record, name: &str) -> Option<&'a Value> {
    if let Some(value) = record.get(name) {
        return Some(value);
    }
    let (root, path) = name.split_once('.')?;
    path.split('.').try_fold(record.get(root)?, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}
