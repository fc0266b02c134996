//! Checkpoints of a run, in `step-N` directories: model, optimizer and schedule in burn's records, each written whole or
//! not at all, and a manifest that is written when all three are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::train::checkpoint::{Checkpoint, Checkpointer, CheckpointerError};
use ivl_models::FileError;

use crate::Error;
use crate::run::identity::RunIdentity;
use crate::run::manifest::{CheckpointManifest, MANIFEST, ManifestFile};
use crate::run::run_state::RunState;

/// The records of a checkpoint, one file each.
const RECORDS: [&str; 3] = ["model", "optimizer", "schedule"];

/// The checkpoints of a run.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointDir {
    root: PathBuf,
    run: RunIdentity,
    keep: usize,
    shared: Arc<Mutex<Shared>>,
}

/// The shared state of the writers of the records.
#[derive(Debug, Default)]
struct Shared {
    /// Checkpoints whose manifest is not written yet.
    begun: BTreeMap<usize, (RunState, Vec<ManifestFile>)>,
    /// Finished checkpoints, the first to be removed first.
    kept: Vec<usize>,
    /// Why a checkpoint could not be written.
    failed: Option<FileError>,
}

/// Where a run continues.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Steps done.
    pub(crate) step: usize,
    /// The state of the run after them.
    pub(crate) state: RunState,
    /// Later checkpoints that were skipped, with what is wrong with them.
    pub(crate) corrupt: Vec<(PathBuf, String)>,
}

impl CheckpointDir {
    /// Checkpoints of a run under `root`; the last `keep` and the best are kept.
    pub(crate) fn new(root: PathBuf, run: RunIdentity, keep: usize) -> Self {
        Self { root, run, keep, shared: Arc::default() }
    }

    fn dir(&self, step: usize) -> PathBuf {
        self.root.join(format!("step-{step}"))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verified(&self, step: usize) -> Result<CheckpointManifest, String> {
        CheckpointManifest::verified(&self.dir(step), &RECORDS.map(file_name))
    }

    /// Steps of all checkpoints, corrupt ones too, in order.
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
    /// [`Error::OutputExists`] if there is a complete one, [`Error::File`].
    pub(crate) fn begin(&self) -> Result<(), Error> {
        let steps = self.steps();
        if steps.iter().any(|&step| self.verified(step).is_ok()) {
            let output = self.root.parent().unwrap_or(&self.root).to_owned();
            return Err(Error::OutputExists { path: output, what: "checkpoints" });
        }
        self.shared().kept = steps;
        Ok(std::fs::create_dir_all(&self.root).map_err(FileError::io("create", &self.root))?)
    }

    /// Finds the last checkpoint that agrees with its manifest; the beginning if the run began and has none. `extend` allows
    /// a run of another length.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] if no run began here, [`Error::ForeignCheckpoint`] if it was another one.
    pub(crate) fn find(&self, extend: bool) -> Result<Restored, Error> {
        if !self.root.is_dir() {
            return Err(Error::NoCheckpoint { path: self.root.clone() });
        }
        let steps = self.steps();
        let mut restored = Restored::default();
        let mut corrupt = Vec::new();
        for &step in steps.iter().rev() {
            match self.verified(step) {
                Ok(manifest) => {
                    let differs = self.run.differences(&manifest.run, extend);
                    if !differs.is_empty() {
                        return Err(Error::ForeignCheckpoint { path: self.dir(step), differs });
                    }
                    (restored.step, restored.state) = (step, manifest.state);
                    break;
                }
                Err(reason) => {
                    corrupt.push(step);
                    restored.corrupt.push((self.dir(step), reason));
                }
            }
        }
        let best = &mut restored.state.early_stopping.best;
        if best.as_ref().is_some_and(|best| self.verified(best.step).is_err()) {
            *best = None;
        }
        corrupt.extend(steps.iter().filter(|&&step| step <= restored.step));
        self.shared().kept = corrupt;
        Ok(restored)
    }

    /// Announces a checkpoint and the state of the run at this step; its records follow.
    pub(crate) fn announce(&self, step: usize, state: RunState) {
        // A corrupt checkpoint of the same step must not lend its manifest to the new one.
        let _ = std::fs::remove_file(self.dir(step).join(MANIFEST));
        self.shared().begun.insert(step, (state, Vec::new()));
    }

    /// Writers and readers of model, optimizer and schedule.
    pub(crate) fn record_files(&self) -> [RecordFile; 3] {
        RECORDS.map(|name| RecordFile { checkpoints: self.clone(), name })
    }

    /// Why the last checkpoint could not be written, if it could not.
    pub(crate) fn take_failure(&self) -> Option<FileError> {
        self.shared().failed.take()
    }

    /// Counts the records of a step that are written. The last one writes the manifest; only then are older checkpoints
    /// removed.
    fn record_written(&self, step: usize, file: ManifestFile) -> Result<(), FileError> {
        let mut shared = self.shared();
        let Some((_, files)) = shared.begun.get_mut(&step) else { return Ok(()) };
        files.push(file);
        if files.len() < RECORDS.len() {
            return Ok(());
        }
        let Some((state, files)) = shared.begun.remove(&step) else { return Ok(()) };
        let best = state.early_stopping.best.as_ref().map(|best| best.step);
        let manifest = CheckpointManifest { step, files, state, run: self.run.clone() };
        ivl_models::write_bytes(&self.dir(step).join(MANIFEST), manifest.text().as_bytes())?;
        shared.kept.retain(|&kept| kept != step);
        shared.kept.push(step);
        let old = shared.kept.len().saturating_sub(self.keep);
        let removed: Vec<usize> =
            shared.kept[..old].iter().copied().filter(|&step| Some(step) != best).collect();
        shared.kept.retain(|step| !removed.contains(step));
        for step in removed {
            remove(&self.dir(step));
        }
        Ok(())
    }
}

/// Removes a checkpoint, its manifest first: a half-removed checkpoint must not pass for complete. One that cannot be
/// removed stays: a checkpoint too many is no reason to end a run.
fn remove(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(MANIFEST));
    let _ = std::fs::remove_dir_all(dir);
}

