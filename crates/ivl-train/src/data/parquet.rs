//! Parquet tables, row by row.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use ivl_models::guarded;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};
use serde_json::{Map, Value};

use super::place::Place;
use super::record::Record;
use crate::Error;

/// The rows of a table; row groups are read one after the other.
pub(super) struct Table {
    path: PathBuf,
    file: SerializedFileReader<File>,
    schema: SchemaDescPtr,
    next_group: usize,
    rows: Option<ReaderIter>,
    number: usize,
}

impl Table {
    pub(super) fn open(path: PathBuf, file: File, columns: Option<&[String]>) -> Result<Self, Error> {
        let open = || {
            let file = SerializedFileReader::new(file)?;
            let whole = file.metadata().file_metadata().schema_descr_ptr();
            let schema = match columns {
                Some(columns) => projection(&whole, columns)?,
                None => whole,
            };
            Ok((file, schema))
        };
        match guarded(open).unwrap_or_else(|| Err(broken())) {
            Ok((file, schema)) => Ok(Self { path, file, schema, next_group: 0, rows: None, number: 0 }),
            Err(source) => Err(Error::Parquet { path, source }),
        }
    }

    fn read(&mut self) -> Result<Option<Row>, ParquetError> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                self.number += 1;
                return row.map(Some);
            }
            if self.next_group == self.file.num_row_groups() {
                return Ok(None);
            }
            let group = self.file.get_row_group(self.next_group)?;
            self.rows = Some(TreeBuilder::new().as_iter(self.schema.clone(), &*group)?);
            self.next_group += 1;
        }
    }
}

impl Iterator for Table {
    type Item = Result<(Place, Record), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match guarded(|| self.read()).unwrap_or_else(|| Err(broken())) {
            Ok(row) => row.map(|row| {
                let place = Place { path: self.path.clone(), unit: "row", number: self.number };
                Ok((place, record(row)))
            }),
            Err(source) => Some(Err(Error::Parquet { path: self.path.clone(), source })),
        }
    }
}

/// The message of a panic of the library.
fn broken() -> ParquetError {
    ParquetError::General("the table contradicts itself".to_owned())
}

/// The schema of the columns in use; the others are then not even decompressed.
fn projection(whole: &SchemaDescPtr, columns: &[String]) -> Result<SchemaDescPtr, ParquetError> {
    let root = whole.root_schema();
    let fields = root.get_fields().iter().filter(|field| columns.iter().any(|column| column == field.name()));
    let wanted = Type::group_type_builder(root.name()).with_fields(fields.cloned().collect()).build()?;
    if wanted.get_fields().is_empty() {
        return Ok(whole.clone());
    }
    Ok(Arc::new(SchemaDescriptor::new(Arc::new(wanted))))
}

fn record(row: Row) -> Record {
    row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect()
}

/// A field as JSON. Dates and the like are no text: they become their numbers.
fn value(field: Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(truth) => truth.into(),
        Field::Byte(number) => number.into(),
        Field::Short(number) => number.into(),
        Field::Int(number) | Field::Date(number) | Field::TimeMillis(number) => number.into(),
        Field::Long(number)
        | Field::TimeMicros(number)
        | Field::TimestampMillis(number)
        | Field::TimestampMicros(number) => number.into(),
        Field::UByte(number) => number.into(),
        Field::UShort(number) => number.into(),
        Field::UInt(number) => number.into(),
        Field::ULong(number) => number.into(),
        Field::Float16(number) => f32::from(number).into(),
        Field::Float(number) => number.into(),
        Field::Double(number) => number.into(),
        decimal @ Field::Decimal(_) => decimal.to_string().into(),
        Field::Str(text) => text.into(),
        // Older writers do not say that their bytes are text.
        Field::Bytes(bytes) => bytes.as_utf8().map_or(Value::Null, Value::from),
        Field::Group(row) => Value::Object(record(row)),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        Field::MapInternal(map) => {
            let entries = map.entries().iter().cloned().map(|(field, of)| (key(field), value(of)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// The key of a map as JSON has it: a text without quotes.
fn key(field: Field) -> String {
    match value(field) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
