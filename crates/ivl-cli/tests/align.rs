//! Values of another vocabulary: `ivl align`, and its maps in `score` and `generate`.

mod run;

use std::path::Path;

use run::{base, copy_of, edit, fails, json, ok};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

const TEXT: &str = "Suna lives in Oslo.";

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The same model under another vocabulary: two tokens have each other's ids.
fn renumbered(name: &str) -> TempDir {
    let (dir, [a, b]) = (copy_of(name), [300usize, 301]);
    edit(&dir.path().join("tokenizer.json"), |json| {
        let vocab = json["model"]["vocab"].as_object_mut().expect("a vocabulary");
        for id in vocab.values_mut() {
            match id.as_u64() {
                Some(300) => *id = 301.into(),
                Some(301) => *id = 300.into(),
                _ => {}
            }
        }
    });
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&path).expect("reads");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let swapped: Vec<(String, _, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let mut data = tensor.data().to_vec();
            if name.contains("embed") || name.contains("lm_head") {
                let width = data.len() / tensor.shape()[0];
                let (first, second) = data.split_at_mut(b * width);
                first[a * width..(a + 1) * width].swap_with_slice(&mut second[..width]);
            }
            (name.to_owned(), tensor.dtype(), tensor.shape().to_vec(), data)
        })
        .collect();
    let views = swapped.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).expect("fits"))
    });
    safetensors::serialize_to_file(views, None, &path).expect("writes");
    dir
}

fn score(args: &[&str]) -> f64 {
    let fixed = ["score", "--text", TEXT, "--json"];
    json(&[&fixed[..], args].concat())["sum"].as_f64().expect("a sum")
}

#[test]
fn a_map_is_made_reported_and_used() {
    let (dir, other) = (tempfile::tempdir().expect("dir"), renumbered("large"));
    let (from, to) = (text(other.path()), base("small"));
    let out = text(&dir.path().join("map.safetensors"));
    let report = json(&["align", "--from", &from, "--to", &to, "--out", &out, "--json"]);
    assert_eq!(report["method"], "hybrid");
    assert_eq!(report["tokens"]["exact"], 384);
    assert!(report["base_fingerprint"] != report["value_fingerprint"] && report["seconds"].is_number());
    let shown = ok(&["align", "--from", &from, "--to", &to, "--out", &out]);
    assert!(shown.starts_with("tokens of the base: 100.00% exact (384)"), "{shown}");

    // Under other numbers it is the same base, and the value lifts it as it lifts the base itself.
    let (large, small) = (base("large"), base("small"));
    let alone = score(&["--base", &large]);
    assert!((score(&["--base", &from]) - alone).abs() < 1e-3);
    let zero = format!("{small}:0");
    assert_eq!(score(&["--base", &from, "--value", &zero, "--map", &out]), score(&["--base", &from]));
    let same = score(&["--base", &large, "--value", &small]);
    for how in [["--map", &out], ["--map", "hybrid"], ["--byte-fusion", &small]] {
        let sum = score(&[&["--base", &from, "--value", &small][..], &how[..]].concat());
        // Where a word is not complete the value cuts it as far as it goes, so the two are close and not equal.
        assert!((sum - same).abs() < 0.1 * same.abs() && sum != alone, "{how:?}: {sum}, {same}, {alone}");
    }
    let prompt = ["generate", "--base", &from, "--value", &small, "--map", &out, "--prompt", "Suna lives"];
    let short = ["--max-new-tokens", "5", "--json"];
    assert_eq!(json(&[&prompt[..], &short[..]].concat())["completion_tokens"], 5);
}

#[test]
fn a_corpus_counts_and_texts_that_cannot_be_written_are_left_out() {
    let (dir, other) = (tempfile::tempdir().expect("dir"), renumbered("large"));
    let (from, to) = (text(other.path()), base("small"));
    let out = text(&dir.path().join("map.safetensors"));
    let corpus = dir.path().join("corpus.jsonl");
    std::fs::write(&corpus, "{\"text\": \"Suna lives in Oslo.\"}\n\n\"Tara has a cat. ☃\"\n")
        .expect("writes");
    let corpus = text(&corpus);
    for method in ["co-occurrence", "co-occurrence-published", "hybrid"] {
        let args = ["align", "--from", &from, "--to", &to, "--method", method, "--corpus", &corpus];
        let report = json(&[&args[..], &["--out", &out, "--json"]].concat());
        let corpus = &report["corpus"];
        assert!(corpus["exact"].as_u64() > Some(8), "{method}: {corpus}");
        assert!(report["corpus_seconds"]["counting"].is_number());
        assert!(score(&["--base", &from, "--value", &to, "--map", &out]).is_finite());
    }
}

