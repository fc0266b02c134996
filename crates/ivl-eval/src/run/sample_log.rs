//! Samples on disk: a run that was cut off goes on where it ended.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ivl_models::FileError;
use serde_json::{Map, Value, json};

use crate::error::{Error, FileLine};
use crate::score::SampleAnswer;

/// Longest line that is read.
const LONGEST_LINE: u64 = 256 << 20;

/// JSON lines: what was measured and how, then one object a sample.
#[derive(Debug)]
pub struct SampleLog {
    path: PathBuf,
    file: File,
    answers: BTreeMap<usize, SampleAnswer>,
}

impl SampleLog {
    /// Opens the log of a run, or begins it. `identity` is all that decides the answers, an object of plain values; a log
    /// with another identity is refused. A last line that was not written whole is taken away.
    ///
    /// # Errors
    /// [`Error::OtherRun`], [`Error::BrokenLog`], [`Error::LongLine`], [`Error::File`].
    pub fn open(path: &Path, identity: &Value) -> Result<Self, Error> {
        let io = |action| FileError::io(action, path);
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).open(path).map_err(io("open"))?;
        let mut log = Self { path: path.to_owned(), file, answers: BTreeMap::new() };
        let whole = log.read(identity)?;
        log.file.set_len(whole).map_err(io("write"))?;
        log.file.seek(SeekFrom::End(0)).map_err(io("write"))?;
        if whole == 0 {
            log.write(&json!({ "ivl_eval": 1, "identity": identity }))?;
        }
        Ok(log)
    }

    /// The answer of a sample that was logged.
    pub fn answer(&self, id: usize) -> Option<&SampleAnswer> {
        self.answers.get(&id)
    }

    /// Number of samples that were logged.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether no sample was logged.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Adds a sample: its number, its answer, and what a reader wants to see beside.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn add(&mut self, id: usize, answer: &SampleAnswer, beside: Map<String, Value>) -> Result<(), Error> {
        let mut sample = Map::from_iter([
            ("doc_id".to_owned(), json!(id)),
            ("answer".to_owned(), serde_json::to_value(answer).unwrap_or_default()),
        ]);
        sample.extend(beside);
        self.write(&Value::Object(sample))?;
        self.answers.insert(id, answer.clone());
        Ok(())
    }

    /// One line, in one write: what is cut off is cut off within it.
    fn write(&mut self, line: &Value) -> Result<(), Error> {
        let line = format!("{line}\n");
        Ok(self.file.write_all(line.as_bytes()).map_err(FileError::io("write", &self.path))?)
    }

    /// Reads all whole lines, and returns how many bytes they have.
    fn read(&mut self, identity: &Value) -> Result<u64, Error> {
        let mut reader = BufReader::new(&self.file);
        let (mut whole, mut bytes) = (0, Vec::new());
        for line in 1.. {
            bytes.clear();
            let place = || FileLine { path: self.path.clone(), line };
            let read = reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes);
            let read = read.map_err(FileError::io("read", &self.path))? as u64;
            if read > LONGEST_LINE {
                return Err(Error::LongLine { place: place(), limit: LONGEST_LINE });
            }
            if bytes.last() != Some(&b'\n') {
                break;
            }
            let broken = |source| Error::BrokenLog { place: place(), source };
            let object: Value = serde_json::from_slice(&bytes).map_err(|error| broken(Some(error)))?;
            if line == 1 {
                if object["ivl_eval"] != 1 {
                    return Err(broken(None));
                }
                compare(&self.path, "", &object["identity"], identity)?;
            } else {
                let id = object["doc_id"].as_u64().ok_or_else(|| broken(None))?;
                let answer = serde_json::from_value(object["answer"].clone());
                self.answers.insert(id as usize, answer.map_err(|error| broken(Some(error)))?);
            }
            whole += read;
        }
        Ok(whole)
    }
}

/// Names the first thing that differs.
fn compare(path: &Path, what: &str, was: &Value, is: &Value) -> Result<(), Error> {
    if was == is {
        return Ok(());
    }
    if let (Some(was), Some(is)) = (was.as_object(), is.as_object()) {
        for key in is.keys().chain(was.keys()) {
            let inside = if what.is_empty() { key.clone() } else { format!("{what}.{key}") };
            compare(
                path,
                &inside,
                was.get(key).unwrap_or(&Value::Null),
                is.get(key).unwrap_or(&Value::Null),
            )?;
        }
    }
    let (was, is) = (was.to_string(), is.to_string());
    Err(Error::OtherRun { path: path.to_owned(), what: what.to_owned(), was, is })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> SampleAnswer {
        SampleAnswer::Response(text.to_owned())
    }

    #[test]
    fn a_run_goes_on_behind_its_last_whole_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("samples.jsonl");
        let identity = json!({ "base": "small", "num_fewshot": 0 });
        let mut log = SampleLog::open(&path, &identity).expect("opens");
        log.add(3, &response("a\nb"), Map::new()).expect("writes");
        log.add(1, &response("c"), Map::new()).expect("writes");
        let whole = std::fs::read(&path).expect("reads");
        // Cut off anywhere in the last line, the samples before it are there and it can be written again.
        let last = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).expect("a line").0 + 1;
        for cut in [last, last + 1, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).expect("writes");
            let mut log = SampleLog::open(&path, &identity).expect("opens");
            assert_eq!((log.len(), log.answer(3), log.answer(1)), (1, Some(&response("a\nb")), None));
            log.add(1, &response("c"), Map::new()).expect("writes");
            assert_eq!(std::fs::read(&path).expect("reads"), whole);
        }
        // Cut off in the first line, it is a new log.
        std::fs::write(&path, &whole[..5]).expect("writes");
        assert!(SampleLog::open(&path, &identity).expect("opens").is_empty());
    }

    #[test]
    fn another_run_and_a_broken_line_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("samples.jsonl");
        SampleLog::open(&path, &json!({ "base": { "name": "a" }, "num_fewshot": 0 })).expect("opens");
        let other = SampleLog::open(&path, &json!({ "base": { "name": "b" }, "num_fewshot": 0 }));
        let message = other.expect_err("refused").to_string();
        assert!(message.contains("base.name was \"a\", and is \"b\""), "{message}");
        std::fs::write(&path, "{\"ivl_eval\":1,\"identity\":{}}\nnonsense\n{\"doc_id\":1}\n")
            .expect("writes");
        let message = SampleLog::open(&path, &json!({})).expect_err("refused").to_string();
        assert!(message.starts_with("line 2 of "), "{message}");
        std::fs::write(&path, "a file of another kind\n").expect("writes");
        assert!(matches!(SampleLog::open(&path, &json!({})), Err(Error::BrokenLog { .. })));
    }
}
