//! The models inside the program: whole, and small enough to be published.

use std::collections::BTreeMap;

use ivl_demo_models::{model, models, unpack};
use sha2::{Digest, Sha256};

/// The limit of crates.io, less the rest of the crate.
const LARGEST: usize = 9_500_000;

#[test]
fn every_file_has_the_hash_that_was_noted_when_it_was_made() {
    let sums = include_str!("../models/SHA256SUMS");
    let noted: BTreeMap<&str, &str> =
        sums.lines().filter_map(|line| line.split_once("  ").map(|(hash, path)| (path, hash))).collect();
    let mut files = 0;
    for model in models() {
        for file in model.files {
            let path = format!("{}/{}", model.name, file.name);
            let hash = hex::encode(Sha256::digest(file.bytes));
            assert_eq!(noted.get(path.as_str()), Some(&hash.as_str()), "{path}");
            files += 1;
        }
    }
    assert_eq!(files, noted.len());
}

#[test]
fn all_of_it_fits_into_a_package() {
    let bytes: usize = models().iter().flat_map(|model| model.files).map(|file| file.bytes.len()).sum();
    assert!(bytes < LARGEST, "{bytes} bytes");
}

#[test]
fn unpacked_directories_hold_the_files_and_can_be_unpacked_again() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..2 {
        let paths = unpack(dir.path()).expect("writes");
        assert_eq!(paths.len(), 5);
    }
    let small = model("small").expect("a model");
    let weights = std::fs::read(dir.path().join("small/model.safetensors")).expect("reads");
    assert!(weights == small.files[0].bytes);
}

#[test]
fn the_family_shares_a_tokenizer_and_the_other_model_has_its_own() {
    let tokenizer = |name| model(name).expect("a model").files[1].bytes;
    for name in ["medium", "large", "continued"] {
        assert!(tokenizer(name) == tokenizer("small"), "{name}");
    }
    assert!(tokenizer("other") != tokenizer("small"));
}
