//! Demonstrations from JSONL files.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use ivl_models::Message;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::Error;

/// Longest line that is read.
const LONGEST_LINE: u64 = 64 << 20;

/// One demonstration.
#[derive(Debug, Clone, PartialEq)]
pub enum Demonstration {
    /// A conversation; the assistant's turns are learnt.
    Messages(Vec<Message>),
    /// A prompt and what should follow it; the completion is learnt.
    Completion {
        /// Given.
        prompt: String,
        /// Learnt.
        completion: String,
    },
    /// Plain text, all of it learnt: for pre-training.
    Text(String),
}

/// A demonstration and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which file.
    pub path: PathBuf,
    /// Counted from one.
    pub line: usize,
    /// What it holds.
    pub demonstration: Demonstration,
}

/// All rows of some files, and a fingerprint of the bytes they were read from.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// In the order of files and lines.
    pub rows: Vec<Row>,
    /// SHA-256 over the files' bytes, in hexadecimal.
    pub fingerprint: String,
}

impl Dataset {
    /// Reads JSONL files: one object per line, with `messages`, with `prompt` and `completion`, or with `text`. Other
    /// fields are ignored, empty lines skipped.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Line`], [`Error::Record`] or [`Error::LongLine`], naming file and line.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let (mut rows, mut hash) = (Vec::new(), Sha256::new());
        for path in paths {
            read_file(path, &mut rows, &mut hash)?;
        }
        Ok(Self { rows, fingerprint: hex::encode(hash.finalize()) })
    }
}

fn read_file(path: &Path, rows: &mut Vec<Row>, hash: &mut Sha256) -> Result<(), Error> {
    let io = |source| Error::Io { action: "read", path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes).map_err(io)? as u64;
        if read == 0 {
            break;
        }
        if read > LONGEST_LINE {
            return Err(Error::LongLine { path: path.to_owned(), line, limit: LONGEST_LINE });
        }
        hash.update(&bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let object: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|source| Error::Line {
            path: path.to_owned(),
            line,
            source,
        })?;
        let demonstration =
            demonstration(object).map_err(|got| Error::Record { path: path.to_owned(), line, got })?;
        rows.push(Row { path: path.to_owned(), line, demonstration });
    }
    Ok(())
}

/// Recognises a record; the error says what stands there instead.
fn demonstration(mut object: Map<String, Value>) -> Result<Demonstration, String> {
    if let Some(messages) = object.remove("messages") {
        let messages: Vec<Message> =
            serde_json::from_value(messages).map_err(|error| format!("unusable messages ({error})"))?;
        let learnt = messages.iter().any(|message| message.role == "assistant");
        return if learnt {
            Ok(Demonstration::Messages(messages))
        } else {
            Err("no assistant message".to_owned())
        };
    }
    let mut text = |field: &str| match object.remove(field) {
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{field}` {}", kind(&other))),
        None => Ok(None),
    };
    match (text("prompt")?, text("completion")?) {
        (Some(prompt), Some(completion)) => Ok(Demonstration::Completion { prompt, completion }),
        (Some(_), None) => Err("`prompt` without `completion`".to_owned()),
        (None, Some(_)) => Err("`completion` without `prompt`".to_owned()),
        (None, None) => match text("text")? {
            Some(text) => Ok(Demonstration::Text(text)),
            None => Err(format!("the fields {:?}", object.keys().take(8).collect::<Vec<_>>())),
        },
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Dataset, Error> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, text).expect("writes");
        Dataset::read(&[path])
    }

    #[test]
    fn the_three_forms_are_recognised() {
        let data = read(concat!(
            "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"id\":1}\n",
            "\n",
            "{\"prompt\":\"p\",\"completion\":\"c\"}\n",
            "{\"text\":\"t\"}"
        ))
        .expect("reads");
        assert_eq!(data.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 3, 4]);
        assert!(
            matches!(&data.rows[0].demonstration, Demonstration::Messages(messages) if messages.len() == 2)
        );
        assert_eq!(data.rows[2].demonstration, Demonstration::Text("t".to_owned()));
    }

    #[test]
    fn errors_name_the_line_and_what_stands_there() {
        let message = |text: &str| read(text).expect_err("broken").to_string();
        assert!(message("{\"text\":\"a\"}\n{\"text\": \n").starts_with("line 2 of "));
        assert!(message("{\"prompt\":\"p\"}").contains("`prompt` without `completion`"));
        assert!(message("{\"prompt\":1,\"completion\":\"\"}").contains("`prompt` a number"));
        assert!(message("{\"instruction\":\"x\"}").contains("instruction"));
        assert!(
            message("{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}")
                .contains("no assistant message")
        );
        assert!(message("[1]").starts_with("line 1 of "));
    }
}
