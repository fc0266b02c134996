//! GGUF files in the command: written from a directory, used as bases and values, and turned back.

mod run;

use std::path::Path;

use ivl_models::{Connection, ValueCard};
use run::{base, copy_of, fails, json, ok, text};

const TEXT: &str = "Suna has a cat. Mira is a pilot.";

fn convert(model: &str, to: &str, out: &Path) {
    ok(&["convert", model, "--to", to, "--out", &text(out)]);
}

/// The log-probability of every token of a text.
fn logprobs(model: &str) -> Vec<f64> {
    let score = json(&["score", "--base", model, "--text", TEXT, "--dtype", "f32", "--json"]);
    score["logprobs"]
        .as_array()
        .expect("log-probabilities")
        .iter()
        .filter_map(serde_json::Value::as_f64)
        .collect()
}

#[test]
fn a_model_goes_to_gguf_and_back_unchanged() {
    let (dir, large) = (tempfile::tempdir().expect("dir"), base("large"));
    let path = |name: &str| dir.path().join(name);
    convert(&large, "gguf:F32", &path("large.gguf"));
    convert(&text(&path("large.gguf")), "hf", &path("again"));
    let score = |model: &str| json(&["score", "--base", model, "--text", TEXT, "--json"]);
    assert_eq!(score(&text(&path("large.gguf"))), score(&large));
    assert_eq!(score(&text(&path("again"))), score(&large));
    let files = [path("again"), large.clone().into()].map(|dir| {
        let bytes = std::fs::read(dir.join("model.safetensors")).expect("reads");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        let mut tensors: Vec<_> =
            file.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect();
        tensors.sort();
        tensors
    });
    assert!(files[0] == files[1], "the tensors are the same to the bit");
    let fingerprint = |model: &str| json(&["inspect", model, "--json"])["tokenizer"]["fingerprint"].clone();
    assert_eq!(fingerprint(&text(&path("large.gguf"))), fingerprint(&large));

    // A file that is there is not written over.
    let out = text(&path("large.gguf"));
    fails(&["convert", &large, "--to", "gguf:F32", "--out", &out], &["large.gguf` is there already"]);
}

#[test]
fn quantised_files_are_near_the_model() {
    let (dir, large) = (tempfile::tempdir().expect("dir"), base("large"));
    let exact = logprobs(&large);
    assert!(exact.len() > 5);
    for (kind, limit) in [("BF16", 0.1), ("Q8_0", 0.1), ("Q4_0", 1.5)] {
        let path = dir.path().join(format!("{kind}.gguf"));
        convert(&large, &format!("gguf:{kind}"), &path);
        let got = logprobs(&text(&path));
        let worst = got.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst > 0.0 && worst < limit, "{kind}: {worst}");
        let dtypes = &json(&["inspect", &text(&path), "--json"])["dtypes"];
        assert!(dtypes[kind].as_u64().is_some_and(|numbers| numbers > 100_000), "{kind}: {dtypes}");
    }
}

#[test]
fn a_value_is_a_gguf_file_with_its_card() {
    let (dir, small, large) = (tempfile::tempdir().expect("dir"), copy_of("small"), base("large"));
    let small = small.path();
    let card = |alpha: f64| -> ValueCard {
        serde_json::from_value(serde_json::json!({
            "format": 1, "connection": Connection::Residual, "bases": [], "tokenizer": "", "regularization": {},
            "alpha": alpha, "chat_template": null, "data": "", "rows": 0, "steps": 0, "tokens": 0, "evals": [],
            "train_loss": null, "ivl": "0",
        }))
        .expect("a card")
    };
    card(0.25).write(small).expect("writes");
    let file = dir.path().join("small.gguf");
    convert(&text(small), "gguf:F32", &file);
    let score = |value: &str| json(&["score", "--base", &large, "--value", value, "--text", TEXT, "--json"]);
    assert_eq!(score(&text(&file)), score(&text(small)), "alpha is that of the card");
    // A card beside the file goes before the one in it.
    card(0.5).write(&file).expect("writes");
    assert!(dir.path().join("small.ivl.json").is_file());
    assert_ne!(score(&text(&file)), score(&text(small)));
    assert_eq!(json(&["inspect", &text(&file), "--json"])["card"]["alpha"], 0.5);
    let generate = |value: &Path| {
        ok(&[
            "generate",
            "--base",
            &large,
            "--value",
            &format!("{}:1", text(value)),
            "--prompt",
            "Suna lives in",
        ])
    };
    assert_eq!(generate(&file), generate(small));
}

/// Name, size and sampling settings: of a directory as llama.cpp's converter writes them, of a file those that it has.
#[test]
fn a_file_says_what_its_model_is() {
    let (dir, source) = (tempfile::tempdir().expect("dir"), copy_of("large"));
    let generation =
        serde_json::json!({ "do_sample": true, "temperature": 0.7, "top_k": 20, "repetition_penalty": 1.1 });
    std::fs::write(source.path().join("generation_config.json"), generation.to_string()).expect("writes");
    let (first, second) = (dir.path().join("first.gguf"), dir.path().join("second.gguf"));
    convert(&text(source.path()), "gguf:F16", &first);
    convert(&text(&first), "gguf:Q8_0", &second);
    let files = [&first, &second].map(|path| ivl_models::gguf::Gguf::open(path).expect("opens"));
    let name = source.path().file_name().expect("a name").to_string_lossy().into_owned();
    for file in &files {
        let metadata = file.metadata();
        assert_eq!(metadata.text("general.name").expect("a name"), name);
        assert!(metadata.text("general.size_label").expect("a size").ends_with(['K', 'M']));
        assert_eq!(metadata.number("general.sampling.temp").expect("a number"), 0.7);
        assert_eq!(metadata.size("general.sampling.top_k").expect("a number"), 20);
        assert_eq!(metadata.number("general.sampling.penalty_repeat").expect("a number"), 1.1);
        assert_eq!(metadata.size("general.quantization_version").expect("a number"), 2);
    }
    let types = files.map(|file| file.metadata().size("general.file_type").expect("a number"));
    assert_eq!(types, [1, 7], "the numbers of llama.cpp");
}

#[test]
fn wrong_formats_are_refused_with_what_there_is() {
    let (dir, large) = (tempfile::tempdir().expect("dir"), base("large"));
    let out = dir.path().join("out");
    for (to, expected) in [
        ("mlx", "expected gguf:TYPE"),
        ("gguf:Q2_K", "ivl does not write GGUF files of type Q2_K, expected one of F32"),
        ("hf:Q8_0", "expected F32, F16 or BF16"),
    ] {
        fails(&["convert", &large, "--to", to, "--out", &text(&out)], &[expected]);
        assert!(!out.exists(), "{to}");
    }
}
