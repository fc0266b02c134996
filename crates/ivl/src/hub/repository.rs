//! A repository of the hub, or what the cache holds of it.

use std::path::{Path, PathBuf};

use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFClientSync, HFError};
use ivl_models::gguf::Gguf;
use ivl_models::{CHECKPOINT_FILES, CheckpointFile, FileKind, PYTORCH_FILES};

use super::gguf_choice::choose;
use super::hub_name::HubName;
use crate::Error;
use crate::error::Result;

/// Files that go with the weights of a GGUF file, where a repository has them.
fn companions() -> impl Iterator<Item = String> {
    let kinds = [FileKind::Tokenizer, FileKind::Template, FileKind::Card];
    kinds.into_iter().flat_map(CheckpointFile::of_kind).map(str::to_owned)
}

impl HubName<'_> {
    /// Downloads what is missing in the cache, and gives the directory of the revision there, or the GGUF file.
    pub(super) fn download(&self) -> Result<PathBuf> {
        let client = HFClient::builder().build_sync().map_err(|source| Error::HubClient(Box::new(source)))?;
        let repository = Repository { client, name: *self };
        let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
        match offline {
            true => repository.cached(),
            // The error of the hub says more than that of the cache.
            false => repository.fetched().or_else(|error| match error {
                Error::Hub { .. } => repository.cached().map_err(|_| error),
                other => Err(other),
            }),
        }
    }
}

struct Repository<'a> {
    client: HFClientSync,
    name: HubName<'a>,
}

impl Repository<'_> {
    fn fetched(&self) -> Result<PathBuf> {
        if self.name.gguf.is_some() {
            return self.fetched_gguf(&self.paths()?);
        }
        let patterns = CHECKPOINT_FILES.iter().map(|file| file.pattern.to_owned()).collect();
        let dir = self.snapshot(patterns, false)?;
        if holds_weights(&dir) {
            return Ok(dir);
        }
        let paths = self.paths()?;
        if paths.iter().any(|path| is_pytorch(path)) {
            return self.snapshot(PYTORCH_FILES.map(str::to_owned).to_vec(), false);
        }
        // Without a GGUF file it is a tokenizer, or weights in another format: opening it says what to do.
        if !paths.iter().any(|path| is_gguf(path)) {
            return Ok(dir);
        }
        self.fetched_gguf(&paths)
    }

    /// The chosen one of the GGUF files among the paths of the repository.
    fn fetched_gguf(&self, paths: &[String]) -> Result<PathBuf> {
        let files = self.choose(paths)?;
        let dir =
            self.snapshot(files.iter().map(|file| escaped(file)).chain(companions()).collect(), false)?;
        Ok(dir.join(&files[0]))
    }

    /// What the cache holds, without asking the hub.
    fn cached(&self) -> Result<PathBuf> {
        let dir = self.snapshot(Vec::new(), true)?;
        if self.name.gguf.is_none() && holds_weights(&dir) {
            return Ok(dir);
        }
        let mut paths = Vec::new();
        list(&dir, "", &mut paths);
        if self.name.gguf.is_none() && paths.is_empty() {
            return Ok(dir);
        }
        Ok(dir.join(&self.choose(&paths)?[0]))
    }

    fn snapshot(&self, patterns: Vec<String>, local: bool) -> Result<PathBuf> {
        let repository = self.client.model(self.name.owner, self.name.name);
        let call = repository.snapshot_download().revision(self.name.revision);
        call.allow_patterns(patterns).local_files_only(local).send().map_err(|source| self.error(source))
    }

    /// The paths of all files.
    fn paths(&self) -> Result<Vec<String>> {
        let repository = self.client.model(self.name.owner, self.name.name);
        let tree = repository.list_tree().revision(self.name.revision).recursive(true).send();
        let file = |entry| match entry {
            RepoTreeEntry::File { path, .. } => Some(path),
            RepoTreeEntry::Directory { .. } => None,
        };
        Ok(tree.map_err(|source| self.error(source))?.into_iter().filter_map(file).collect())
    }

    fn choose(&self, paths: &[String]) -> Result<Vec<String>> {
        choose(paths, self.name.gguf).map_err(|found| Error::HubGguf {
            name: self.name.id(),
            wanted: self.name.gguf.map(str::to_owned),
            found,
        })
    }

    fn error(&self, source: HFError) -> Error {
        Error::Hub { name: self.name.id(), revision: self.name.revision.to_owned(), source: Box::new(source) }
    }
}

/// Whether a directory holds weights that are no GGUF file, or says what is missing in it otherwise.
fn holds_weights(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| {
        let name = name.to_string_lossy();
        name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") || is_pytorch(&name)
    })
}

/// Whether a file holds weights of PyTorch, or lists them.
fn is_pytorch(path: &str) -> bool {
    PYTORCH_FILES.iter().any(|name| !name.contains('*') && *name == path)
}

fn is_gguf(path: &str) -> bool {
    Gguf::is_named_so(Path::new(path))
}

/// A path as a pattern that fits only itself.
fn escaped(path: &str) -> String {
    path.chars().flat_map(|c| if "*?[]{}\\".contains(c) { vec!['[', c, ']'] } else { vec![c] }).collect()
}

/// Every GGUF file below a directory of the cache, by its path in the repository.
fn list(dir: &Path, prefix: &str, paths: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // Files of the cache are links; a link to a directory would be none of it.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), &format!("{name}/"), paths);
        } else if is_gguf(&name) {
            paths.push(name);
        }
    }
}
