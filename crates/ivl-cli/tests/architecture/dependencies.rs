//! Who may depend on whom.

use std::collections::BTreeSet;

use crate::workspace::{keys, manifests};

/// Our crates, and which of them each may use.
const EDGES: [(&str, &[&str]); 11] = [
    ("ivl-kernels", &[]),
    ("ivl-demo-models", &[]),
    ("ivl-core", &["ivl-kernels"]),
    ("ivl-models", &["ivl-core", "ivl-kernels"]),
    ("ivl-align", &["ivl-core"]),
    ("ivl-train", &["ivl-core", "ivl-kernels", "ivl-models"]),
    ("ivl-eval", &["ivl-core", "ivl-models"]),
    ("ivl-serve", &["ivl-core", "ivl-models"]),
    ("ivl", &["ivl-align", "ivl-core", "ivl-eval", "ivl-kernels", "ivl-models", "ivl-serve", "ivl-train"]),
    (
        "ivl-cli",
        &[
            "ivl",
            "ivl-align",
            "ivl-core",
            "ivl-demo-models",
            "ivl-eval",
            "ivl-kernels",
            "ivl-models",
            "ivl-serve",
            "ivl-train",
        ],
    ),
    ("ivl-bench", &["ivl-align", "ivl-core", "ivl-models", "ivl-train"]),
];

/// Libraries that belong to one crate, and the crates that may use them outside their tests.
const RESERVED: [(&str, &[&str]); 22] = [
    ("anyhow", &["ivl-cli"]),
    ("clap", &["ivl-cli"]),
    ("hf-hub", &["ivl"]),
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
    ("llguidance", &["ivl-serve"]),
    ("flate2", &["ivl-train"]),
    ("parquet", &["ivl-train"]),
    ("plotters", &["ivl-eval"]),
    ("serde_path_to_error", &["ivl-eval", "ivl-train"]),
    ("strsim", &["ivl-models"]),
    ("fancy-regex", &["ivl-models"]),
    ("langdetect", &["ivl-eval"]),
    ("maud", &["ivl-eval"]),
];

#[test]
fn crates_depend_downwards_only() {
    let manifests = manifests();
    let known: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    for (name, manifest) in &manifests {
        let Some((_, allowed)) = EDGES.iter().find(|(known, _)| known == name) else {
            panic!("{name} is not in the table of crates");
        };
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let used = keys(manifest, section);
            let ours = used.iter().filter(|used| known.contains(used.as_str()));
            let forbidden: Vec<&String> = ours.filter(|used| !allowed.contains(&used.as_str())).collect();
            assert!(forbidden.is_empty(), "{name} {section}: {forbidden:?}");
        }
    }
}

#[test]
fn libraries_stay_in_their_crates() {
    for (name, manifest) in manifests() {
        let used = keys(&manifest, "dependencies");
        for (library, owners) in RESERVED {
            assert!(!used.contains(library) || owners.contains(&name.as_str()), "{name} uses {library}");
        }
    }
}

#[test]
fn backends_are_features_of_the_facade_and_the_command() {
    for (name, manifest) in manifests() {
        let features = keys(&manifest, "features");
        let is_outer = name == "ivl" || name == "ivl-cli";
        assert_eq!(features.contains("cuda"), is_outer, "{name}");
        if !is_outer && name != "ivl-bench" {
            let burn = manifest["dependencies"].as_table().and_then(|table| table.get("burn"));
            let burn = burn.map(ToString::to_string).unwrap_or_default();
            assert!(["cuda", "wgpu"].iter().all(|backend| !burn.contains(backend)), "{name}: {burn}");
            // A model on the CPU's backend runs on our kernels, and these are nodes of its backend's graph.
            assert_eq!(
                burn.contains("flex"),
                ["ivl-core", "ivl-models"].contains(&name.as_str()),
                "{name}: {burn}"
            );
        }
    }
}
