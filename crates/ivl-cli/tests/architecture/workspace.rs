//! The workspace as it lies on disk: manifests, source files, pages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the workspace has a root")
}

/// A path as messages show it: below the root, with slashes.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

/// Reads a file of the workspace.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The manifest of every workspace member, by package name.
pub(crate) fn manifests() -> BTreeMap<String, toml::Table> {
    let crates = std::fs::read_dir(repository().join("crates")).expect("crates");
    let dirs =
        crates.map(|entry| entry.expect("an entry").path()).filter(|dir| dir.join("Cargo.toml").exists());
    dirs.chain([repository().join("benches")])
        .map(|dir| {
            let manifest: toml::Table = read(&dir.join("Cargo.toml")).parse().expect("TOML");
            let name = manifest["package"]["name"].as_str().expect("a name").to_owned();
            (name, manifest)
        })
        .collect()
}

/// The keys of a section of a manifest.
pub(crate) fn keys(manifest: &toml::Table, section: &str) -> BTreeSet<String> {
    let table = manifest.get(section).and_then(toml::Value::as_table);
    table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

/// Files below a directory with one of these extensions, in order; build outputs and hidden directories are left out.
pub(crate) fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                waiting.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of the workspace and of the fuzz targets.
pub(crate) fn sources() -> Vec<PathBuf> {
    ["crates", "benches", "fuzz"].iter().flat_map(|dir| files(&repository().join(dir), "rs")).collect()
}

/// The folder `src` of every workspace member that has one, by the crate's name.
pub(crate) fn source_folders() -> Vec<(String, PathBuf)> {
    let crates = std::fs::read_dir(repository().join("crates")).expect("crates");
    let mut found: Vec<(String, PathBuf)> = crates
        .map(|entry| entry.expect("an entry").path())
        .filter(|dir| dir.join("src").is_dir())
        .map(|dir| {
            (dir.file_name().and_then(|name| name.to_str()).expect("a name").to_owned(), dir.join("src"))
        })
        .collect();
    found.sort();
    found
}

/// Every Markdown page of the workspace.
pub(crate) fn pages() -> Vec<PathBuf> {
    files(&repository(), "md")
}
