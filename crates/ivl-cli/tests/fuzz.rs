//! The fuzz targets on a stable toolchain: the saved corpus, and mutations of it with fixed seeds.

#[path = "../../../fuzz/entries.rs"]
#[allow(unreachable_pub, reason = "the fuzz targets see it as a module of theirs")]
mod entries;

use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bytes that break parsers.
const SPICES: [&[u8]; 16] = [
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\"",
    b"{}",
    b"[[",
    b"]",
    b"\\ud800",
    b"\xff\xfe",
    b"\0",
    b"{% for a in range(9) %}",
    b"{{",
    b"0.1",
    b"true",
    b",",
];

fn mutated(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=bytes.len());
        let to = rng.random_range(at..=bytes.len().min(at + 16));
        match rng.random_range(0..5) {
            0 => drop(bytes.drain(at..to)),
            1 => drop(bytes.splice(at..to, SPICES[rng.random_range(0..SPICES.len())].iter().copied())),
            2 => bytes.truncate(at.max(1)),
            3 => {
                let copy = bytes[at..to].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            _ => {}
        }
    }
    bytes
}

/// The corpus of a target, and `mutations` mutations, divided among its files.
fn run(name: &str, entry: fn(&[u8]), mutations: u64) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut files: Vec<_> =
        std::fs::read_dir(&corpus).expect("a corpus").map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{name} has a corpus");
    let times = std::env::var("IVL_FUZZ").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let mutations = (mutations * times).div_ceil(files.len() as u64);
    for (number, file) in files.iter().enumerate() {
        let seed = std::fs::read(file).expect("reads");
        entry(&seed);
        for round in 0..mutations {
            let mut rng = ChaCha8Rng::seed_from_u64(((number as u64) << 32) + round);
            let input = mutated(&mut rng, &seed);
            let outcome = std::panic::catch_unwind(|| entry(&input));
            assert!(
                outcome.is_ok(),
                "{name}, {}, round {round}: {:?}",
                file.display(),
                String::from_utf8_lossy(&input)
            );
        }
    }
}

#[test]
fn requests() {
    run("request", entries::request, 10_000);
}

#[test]
fn configurations() {
    run("config", entries::config, 12_000);
}

#[test]
fn weights() {
    run("weights", entries::weights, 1200);
}

#[test]
fn gguf_files() {
    run("gguf", entries::gguf, 4000);
}

#[test]
fn maps() {
    run("map", entries::map, 3000);
}

#[test]
fn tokenizers() {
    run("tokenizer", entries::tokenizer, 300);
}

#[test]
fn tokenizers_of_gguf_files() {
    run("gguf_tokenizer", entries::gguf_tokenizer, 1200);
}

#[test]
fn templates() {
    run("template", entries::template, 1200);
}
