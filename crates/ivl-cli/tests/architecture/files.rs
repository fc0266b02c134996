//! How long files are, what they are called, and which of them have `unsafe`.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use crate::workspace::{files, read, repository, shown, sources};

/// Lines of the longest file.
const LONGEST_FILE: usize = 600;

/// Lines of the command's source: it parses, calls the library and prints. 4,500 was the goal for seventeen verbs; `gate` has added
/// what it parses and prints, `--adapter-difference` eleven lines.
const COMMAND: usize = 4663;

#[test]
fn files_are_short_and_named_after_what_they_hold() {
    for file in sources() {
        let lines = read(&file).lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines", shown(&file));
        let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        assert!(!["utils", "util", "common", "helpers", "misc", "types"].contains(&stem), "{}", shown(&file));
    }
}

#[test]
fn the_command_is_thin() {
    let files = files(&repository().join("crates/ivl-cli/src"), "rs");
    let lines: usize = files.iter().map(|file| read(file).lines().count()).sum();
    assert!(lines <= COMMAND, "the command has {lines} lines, expected at most {COMMAND}");
}

#[test]
fn the_transformer_names_no_family() {
    let families: Vec<&str> = ivl_models::families::FAMILIES.iter().map(|family| family.model_type).collect();
    let files = files(&repository().join("crates/ivl-models/src/transformer"), "rs");
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        let text = read(&file).to_lowercase();
        for name in families.iter().chain(&["neox", "pythia", "gpt-"]) {
            assert!(!text.contains(name), "{} names `{name}`", shown(&file));
        }
    }
}

/// The files that the point on `unsafe` in ARCHITECTURE.md names, by crate and file.
fn listed_as_unsafe() -> BTreeSet<String> {
    let page = read(&repository().join("ARCHITECTURE.md"));
    let begin = page.find("- `unsafe` is").expect("a point on `unsafe`");
    let point = &page[begin + 2..];
    let point = &point[..point.find("\n- ").unwrap_or(point.len())];
    let code = point.split('`').skip(1).step_by(2);
    code.filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "rs"))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn unsafe_is_where_architecture_md_says() {
    let listed = listed_as_unsafe();
    let mut found = BTreeSet::new();
    for file in sources().iter().filter(|file| has_unsafe(read(file).parse().expect("Rust"))) {
        let file = shown(file);
        let name = listed.iter().find(|name| file.strip_prefix("crates/").unwrap_or(&file) == name.as_str());
        found.insert(
            name.unwrap_or_else(|| panic!("{file} has `unsafe`, of which ARCHITECTURE.md says nothing")),
        );
    }
    assert_eq!(found, listed.iter().collect(), "ARCHITECTURE.md lists files without `unsafe`");
}

fn has_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "unsafe",
        TokenTree::Group(group) => has_unsafe(group.stream()),
        _ => false,
    })
}
