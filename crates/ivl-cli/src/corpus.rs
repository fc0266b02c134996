//! Texts of a corpus, a piece at a time: no corpus has to fit in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Longest line that is read.
const LONGEST_LINE: u64 = 64 << 20;

/// Longest text in bytes: warping takes time and memory in proportion to the square.
const LONGEST_TEXT: usize = 4096;

/// Bytes of text in a piece.
const PIECE: usize = 4 << 20;

/// Lines of a text file, or the texts of a JSONL file, cut where they are longer than 4096 bytes.
pub struct Corpus {
    path: PathBuf,
    reader: BufReader<File>,
    json: bool,
    line: usize,
    /// Bytes of the file.
    pub size: u64,
}

/// Some texts and how many bytes of the file they took.
pub struct Piece {
    pub texts: Vec<String>,
    pub bytes: u64,
}

impl Corpus {
    pub fn open(path: &Path) -> Result<Self> {
        let context = || format!("cannot read the corpus `{}`", path.display());
        let file = File::open(path).with_context(context)?;
        let size = file.metadata().with_context(context)?.len();
        let json = path.extension().is_some_and(|extension| extension == "jsonl");
        Ok(Self { path: path.to_owned(), reader: BufReader::new(file), json, line: 0, size })
    }

    /// The next texts; none at the end.
    pub fn next_piece(&mut self) -> Result<Option<Piece>> {
        let mut piece = Piece { texts: Vec::new(), bytes: 0 };
        while piece.bytes < PIECE as u64 {
            let mut line = Vec::new();
            let read = self.reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
            let read =
                read.with_context(|| format!("cannot read the corpus `{}`", self.path.display()))? as u64;
            if read == 0 {
                break;
            }
            self.line += 1;
            piece.bytes += read;
            let origin = || format!("line {} of the corpus `{}`", self.line, self.path.display());
            if read > LONGEST_LINE {
                bail!("{} is longer than {LONGEST_LINE} bytes", origin());
            }
            let line =
                std::str::from_utf8(&line).with_context(|| format!("{} is not UTF-8 text", origin()))?;
            let line = line.trim_end_matches(['\n', '\r']);
            if line.trim().is_empty() {
                continue;
            }
            if self.json {
                let value: Value =
                    serde_json::from_str(line).with_context(|| format!("{} is not JSON", origin()))?;
                let text = value.as_str().or_else(|| value.get("text").and_then(Value::as_str));
                let text = text.with_context(|| {
                    format!("{} has no text, expected {{\"text\": \"..\"}} or \"..\"", origin())
                })?;
                cut(text, &mut piece.texts);
            } else {
                cut(line, &mut piece.texts);
            }
        }
        Ok((piece.bytes > 0).then_some(piece))
    }
}

/// Pieces of at most [`LONGEST_TEXT`] bytes, cut before a space where there is one.
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