fn file_name(record: &str) -> String {
    format!("{record}.bpk")
}

/// Reads and writes one record of every checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct RecordFile {
    checkpoints: CheckpointDir,
    name: &'static str,
}

impl RecordFile {
    fn path(&self, step: usize) -> PathBuf {
        self.checkpoints.dir(step).join(file_name(self.name))
    }

    /// Reads the record of a step.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub(crate) fn load<R: Checkpoint>(&self, step: usize) -> Result<R, Error> {
        let path = self.path(step);
        R::load(path.clone()).map_err(|source| Error::Checkpoint { path, source: Box::new(source) })
    }

    /// Writes a record. The error is kept as well, since burn-train reports it as a text without its cause.
    fn write(&self, step: usize, bytes: &[u8]) -> Result<(), CheckpointerError> {
        let path = self.path(step);
        let file = ManifestFile::new(file_name(self.name), bytes);
        let written = std::fs::create_dir_all(self.checkpoints.dir(step))
            .map_err(FileError::io("create", &path))
            .and_then(|()| ivl_models::write_bytes(&path, bytes))
            .and_then(|()| self.checkpoints.record_written(step, file));
        written.map_err(|error| {
            let reason = CheckpointerError::Unknown(error.to_string());
            self.checkpoints.shared().failed.get_or_insert(error);
            reason
        })
    }
}

impl<R: Checkpoint> Checkpointer<R> for RecordFile {
    fn save(&self, step: usize, record: R) -> Result<(), CheckpointerError> {
        let bytes = record.checkpoint_into_bytes().map_err(CheckpointerError::Record)?;
        self.write(step, &bytes)
    }

    fn restore(&self, step: usize) -> Result<R, CheckpointerError> {
        R::load(self.path(step))
    }

    fn delete(&self, step: usize) -> Result<(), CheckpointerError> {
        remove(&self.checkpoints.dir(step));
        Ok(())
    }
}
