//! Checkpoints of a run: model, optimizer and schedule in burn's records, each written whole or not at all, and a
//! note that says when all three are there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The parts of a checkpoint.
const PARTS: usize = 3;

/// Written last: a checkpoint without it is not complete.
const NOTE: &str = "complete.json";

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    step: usize,
    run: String,
}

/// The checkpoints of a run, in `step-N` directories.
#[derive(Debug, Clone)]
pub struct CheckpointDir {
    root: PathBuf,
    run: String,
    written: Arc<Mutex<Vec<usize>>>,
}

impl CheckpointDir {
    /// Checkpoints under `root` of the run with the fingerprint `run`.
    pub fn new(root: PathBuf, run: String) -> Self {
        Self { root, run, written: Arc::default() }
    }

    fn dir(&self, step: usize) -> PathBuf {
        self.root.join(format!("step-{step}"))
    }

    /// The last complete checkpoint.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] if there is none, [`Error::ForeignCheckpoint`] if it belongs to another run.
    pub fn latest(&self) -> Result<usize, Error> {
        let note = |entry: std::fs::DirEntry| -> Option<Note> {
            let bytes = std::fs::read(entry.path().join(NOTE)).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let Some(note) = entries.filter_map(note).max_by_key(|note| note.step) else {
            return Err(Error::NoCheckpoint { path: self.root.clone() });
        };
        if note.run != self.run {
            return Err(Error::ForeignCheckpoint { path: self.dir(note.step) });
        }
        Ok(note.step)
    }

    /// Whether any checkpoint is there, complete or not.
    pub fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.root).map_or(true, |mut entries| entries.next().is_none())
    }

    /// The writer of one part.
    pub fn part(&self, name: &'static str) -> Part {
        Part { checkpoints: self.clone(), name }
    }

    /// Counts the parts of a step that are written; the last one writes the note.
    fn part_written(&self, step: usize) -> std::io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        written.push(step);
        if written.iter().filter(|&&other| other == step).count() < PARTS {
            return Ok(());
        }
        let note = serde_json::to_vec(&Note { step, run: self.run.clone() }).unwrap_or_default();
        ivl_models::write_bytes(&self.dir(step).join(NOTE), &note).map_err(std::io::Error::other)
    }
}

/// Reads and writes one part of every checkpoint.
#[derive(Debug, Clone)]
pub struct Part {
    checkpoints: CheckpointDir,
    name: &'static str,
}

impl Part {
    fn path(&self, step: usize) -> PathBuf {
        self.checkpoints.dir(step).join(format!("{}.bpk", self.name))
    }
}

impl<R: Checkpoint> Checkpointer<R> for Part {
    fn save(&self, step: usize, record: R) -> Result<(), CheckpointerError> {
        std::fs::create_dir_all(self.checkpoints.dir(step)).map_err(CheckpointerError::IOError)?;
        let bytes = record.checkpoint_into_bytes().map_err(CheckpointerError::Record)?;
        ivl_models::write_bytes(&self.path(step), &bytes)
            .map_err(|error| CheckpointerError::IOError(std::io::Error::other(error)))?;
        self.checkpoints.part_written(step).map_err(CheckpointerError::IOError)
    }

    fn restore(&self, step: usize) -> Result<R, CheckpointerError> {
        R::load(self.path(step))
    }

    fn delete(&self, step: usize) -> Result<(), CheckpointerError> {
        // The note first: what is half deleted must not pass for complete.
        remove(&self.checkpoints.dir(step).join(NOTE))?;
        remove(&self.path(step))?;
        let _ = std::fs::remove_dir(self.checkpoints.dir(step));
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), CheckpointerError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(CheckpointerError::IOError(error)),
        _ => Ok(()),
    }
}

/// Saves when asked, and keeps the last few.
#[derive(Debug)]
pub struct KeepLast {
    keep: usize,
    saved: Vec<usize>,
}

impl KeepLast {
    /// Keeps `keep` checkpoints.
    pub fn new(keep: usize) -> Self {
        Self { keep, saved: Vec::new() }
    }
}

impl CheckpointingStrategy for KeepLast {
    fn checkpointing(&mut self, step: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        self.saved.push(step);
        let old = self.saved.len().saturating_sub(self.keep);
        let deletions = self.saved.drain(..old).map(CheckpointingAction::Delete);
        std::iter::once(CheckpointingAction::Save).chain(deletions).collect()
    }
}
