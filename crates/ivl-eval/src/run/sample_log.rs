//! Samples on disk: an interrupted run continues where it stopped.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ivl_models::{FileError, write_bytes};
use serde_json::{Map, Value, json};

use crate::error::{Error, FileLine};
use crate::score::SampleAnswer;

/// Longest line that is read.
const LONGEST_LINE: u64 = 256 << 20;

/// JSON lines: the identity of the run, then one object for each sample.
#[derive(Debug)]
pub struct SampleLog {
    path: PathBuf,
    file: File,
    identity: Value,
    answers: BTreeMap<usize, SampleAnswer>,
    /// The samples in the order of the file.
    order: Vec<usize>,
}

impl SampleLog {
    /// Opens the log of a run, or starts one. `identity` is everything that decides the answers, an object of plain values;
    /// a log with another identity is refused. An incomplete last line is removed.
    ///
    /// # Errors
    /// [`Error::OtherRun`], [`Error::BrokenLog`], [`Error::LongLine`], [`Error::File`].
    pub fn open(path: &Path, identity: &Value) -> Result<Self, Error> {
        let io = |action| FileError::io(action, path);
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).open(path).map_err(io("open"))?;
        let (answers, order, identity_of_run) = (BTreeMap::new(), Vec::new(), identity.clone());
        let mut log = Self { path: path.to_owned(), file, identity: identity_of_run, answers, order };
        let whole = log.read(identity)?;
        log.file.set_len(whole).map_err(io("write"))?;
        log.file.seek(SeekFrom::End(0)).map_err(io("write"))?;
        if whole == 0 {
            log.write(&header(identity))?;
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

    /// Adds a sample: its number, its answer, and what is derived from it for the reader.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn add(
        &mut self,
        id: usize,
        answer: &SampleAnswer,
        derived: Map<String, Value>,
    ) -> Result<(), Error> {
        self.write(&line(id, answer, derived))?;
        if self.answers.insert(id, answer.clone()).is_none() {
            self.order.push(id);
        }
        Ok(())
    }

    /// Derives everything but the answers again, and replaces the file if something is not as it was: filters and metrics
    /// may have changed since an earlier run wrote it. Samples of which nothing can be derived are dropped.
    ///
    /// # Errors
    /// Those of `derive`, [`Error::File`].
    pub(super) fn refresh(
        &mut self,
        mut derive: impl FnMut(usize, &SampleAnswer) -> Result<Option<Map<String, Value>>, Error>,
    ) -> Result<(), Error> {
        let mut text = format!("{}\n", header(&self.identity));
        for id in std::mem::take(&mut self.order) {
            let answer = &self.answers[&id];
            match derive(id, answer)? {
                Some(derived) => {
                    text += &format!("{}\n", line(id, answer, derived));
                    self.order.push(id);
                }
                None => drop(self.answers.remove(&id)),
            }
        }
        let io = |action| FileError::io(action, &self.path);
        if std::fs::read(&self.path).map_err(io("read"))? == text.as_bytes() {
            return Ok(());
        }
        write_bytes(&self.path, text.as_bytes())?;
        self.file =
            OpenOptions::new().append(true).open(&self.path).map_err(FileError::io("open", &self.path))?;
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
                let id = id as usize;
                if self.answers.insert(id, answer.map_err(|error| broken(Some(error)))?).is_none() {
                    self.order.push(id);
                }
            }
            whole += read;
        }
        Ok(whole)
    }
}

fn header(identity: &Value) -> Value {
    json!({ "ivl_eval": 1, "identity": identity })
}

fn line(id: usize, answer: &SampleAnswer, derived: Map<String, Value>) -> Value {
    let answer = serde_json::to_value(answer).expect("texts and numbers are JSON");
    let mut line = Map::from_iter([("doc_id".to_owned(), json!(id)), ("answer".to_owned(), answer)]);
    line.extend(derived);
    Value::Object(line)
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
    fn a_run_continues_after_its_last_whole_line() {
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
    fn derived_fields_follow_and_answers_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("samples.jsonl");
        let identity = json!({ "base": "small" });
        let derived = |score: u32| Map::from_iter([("score".to_owned(), json!(score))]);
        let mut log = SampleLog::open(&path, &identity).expect("opens");
        log.add(3, &response("a"), derived(0)).expect("writes");
        log.add(4, &response("of no row"), derived(0)).expect("writes");
        log.add(1, &response("b"), derived(0)).expect("writes");
        let before = std::fs::read_to_string(&path).expect("reads");
        log.refresh(|_, _| Ok(Some(derived(0)))).expect("nothing to do");
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), before);
        log.refresh(|id, _| Ok((id != 4).then(|| derived(u32::from(id == 3))))).expect("writes");
        log.add(2, &response("c"), derived(1)).expect("writes");
        let after = std::fs::read_to_string(&path).expect("reads");
        let lines: Vec<Value> = after.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let seen = lines[1..].iter().map(|line| (line["doc_id"].clone(), line["score"].clone()));
        let expected = [(3, 1), (1, 0), (2, 1)].map(|(id, score)| (json!(id), json!(score)));
        assert!(seen.eq(expected), "{after}");
        let log = SampleLog::open(&path, &identity).expect("opens");
        assert_eq!((log.len(), log.answer(3)), (3, Some(&response("a"))));
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
