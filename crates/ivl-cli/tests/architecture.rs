//! House rules, as tests: who may depend on whom, what the transformer may not know, how long a file may be.

mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use run::repository;

/// Our crates, and which of them each may use.
const EDGES: [(&str, &[&str]); 10] = [
    ("ivl-core", &["ivl-kernels"]),
    ("ivl-demo-models", &[]),
    ("ivl-kernels", &[]),
    ("ivl-models", &["ivl-core", "ivl-kernels"]),
    ("ivl-align", &["ivl-core"]),
    ("ivl-train", &["ivl-core", "ivl-kernels", "ivl-models"]),
    ("ivl-eval", &["ivl-core", "ivl-models"]),
    ("ivl-serve", &["ivl-core", "ivl-models"]),
    (
        "ivl-cli",
        &[
            "ivl-align",
            "ivl-core",
            "ivl-eval",
            "ivl-demo-models",
            "ivl-kernels",
            "ivl-models",
            "ivl-serve",
            "ivl-train",
        ],
    ),
    ("ivl-bench", &["ivl-align", "ivl-core", "ivl-models", "ivl-train"]),
];

/// Libraries that belong to one crate, and the crates that may use them outside their tests.
const RESERVED: [(&str, &[&str]); 20] = [
    ("anyhow", &["ivl-cli"]),
    ("clap", &["ivl-cli"]),
    ("hf-hub", &["ivl-cli"]),
    ("indicatif", &["ivl-cli"]),
    ("tokenizers", &["ivl-models"]),
    ("minijinja", &["ivl-models"]),
    ("memmap2", &["ivl-kernels", "ivl-models"]),
    ("safetensors", &["ivl-align", "ivl-models"]),
    ("rayon", &["ivl-align"]),
    ("axum", &["ivl-serve"]),
    ("hyper", &["ivl-serve"]),
    ("subtle", &["ivl-serve"]),
    ("tokio", &["ivl-serve"]),
    ("flate2", &["ivl-train"]),
    ("parquet", &["ivl-train"]),
    ("plotters", &["ivl-eval"]),
    ("serde_path_to_error", &["ivl-eval", "ivl-train"]),
    ("strsim", &["ivl-models"]),
    ("fancy-regex", &["ivl-models"]),
    ("langdetect", &["ivl-eval"]),
];

const LONGEST_FILE: usize = 600;

/// Normal dependencies of every workspace member, from its manifest.
fn dependencies() -> BTreeMap<String, toml::Table> {
    let crates = std::fs::read_dir(repository().join("crates")).expect("crates");
    let dirs = crates.map(|entry| entry.expect("entry").path()).chain([repository().join("benches")]);
    dirs.map(|dir| {
        let text = std::fs::read_to_string(dir.join("Cargo.toml")).expect("Cargo.toml");
        let manifest: toml::Table = text.parse().expect("TOML");
        let name = manifest["package"]["name"].as_str().expect("a name").to_owned();
        (name, manifest)
    })
    .collect()
}

fn names(manifest: &toml::Table, section: &str) -> BTreeSet<String> {
    manifest
        .get(section)
        .and_then(toml::Value::as_table)
        .map(|t| t.keys().cloned().collect())
        .unwrap_or_default()
}

#[test]
fn crates_depend_downwards_only() {
    let manifests = dependencies();
    let known: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(manifests.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
    for (name, allowed) in EDGES {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let used = names(&manifests[name], section);
            let ours: Vec<&String> = used.iter().filter(|used| known.contains(used.as_str())).collect();
            assert!(ours.iter().all(|used| allowed.contains(&used.as_str())), "{name} {section}: {ours:?}");
        }
    }
}

#[test]
fn libraries_stay_in_their_crates() {
    for (name, manifest) in dependencies() {
        let used = names(&manifest, "dependencies");
        for (library, owners) in RESERVED {
            assert!(!used.contains(library) || owners.contains(&name.as_str()), "{name} uses {library}");
        }
    }
}