#[test]
fn bad_maps_corpora_and_tokenizers_are_named() {
    let (dir, other) = (tempfile::tempdir().expect("dir"), renumbered("large"));
    let (from, to) = (text(other.path()), base("small"));
    let file = |name: &str, content: &[u8]| {
        std::fs::write(dir.path().join(name), content).expect("writes");
        text(&dir.path().join(name))
    };
    let out = text(&dir.path().join("map.safetensors"));
    let align = |more: &[&str], parts: &[&str]| {
        fails(&[&["align", "--from", &from, "--to", &to, "--out", &out][..], more].concat(), parts);
        assert!(!Path::new(&out).exists(), "nothing is left behind");
    };
    align(&["--method", "guess"], &["--method is `guess`", "edit-distance", "hybrid"]);
    align(&["--method", "co-occurrence"], &["give some with --corpus FILE"]);
    align(&["--corpus", "absent.txt"], &["cannot read the corpus `absent.txt`"]);
    let latin = file("latin.txt", b"good\nna\xefve\n");
    align(&["--corpus", &latin], &["line 2 of `", "latin.txt", "not UTF-8"]);
    align(&["--corpus", &file("bad.jsonl", b"{\"txt\": 1}\n")], &["line 1 of `", "bad.jsonl", "has no text"]);
    align(
        &["--corpus", &file("empty.txt", b"\n \n")],
        &["no text of the corpus can be used", "holds no text"],
    );
    let empty = tempfile::tempdir().expect("dir");
    fails(
        &["align", "--from", &text(empty.path()), "--to", &to, "--out", &out],
        &["has neither config.json nor tokenizer.json"],
    );
    let hollow = tempfile::tempdir().expect("dir");
    std::fs::copy(other.path().join("tokenizer.json"), hollow.path().join("tokenizer.json")).expect("copies");
    edit(&hollow.path().join("tokenizer.json"), |json| {
        json["model"]["vocab"] = serde_json::json!({"<s>": 0, "</s>": 1});
        json["model"]["merges"] = serde_json::json!([]);
    });
    fails(
        &["align", "--from", &text(hollow.path()), "--to", &to, "--out", &out],
        &["the base vocabulary has no token of text"],
    );

    let fused = |more: &[&str], parts: &[&str]| {
        fails(&[&["score", "--text", TEXT, "--base", &from, "--value", &to][..], more].concat(), parts);
    };
    fused(&[], &["2 of 384 ids differ", "ivl align"]);
    fused(&["--map", "absent"], &["cannot read the map `absent`"]);
    fused(&["--map", "co-occurrence"], &["counts tokens in a corpus", "ivl align --method co-occurrence"]);
    fused(&["--map", &file("junk", b"{}")], &["not a vocabulary map"]);
    ok(&["align", "--from", &to, "--to", &from, "--out", &out]);
    fused(&["--map", &out], &["map.safetensors", "made for base vocabulary"]);
    fused(&["--byte-fusion", &from], &["must have the value's vocabulary"]);
    fused(&["--byte-fusion", &to, "--unseen", "2"], &["`unseen` is 2, expected a probability"]);
}

#[test]
fn a_text_that_the_value_cannot_write_or_hold_is_refused() {
    let (other, value) = (renumbered("large"), copy_of("small"));
    // A value without a token for `z`.
    edit(&value.path().join("tokenizer.json"), |json| {
        let vocab = json["model"]["vocab"].as_object_mut().expect("a vocabulary");
        let id = vocab.remove("z").expect("z");
        vocab.insert("unused".to_owned(), id);
        let merges = json["model"]["merges"].as_array_mut().expect("merges");
        merges.retain(|merge| !merge.to_string().contains('z'));
    });
    let (from, to) = (text(other.path()), text(value.path()));
    let args = |text| ["score", "--base", &from, "--value", &to, "--map", "hybrid", "--text", text];
    ok(&args("Suna has a cat."));
    fails(&args("A zoo."), &["--text", "cannot write \"z\" at byte 2", "no byte fallback"]);
    let long = "Suna lives in Oslo. ".repeat(200);
    fails(&args(&long), &["tokens, but the context of", "score it in pieces"]);
}
