//! Texts of a corpus, read in chunks: no corpus has to fit in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// The name of a corpus in errors.
const READ: &str = "read the corpus";

/// Longest line that is read.
const LONGEST_LINE: u64 = 64 << 20;

/// Longest text in bytes: dynamic time warping takes time and memory in proportion to the square.
const LONGEST_TEXT: usize = 4096;

/// Bytes of text in a chunk.
const CHUNK: usize = 4 << 20;

/// Lines of a text file, or the texts of a JSONL file, cut where they are longer than 4096 bytes.
pub(crate) struct Corpus {
    path: PathBuf,
    reader: BufReader<File>,
    json: bool,
    line: usize,
    /// Bytes of the file.
    pub(crate) size: u64,
}

/// Some texts, and how many bytes of the file they took.
pub(crate) struct TextChunk {
    pub(crate) texts: Vec<String>,
    pub(crate) bytes: u64,
}

impl Corpus {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(READ, path))?;
        let size = file.metadata().map_err(Error::io(READ, path))?.len();
        let json = path.extension().is_some_and(|extension| extension == "jsonl");
        Ok(Self { path: path.to_owned(), reader: BufReader::new(file), json, line: 0, size })
    }

    /// The next texts; `None` at the end.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<TextChunk>> {
        let mut chunk = TextChunk { texts: Vec::new(), bytes: 0 };
        while chunk.bytes < CHUNK as u64 {
            let mut line = Vec::new();
            let read = self.reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
            let read = read.map_err(Error::io(READ, &self.path))? as u64;
            if read == 0 {
                break;
            }
            self.line += 1;
            chunk.bytes += read;
            if read > LONGEST_LINE {
                return Err(self.bad_line(format!("is longer than {LONGEST_LINE} bytes")));
            }
            let line = std::str::from_utf8(&line)
                .map_err(|error| self.bad_line(format!("is not UTF-8 text: {error}")))?;
            let line = line.trim_end_matches(['\n', '\r']);
            if line.trim().is_empty() {
                continue;
            }
            if self.json {
                cut(&self.text_of(line)?, &mut chunk.texts);
            } else {
                cut(line, &mut chunk.texts);
            }
        }
        Ok((chunk.bytes > 0).then_some(chunk))
    }

    /// The text of a JSON line.
    fn text_of(&self, line: &str) -> Result<String> {
        let value: Value =
            serde_json::from_str(line).map_err(|error| self.bad_line(format!("is not JSON: {error}")))?;
        let text = value.as_str().or_else(|| value.get("text").and_then(Value::as_str));
        let expected = || self.bad_line("has no text, expected {\"text\": \"..\"} or \"..\"".to_owned());
        text.map(str::to_owned).ok_or_else(expected)
    }

    fn bad_line(&self, reason: String) -> Error {
        Error::Line { path: self.path.clone(), line: self.line, reason }
    }
}

/// Texts of at most [`LONGEST_TEXT`] bytes, cut before a space where there is one.
fn cut(mut text: &str, texts: &mut Vec<String>) {
    while text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(text.len());
        let end = text[..end].rfind(' ').filter(|&at| at > 0).unwrap_or(end);
        let (first, rest) = text.split_at(end);
        texts.push(first.to_owned());
        text = rest;
    }
    if !text.is_empty() {
        texts.push(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_nothing_is_lost() {
        let text = "wörd ".repeat(2000);
        let mut texts = Vec::new();
        cut(&text, &mut texts);
        assert_eq!(texts.concat(), text);
        assert!(texts.len() > 2 && texts.iter().all(|t| t.len() <= LONGEST_TEXT));
        assert!(texts[1..].iter().all(|t| t.starts_with(' ')));
        texts.clear();
        cut(&"☃".repeat(3000), &mut texts);
        assert_eq!(texts.concat(), "☃".repeat(3000));
    }
}