#[test]
fn backends_are_features_of_the_command_alone() {
    for (name, manifest) in dependencies() {
        let features = names(&manifest, "features");
        assert_eq!(features.contains("cuda"), name == "ivl-cli", "{name}");
        if name != "ivl-cli" && name != "ivl-bench" {
            let burn = &manifest["dependencies"].as_table().and_then(|d| d.get("burn")).cloned();
            let text = burn.as_ref().map(ToString::to_string).unwrap_or_default();
            assert!(["cuda", "wgpu"].iter().all(|backend| !text.contains(backend)), "{name}: {text}");
            // The kernels of the CPU are nodes of its backend's graph.
            assert_eq!(text.contains("flex"), name == "ivl-models", "{name}: {text}");
        }
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("reads") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            // Rivals are workspaces of their own, with artifacts of their own.
            if path.file_name().is_some_and(|name| name != "target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in ["crates", "benches"] {
        sources(&repository().join(dir), &mut found);
    }
    found
}

#[test]
fn the_transformer_knows_no_family_by_name() {
    let families: Vec<&str> = ivl_models::families::FAMILIES.iter().map(|family| family.model_type).collect();
    let mut files = Vec::new();
    sources(&repository().join("crates/ivl-models/src/transformer"), &mut files);
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("reads").to_lowercase();
        for name in families.iter().chain(&["neox", "pythia", "gpt-"]) {
            assert!(!text.contains(name), "{} names `{name}`", file.display());
        }
    }
}

#[test]
fn files_are_short_and_named_after_what_they_hold() {
    for file in all_sources() {
        let text = std::fs::read_to_string(&file).expect("reads");
        assert!(
            text.lines().count() <= LONGEST_FILE,
            "{} has {} lines",
            file.display(),
            text.lines().count()
        );
        let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        assert!(
            !["utils", "util", "common", "helpers", "misc", "types"].contains(&stem),
            "{}",
            file.display()
        );
    }
}

#[test]
fn there_are_no_backend_generics() {
    for file in all_sources() {
        // Written in two halves, so that this file does not find itself.
        let needle = concat!(": Back", "end>");
        assert!(!std::fs::read_to_string(&file).expect("reads").contains(needle), "{}", file.display());
    }
}

#[test]
fn functions_named_in_the_pages_on_the_method_exist() {
    let read = |page: &str| std::fs::read_to_string(repository().join("docs").join(page)).expect("a page");
    let page = read("method.md") + &read("regularization.md");
    let code: String =
        all_sources().iter().map(|file| std::fs::read_to_string(file).expect("reads")).collect();
    let named: Vec<&str> =
        page.split('`').skip(1).step_by(2).filter_map(|code| code.strip_suffix("()")).collect();
    assert!(named.len() >= 5, "{named:?}");
    for path in named {
        let name = path.rsplit("::").next().expect("a name");
        assert!(
            code.contains(&format!("fn {name}(")) || code.contains(&format!("fn {name}<")),
            "`{path}()` is not there"
        );
    }
}

/// The commands of the README, indented as code.
fn readme_commands() -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).expect("README.md");
    readme
        .lines()
        .filter_map(|line| line.strip_prefix("    cargo "))
        .map(|line| format!("cargo {line}"))
        .collect()
}

#[test]
fn ci_runs_the_commands_of_the_readme() {
    let ci = std::fs::read_to_string(repository().join(".ci/run")).expect(".ci/run");
    let commands = readme_commands();
    assert!(commands.len() >= 2, "{commands:?}");
    for command in commands {
        assert!(ci.lines().any(|line| line == command), "`{command}` is not a line of .ci/run");
    }
}

#[test]
fn pages_link_to_files_that_exist() {
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(repository().join(page)).expect(page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(link.starts_with("http") || repository().join(link).exists(), "{page} links to {link}");
        }
    }
}
