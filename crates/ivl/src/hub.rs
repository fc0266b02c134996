//! Names of models: a directory, or `org/name[@revision]` on the Hugging Face hub.

use std::path::{Path, PathBuf};

use hf_hub::HFClient;
use ivl_models::CHECKPOINT_FILES;

use crate::Error;
use crate::error::Result;

/// The local directory of a model: `name` itself if it is a directory, else the hub's model of this name.
///
/// A hub name is downloaded once into the ordinary Hugging Face cache; when the hub cannot be reached, the cache is used.
///
/// # Errors
/// [`Error::UnknownModel`], [`Error::UnfinishedRun`] for the output of a training run that has not ended, [`Error::Hub`].
pub fn resolve(name: &str) -> Result<PathBuf> {
    let local = Path::new(name);
    if local.is_dir() {
        if local.join("checkpoints").is_dir() && !local.join("config.json").exists() {
            return Err(Error::UnfinishedRun { path: local.to_owned() });
        }
        return Ok(local.to_owned());
    }
    match HubName::parse(name) {
        Some(id) => id.download(),
        None => Err(Error::UnknownModel { name: name.to_owned() }),
    }
}

/// Models that the hub has kept under a name without an organisation.
const LEGACY_NAMES: [&str; 5] = ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2"];

#[derive(Debug, PartialEq, Eq)]
struct HubName<'a> {
    /// Empty for a legacy name.
    owner: &'a str,
    name: &'a str,
    revision: &'a str,
}

impl<'a> HubName<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        if LEGACY_NAMES.contains(&id) {
            return Some(Self { owner: "", name: id, revision });
        }
        let (owner, name) = id.split_once('/')?;
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let revision_plain = revision.split('/').all(plain);
        (plain(owner) && plain(name) && revision_plain).then_some(Self { owner, name, revision })
    }

    fn download(&self) -> Result<PathBuf> {
        let client = HFClient::builder().build_sync().map_err(|source| Error::HubClient(Box::new(source)))?;
        let fetch = |local_files_only: bool| {
            client
                .model(self.owner, self.name)
                .snapshot_download()
                .revision(self.revision)
                .allow_patterns(CHECKPOINT_FILES.iter().map(|file| file.pattern.to_owned()).collect())
                .local_files_only(local_files_only)
                .send()
        };
        let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
        let found =
            if offline { fetch(true) } else { fetch(false).or_else(|error| fetch(true).map_err(|_| error)) };
        found.map_err(|source| Error::Hub {
            name: format!("{}/{}", self.owner, self.name).trim_start_matches('/').to_owned(),
            revision: self.revision.to_owned(),
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_names_are_recognised_and_paths_are_not() {
        let name = HubName::parse("meta-llama/Llama-3.2-1B@refs/pr/1").expect("a name");
        assert_eq!(name, HubName { owner: "meta-llama", name: "Llama-3.2-1B", revision: "refs/pr/1" });
        assert_eq!(HubName::parse("org/name").expect("a name").revision, "main");
        assert_eq!(HubName::parse("gpt2"), Some(HubName { owner: "", name: "gpt2", revision: "main" }));
        for path in ["gpt22", "/etc/passwd", "../x", "a/b/c", "a/..", "a/b@../c", "./a", "a/", "a b/c"] {
            assert_eq!(HubName::parse(path), None, "{path}");
        }
    }
}
