//! The note that ends a checkpoint: which files it has, how long they are, and their SHA-256. A checkpoint that does not
//! agree with its note is torn.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::run::run_state::RunState;

/// Name of the note; it is written last.
pub(crate) const NOTE: &str = "complete.toml";

/// Longest note that is read: an honest one holds a line for each base that is measured.
const LONGEST_NOTE: u64 = 16 << 20;

/// What a complete checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) step: usize,
    /// Fingerprint of settings, data and models.
    pub(crate) run: String,
    pub(crate) files: Vec<FileNote>,
    pub(crate) state: RunState,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileNote {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl FileNote {
    pub(crate) fn new(name: String, bytes: &[u8]) -> Self {
        Self { name, bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(bytes)) }
    }

    /// Compares a file with the note; the reason if they differ.
    fn verify(&self, dir: &Path) -> Result<(), String> {
        let path = dir.join(&self.name);
        let wrong = |what: String| Err(format!("`{}` {what}", self.name));
        let length = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) => return wrong(format!("cannot be read: {error}")),
        };
        if length != self.bytes {
            return wrong(format!("has {length} bytes, its note says {}", self.bytes));
        }
        match sha256(&path) {
            Err(error) => wrong(format!("cannot be read: {error}")),
            Ok(hash) if hash != self.sha256 => wrong("does not have the SHA-256 of its note".to_owned()),
            Ok(_) => Ok(()),
        }
    }
}

/// Of a file, read in pieces: it may be larger than the memory.
fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut hash = Sha256::new();
    loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(piece);
        let read = piece.len();
        file.consume(read);
    }
}

impl Note {
    /// The text of the note. TOML, because it keeps every bit of a number, infinities included.
    pub(crate) fn text(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// The note of a complete checkpoint of `files`, or why the checkpoint is torn.
    pub(crate) fn verified(dir: &Path, files: &[String]) -> Result<Self, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("`{NOTE}` cannot be read: {error}");
        let path = dir.join(NOTE);
        match std::fs::metadata(&path) {
            Err(_) => return Err(format!("`{NOTE}`, which is written last, is missing")),
            Ok(metadata) if metadata.len() > LONGEST_NOTE => {
                return Err(format!("`{NOTE}` is longer than {LONGEST_NOTE} bytes"));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
        let note: Self = toml::from_str(&text).map_err(|error| unreadable(&error.message()))?;
        for name in files {
            let file = note.files.iter().find(|file| file.name == *name);
            file.ok_or_else(|| format!("`{NOTE}` does not name `{name}`"))?.verify(dir)?;
        }
        Ok(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::report::{Best, EvalReport};

    fn note() -> Note {
        let eval = |loss| EvalReport { step: 7, base: None, base_loss: None, loss, kl: None, tokens: 9 };
        let best = Best { step: 7, loss: 0.1 + 0.2, tokens: 1 << 40, evals: vec![eval(1.0 / 3.0)] };
        let mut state = RunState { tokens: 1 << 40, evals: vec![eval(f64::INFINITY)], ..Default::default() };
        state.watch.best = Some(best);
        let files = ["a.bpk", "b.bpk"].map(|name| FileNote::new(name.to_owned(), name.as_bytes()));
        Note { step: 7, run: "a run".to_owned(), files: files.to_vec(), state }
    }

    #[test]
    fn a_note_keeps_every_bit() {
        assert_eq!(toml::from_str::<Note>(&note().text()).expect("TOML"), note());
    }

    #[test]
    fn any_damage_is_found_and_named() {
        let dir = tempfile::tempdir().expect("dir");
        let files = ["a.bpk".to_owned(), "b.bpk".to_owned()];
        let text = note().text();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("writes");
        let reset = || {
            write("a.bpk", b"a.bpk");
            write("b.bpk", b"b.bpk");
            write(NOTE, text.as_bytes());
        };
        let torn = |part: &str| {
            let reason = Note::verified(dir.path(), &files).expect_err("torn");
            assert!(reason.contains(part), "{reason}");
            reset();
        };
        torn("is missing");
        assert_eq!(Note::verified(dir.path(), &files).expect("whole"), note());
        write("b.bpk", b"b.b");
        torn("`b.bpk` has 3 bytes, its note says 5");
        write("a.bpk", b"a.bqk");
        torn("`a.bpk` does not have the SHA-256");
        std::fs::remove_file(dir.path().join("a.bpk")).expect("removes");
        torn("`a.bpk` cannot be read");
        write(NOTE, &text.as_bytes()[..text.len() / 2]);
        torn("`complete.toml` cannot be read");
        write(NOTE, b"\xff\x00");
        torn("`complete.toml` cannot be read");
        write(NOTE, text.replace("b.bpk", "c.bpk").as_bytes());
        torn("does not name `b.bpk`");
    }
}
