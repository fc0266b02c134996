//! Checkpoints of a run: model, optimizer and schedule in burn's records, each written whole or not at all, and a note
//! that says when all three are there and what they must look like.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use ivl_models::FileError;

use crate::Error;
use crate::run::completeness::{FileNote, NOTE, Note};
use crate::run::run_state::RunState;

/// The parts of a checkpoint, one file each.
const PARTS: [&str; 3] = ["model", "optimizer", "schedule"];

/// The checkpoints of a run, in `step-N` directories.
#[derive(Debug, Clone)]
pub struct CheckpointDir {
    root: PathBuf,
    run: String,
    keep: usize,
    shared: Arc<Mutex<Shared>>,
}

/// The shared state of the writers of the records.
#[derive(Debug, Default)]
struct Shared {
    /// Checkpoints on their way to the disk: those whose note is not written.
    begun: BTreeMap<usize, (RunState, Vec<FileNote>)>,
    /// Those that are there, the first to go first.
    kept: Vec<usize>,
}

/// Where a run goes on.
#[derive(Debug, Default)]
pub struct Restored {
    /// Steps done.
    pub step: usize,
    /// The state of the run.
    pub state: RunState,
    /// Later checkpoints that were passed over, with what is wrong with them.
    pub torn: Vec<(PathBuf, String)>,
}

impl CheckpointDir {
    /// Checkpoints under `root` of the run with the fingerprint `run`; the last `keep` and the best are kept.
    pub fn new(root: PathBuf, run: String, keep: usize) -> Self {
        Self { root, run, keep, shared: Arc::default() }
    }

    fn dir(&self, step: usize) -> PathBuf {
        self.root.join(format!("step-{step}"))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verified(&self, step: usize) -> Result<Note, String> {
        Note::verified(&self.dir(step), &PARTS.map(file_name))
    }

    /// Steps of all checkpoints, torn ones too, in order.
    fn steps(&self) -> Vec<usize> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let step = |name: std::ffi::OsString| name.to_str()?.strip_prefix("step-")?.parse().ok();
        let mut steps: Vec<usize> = entries.filter_map(|entry| step(entry.file_name())).collect();
        steps.sort_unstable();
        steps
    }

    /// Begins a run that has no checkpoint yet.
    ///
    /// # Errors
    /// [`Error::OutputExists`] if a complete one is there, [`Error::File`].
    pub fn begin(&self) -> Result<(), Error> {
        let steps = self.steps();
        if steps.iter().any(|&step| self.verified(step).is_ok()) {
            let output = self.root.parent().unwrap_or(&self.root).to_owned();
            return Err(Error::OutputExists { path: output, what: "checkpoints" });
        }
        self.shared().kept = steps;
        Ok(std::fs::create_dir_all(&self.root).map_err(FileError::io("create", &self.root))?)
    }

    /// Continues from the last checkpoint that matches its manifest; from the beginning if the run has none.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] if no run began here, [`Error::ForeignCheckpoint`] if it was another one.
    pub fn restore(&self) -> Result<Restored, Error> {
        if !self.root.is_dir() {
            return Err(Error::NoCheckpoint { path: self.root.clone() });
        }
        let steps = self.steps();
        let mut restored = Restored::default();
        let mut torn = Vec::new();
        for &step in steps.iter().rev() {
            match self.verified(step) {
                Ok(note) if note.run != self.run => {
                    return Err(Error::ForeignCheckpoint { path: self.dir(step) });
                }
                Ok(note) => {
                    (restored.step, restored.state) = (step, note.state);
                    break;
                }
                Err(reason) => {
                    torn.push(step);
                    restored.torn.push((self.dir(step), reason));
                }
            }
        }
        let best = &mut restored.state.watch.best;
        if best.as_ref().is_some_and(|best| self.verified(best.step).is_err()) {
            *best = None;
        }
        torn.extend(steps.iter().filter(|&&step| step <= restored.step));
        self.shared().kept = torn;
        Ok(restored)
    }

    /// Announces a checkpoint and what the run knows at this step; its parts follow.
    pub(crate) fn announce(&self, step: usize, state: RunState) {
        // A torn checkpoint of the same step must not lend its note to the new one.
        let _ = std::fs::remove_file(self.dir(step).join(NOTE));
        self.shared().begun.insert(step, (state, Vec::new()));
    }

    /// The writer and reader of one part.
    fn part(&self, name: &'static str) -> Part {
        Part { checkpoints: self.clone(), name }
    }

    /// Writers and readers of model, optimizer and schedule.
    pub fn parts(&self) -> [Part; 3] {
        PARTS.map(|name| self.part(name))
    }

    /// Counts the parts of a step that are written. The last one writes the note; only then do older checkpoints go.
    fn part_written(&self, step: usize, file: FileNote) -> Result<(), FileError> {
        let mut shared = self.shared();
        let Some((_, files)) = shared.begun.get_mut(&step) else { return Ok(()) };
        files.push(file);
        if files.len() < PARTS.len() {
            return Ok(());
        }
        let Some((state, files)) = shared.begun.remove(&step) else { return Ok(()) };
        let best = state.watch.best.as_ref().map(|best| best.step);
        let note = Note { step, run: self.run.clone(), files, state };
        ivl_models::write_bytes(&self.dir(step).join(NOTE), note.text().as_bytes())?;
        shared.kept.retain(|&kept| kept != step);
        shared.kept.push(step);
        let old = shared.kept.len().saturating_sub(self.keep);
        let gone: Vec<usize> =
            shared.kept[..old].iter().copied().filter(|&step| Some(step) != best).collect();
        shared.kept.retain(|step| !gone.contains(step));
        for step in gone {
            remove(&self.dir(step));
        }
        Ok(())
    }
}

/// Removes a checkpoint, its note first: what is half removed must not pass for complete. What cannot be removed stays,
/// and not retried: an extra checkpoint is no reason to end a run.
fn remove(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(NOTE));
    let _ = std::fs::remove_dir_all(dir);
}

fn file_name(part: &str) -> String {
    format!("{part}.bpk")
}

/// Reads and writes one part of every checkpoint.
#[derive(Debug, Clone)]
pub struct Part {
    checkpoints: CheckpointDir,
    name: &'static str,
}

impl Part {
    fn path(&self, step: usize) -> PathBuf {
        self.checkpoints.dir(step).join(file_name(self.name))
    }
}

impl<R: Checkpoint> Checkpointer<R> for Part {
    fn save(&self, step: usize, record: R) -> Result<(), CheckpointerError> {
        let other = |error: FileError| CheckpointerError::IOError(std::io::Error::other(error));
        std::fs::create_dir_all(self.checkpoints.dir(step)).map_err(CheckpointerError::IOError)?;
        let bytes = record.checkpoint_into_bytes().map_err(CheckpointerError::Record)?;
        let note = FileNote::new(file_name(self.name), &bytes);
        ivl_models::write_bytes(&self.path(step), &bytes).map_err(other)?;
        self.checkpoints.part_written(step, note).map_err(other)
    }

    fn restore(&self, step: usize) -> Result<R, CheckpointerError> {
        R::load(self.path(step))
    }

    fn delete(&self, step: usize) -> Result<(), CheckpointerError> {
        remove(&self.checkpoints.dir(step));
        Ok(())
    }
}

/// Saves whenever it is asked; [`CheckpointDir`] removes what is old, once what is new is complete.
#[derive(Debug)]
pub struct WhenAsked;

impl CheckpointingStrategy for WhenAsked {
    fn checkpointing(&mut self, _: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}
