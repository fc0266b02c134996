//! The manifest of a checkpoint: its files, their lengths and their SHA-256. It is written last; a checkpoint that does not
//! agree with its manifest is corrupt.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::run::identity::RunIdentity;
use crate::run::run_state::RunState;

/// Name of the manifest.
pub(crate) const MANIFEST: &str = "complete.toml";

/// Longest manifest that is read, in bytes: ours hold a line for each base that is evaluated.
const LONGEST_MANIFEST: u64 = 16 << 20;

/// The files of a complete checkpoint, and the state of its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckpointManifest {
    pub(crate) step: usize,
    pub(crate) files: Vec<ManifestFile>,
    pub(crate) state: RunState,
    /// Settings, data and models of the run.
    pub(crate) run: RunIdentity,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl ManifestFile {
    pub(crate) fn new(name: String, bytes: &[u8]) -> Self {
        Self { name, bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(bytes)) }
    }

    /// Compares a file with the manifest; the reason if they differ.
    fn verify(&self, dir: &Path) -> Result<(), String> {
        let path = dir.join(&self.name);
        let wrong = |what: String| Err(format!("`{}` {what}", self.name));
        let length = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) => return wrong(format!("cannot be read: {error}")),
        };
        if length != self.bytes {
            return wrong(format!("has {length} bytes, its manifest says {}", self.bytes));
        }
        match sha256(&path) {
            Err(error) => wrong(format!("cannot be read: {error}")),
            Ok(hash) if hash != self.sha256 => wrong("does not have the SHA-256 of its manifest".to_owned()),
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

impl CheckpointManifest {
    /// The text of the manifest. TOML, because it keeps every bit of a number, infinities included.
    pub(crate) fn text(&self) -> String {
        toml::to_string(self).expect("a manifest is a table of plain values")
    }

    /// The manifest of a complete checkpoint of `files`, or why the checkpoint is corrupt.
    pub(crate) fn verified(dir: &Path, files: &[String]) -> Result<Self, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("`{MANIFEST}` cannot be read: {error}");
        let path = dir.join(MANIFEST);
        match std::fs::metadata(&path) {
            Err(_) => return Err(format!("`{MANIFEST}`, which is written last, is missing")),
            Ok(metadata) if metadata.len() > LONGEST_MANIFEST => {
                return Err(format!("`{MANIFEST}` is longer than {LONGEST_MANIFEST} bytes"));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
        let manifest: Self = toml::from_str(&text).map_err(|error| unreadable(&error.message()))?;
        for name in files {
            let file = manifest.files.iter().find(|file| file.name == *name);
            file.ok_or_else(|| format!("`{MANIFEST}` does not name `{name}`"))?.verify(dir)?;
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::report::{Best, EvalReport};

    fn manifest() -> CheckpointManifest {
        let eval = |loss| EvalReport {
            step: 7,
            base: None,
            base_loss: None,
            loss,
            kl: None,
            accuracy: None,
            margin: None,
            tokens: 9,
        };
        let best = Best { step: 7, loss: 0.1 + 0.2, tokens: 1 << 40, evals: vec![eval(1.0 / 3.0)] };
        let mut state = RunState { tokens: 1 << 40, evals: vec![eval(f64::INFINITY)], ..Default::default() };
        state.early_stopping.best = Some(best);
        let files = ["a.bpk", "b.bpk"].map(|name| ManifestFile::new(name.to_owned(), name.as_bytes()));
        let run = RunIdentity::default().with("seed", "7").with("a name of \"two\" words", "x\ny");
        CheckpointManifest { step: 7, files: files.to_vec(), state, run }
    }

    #[test]
    fn a_manifest_keeps_every_bit() {
        assert_eq!(toml::from_str::<CheckpointManifest>(&manifest().text()).expect("TOML"), manifest());
    }

    #[test]
    fn any_damage_is_found_and_named() {
        let dir = tempfile::tempdir().expect("dir");
        let files = ["a.bpk".to_owned(), "b.bpk".to_owned()];
        let text = manifest().text();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("writes");
        let reset = || {
            write("a.bpk", b"a.bpk");
            write("b.bpk", b"b.bpk");
            write(MANIFEST, text.as_bytes());
        };
        let corrupt = |part: &str| {
            let reason = CheckpointManifest::verified(dir.path(), &files).expect_err("corrupt");
            assert!(reason.contains(part), "{reason}");
            reset();
        };
        corrupt("is missing");
        assert_eq!(CheckpointManifest::verified(dir.path(), &files).expect("whole"), manifest());
        write("b.bpk", b"b.b");
        corrupt("`b.bpk` has 3 bytes, its manifest says 5");
        write("a.bpk", b"a.bqk");
        corrupt("`a.bpk` does not have the SHA-256");
        std::fs::remove_file(dir.path().join("a.bpk")).expect("removes");
        corrupt("`a.bpk` cannot be read");
        write(MANIFEST, &text.as_bytes()[..text.len() / 2]);
        corrupt("`complete.toml` cannot be read");
        write(MANIFEST, b"\xff\x00");
        corrupt("`complete.toml` cannot be read");
        write(MANIFEST, text.replace("b.bpk", "c.bpk").as_bytes());
        corrupt("does not name `b.bpk`");
    }
}
