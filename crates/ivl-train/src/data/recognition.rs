//! Which of the formats a source is in.

use serde_json::Value;

use super::place::Place;
use super::record::Record;
use crate::Error;
use crate::config::{Field, Format, SourceConfig};

/// The format of a record; the rule is documented at [`Source::format`](super::Source::format).
pub(super) fn recognise(config: &SourceConfig, record: &Record, place: &Place) -> Result<Format, Error> {
    let has = |field: &Field| find(record, column(config, *field)).is_some_and(|value| !value.is_null());
    let fits = |format: &Format| {
        format.required().iter().all(has) && config.columns.keys().all(|&field| format.knows(field))
    };
    let fields = || record.keys().take(MOST_NAMED).cloned().collect::<Vec<_>>();
    if let Some(format) = config.format {
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
    let mut fitting: Vec<Format> = Format::ALL.into_iter().filter(fits).collect();
    if fitting.len() > 1 {
        fitting.retain(|&format| format != Format::Text);
    }
    match fitting[..] {
        [format] => Ok(format),
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
