//! Tokenizers against the reference, on fixtures that `fixtures/make_text_fixtures.py` made.

use std::path::{Path, PathBuf};

use ivl_models::Tokenizer;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Golden {
    text: String,
    ids_with_special: Vec<u32>,
    ids_without_special: Vec<u32>,
    decoded: String,
    decoded_all: String,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers").join(name)
}

fn check(name: &str) {
    let tokenizer = Tokenizer::from_file(&fixture(name).join("tokenizer.json")).expect("reads");
    check_golden(&tokenizer, &fixture(name));
}

fn check_golden(tokenizer: &Tokenizer, dir: &Path) {
    let golden = std::fs::read(dir.join("golden.json")).expect("golden");
    let golden: Vec<Golden> = serde_json::from_slice(&golden).expect("json");
    let vocab = tokenizer.vocab();
    for golden in golden {
        let text = &golden.text;
        assert_eq!(tokenizer.encode(text, true).expect("encodes"), golden.ids_with_special, "{text:?}");
        let ids = tokenizer.encode(text, false).expect("encodes");
        assert_eq!(ids, golden.ids_without_special, "{text:?}");
        assert_eq!(tokenizer.decode(&ids, true).expect("decodes"), golden.decoded, "{text:?}");
        assert_eq!(tokenizer.decode(&ids, false).expect("decodes"), golden.decoded_all, "{text:?}");
        // The bytes of the vocabulary, one after the other, are the decoded text: SentencePiece's decoder drops the
        // space that its encoder put in front.
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| vocab.text_bytes(id).to_vec()).collect();
        let joined = String::from_utf8_lossy(&bytes).into_owned();
        let without_space = joined.strip_prefix(' ').unwrap_or(&joined);
        assert!(
            joined == golden.decoded || without_space == golden.decoded,
            "{joined:?}, expected {:?}",
            golden.decoded
        );

        let offsets = tokenizer.encode_with_offsets(text, true).expect("encodes");
        assert_eq!(offsets.iter().map(|(id, _)| *id).collect::<Vec<_>>(), golden.ids_with_special);
        assert!(offsets.iter().all(|&(_, (start, end))| start <= end && end <= text.len()));
    }
}

#[test]
fn byte_level() {
    check("byte_level");
    let tokenizer = Tokenizer::from_file(&fixture("byte_level").join("tokenizer.json")).expect("reads");
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(0), Some(1)));
    let added = tokenizer.token_to_id("a b").expect("the added token");
    assert_eq!(tokenizer.vocab().text_bytes(added), b"a b");
}

#[test]
fn byte_level_after_a_split() {
    check("byte_level_split");
}

#[test]
fn sentencepiece_with_byte_fallback() {
    check("sentencepiece");
    let vocab =
        Tokenizer::from_file(&fixture("sentencepiece").join("tokenizer.json")).expect("reads").vocab();
    assert_eq!(vocab.text_bytes(3 + 0xe2), [0xe2]);
    assert_eq!(vocab.text_bytes(1), b"", "<s> is no text");
}

#[test]
fn metaspace() {
    check("metaspace");
}

#[test]
fn broken_files_are_errors_with_names() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("tokenizer.json");
    let message = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("writes");
        Tokenizer::from_file(&path).expect_err("refused").to_string()
    };
    assert!(message(b"{").contains("tokenizer.json` is not a Hugging Face tokenizer"));
    assert!(message(b"{}").contains("is not a Hugging Face tokenizer"));
    let good = std::fs::read_to_string(fixture("byte_level").join("tokenizer.json")).expect("reads");
    let huge = good.replace("\"id\":0,", "\"id\":4000000000,");
    assert_ne!(huge, good);
    // The library may refuse such a file, or renumber it; either way no table of four billion ids is made.
    std::fs::write(&path, huge).expect("writes");
    assert!(Tokenizer::from_file(&path).map_or(true, |tokenizer| tokenizer.vocab().size() < 1000));
    assert!(Tokenizer::from_file(&dir.path().join("nothing.json")).is_err());
}

/// A tokenizer with some of its fields changed.
fn changed(changes: &[(&str, serde_json::Value)]) -> serde_json::Value {
    let mut json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": null,
        "model": { "type": "BPE", "vocab": { "a": 0, "b": 1, "ab": 2 }, "merges": ["a b"] },
    });
    for (pointer, value) in changes {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        json.pointer_mut(parent).expect("is there")[field] = value.clone();
    }
    json
}

/// The library panics at each of these where it reads or uses them, or would use up the stack.
#[test]
fn values_that_the_library_takes_on_trust_are_refused() {
    use serde_json::json;
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("tokenizer.json");
    let deep = "a".repeat(1 << 20);
    let model = |value: serde_json::Value| ("/model", value);
    let cases: Vec<(Vec<(&str, serde_json::Value)>, &str)> = vec![
        (vec![("/model/merges", json!(["ab ab"]))], "merge 0 joins \"ab\" and \"ab\""),
        (vec![("/model/merges", json!([["a", "b"], ["a", "cdefgh"]]))], "merge 1 joins \"a\" and \"cdefgh\""),
        (
            vec![("/model/continuing_subword_prefix", json!("##"))],
            "the second part of merge 0 is \"b\", expected one that begins with \"##\"",
        ),
        (
            vec![
                ("/model/continuing_subword_prefix", json!("#")),
                ("/model/vocab", json!({ "a": 0, "é": 1, "aé": 2 })),
                ("/model/merges", json!([["a", "é"]])),
            ],
            "begins with \"#\"",
        ),
        (vec![("/normalizer", json!({ "type": "Precompiled" }))], "`precompiled_charsmap` cannot be read"),
        (
            vec![(
                "/normalizer",
                json!({ "type": "Sequence", "normalizers": [{ "type": "Precompiled", "precompiled_charsmap": "AA" }] }),
            )],
            "`precompiled_charsmap` cannot be read",
        ),
        (
            vec![("/pre_tokenizer", json!({ "type": "FixedLength", "length": 0 }))],
            "`FixedLength` has `length` 0",
        ),
        (
            vec![model(json!({ "type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], [deep, -1.0]] }))],
            "a token has 1048576 bytes",
        ),
    ];
    for (changes, expected) in cases {
        std::fs::write(&path, changed(&changes).to_string()).expect("writes");
        let error = Tokenizer::from_file(&path).expect_err("is refused");
        let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(reason.contains(expected), "{error}: {reason}, expected {expected:?}");
    }
}

/// Texts at which the library panics are errors, as are files.
#[test]
fn a_panic_of_the_library_is_an_error() {
    use serde_json::json;
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("tokenizer.json");
    let opened = |changes: &[(&str, serde_json::Value)]| {
        std::fs::write(&path, changed(changes).to_string()).expect("writes");
        Tokenizer::from_file(&path)
    };
    let plain = opened(&[]).expect("reads");
    assert_eq!(plain.encode("abba", true).expect("encodes"), [2, 1, 0]);
    // Oniguruma gives up a search after ten million steps.
    let split = |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    let slow = opened(&[("/pre_tokenizer", split(r"(a|a|aa|aaa)*\d"))]).expect("reads");
    assert!(slow.encode(&"a".repeat(2000), true).is_err());
    let strip = json!({ "type": "Strip", "content": "a", "start": 0, "stop": 2 });
    let decoder = opened(&[("/decoder", strip)]).expect("reads");
    assert!(decoder.decode(&[0], false).is_err());
    for vocab in [
        json!({ "a": 0, "b": 4_294_967_295_u32 }),
        json!({ "a": 0, "b": 4_294_967_296_u64 }),
        json!({ "a": 0, "b": -1 }),
    ] {
        let changes = [("/model/vocab", vocab), ("/model/merges", json!([]))];
        assert!(opened(&changes).is_err());
    }
    let gap = opened(&[("/model/vocab", json!({ "a": 0, "b": 7 })), ("/model/merges", json!([]))])
        .expect("ids may have gaps");
    assert_eq!((gap.encode("ab", true).expect("encodes"), gap.vocab().size()), (vec![0, 7], 8));
}

/// transformers 5.24: `Qwen2Tokenizer` composes letters also where the file has no normalizer.
#[test]
fn a_class_that_composes_letters_does_so_without_a_normalizer_in_the_file() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = std::fs::read(fixture("byte_level_split").join("tokenizer.json")).expect("reads");
    let write = |normalizer: serde_json::Value, class: &str| {
        let mut json: serde_json::Value = serde_json::from_slice(&source).expect("JSON");
        json["normalizer"] = normalizer;
        std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).expect("writes");
        let config = serde_json::json!({ "tokenizer_class": class }).to_string();
        std::fs::write(dir.path().join("tokenizer_config.json"), config).expect("writes");
        let tokenizer = Tokenizer::from_file(&dir.path().join("tokenizer.json")).expect("reads");
        tokenizer.encode("caf\u{65}\u{301}", false).expect("encodes")
    };
    let [composed, apart] = [serde_json::json!({ "type": "NFC" }), serde_json::Value::Null]
        .map(|normalizer| write(normalizer, "PreTrainedTokenizerFast"));
    assert_ne!(composed, apart);
    for class in ["Qwen2Tokenizer", "Qwen2TokenizerFast", "GPTNeoXTokenizer"] {
        assert_eq!(write(serde_json::Value::Null, class), composed, "{class}");
    }
}

/// Files that `fixtures/make_vocabulary_file_fixtures.py` made.
fn without_json(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vocabulary_files").join(name)
}

#[test]
fn vocabulary_files_without_a_tokenizer_json_give_the_ids_of_transformers() {
    for name in ["gpt2", "gpt2_begins", "qwen2", "llama", "llama_legacy"] {
        let tokenizer =
            Tokenizer::from_dir(&without_json(name)).expect("reads").expect("files of a known class");
        check_golden(&tokenizer, &without_json(name));
    }
}

#[test]
fn vocabulary_files_of_other_classes_are_not_guessed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for file in ["vocab.json", "merges.txt"] {
        std::fs::copy(without_json("gpt2").join(file), dir.path().join(file)).expect("copies");
    }
    assert!(Tokenizer::from_dir(dir.path()).expect("reads").is_none(), "no class");
    let config = dir.path().join("tokenizer_config.json");
    std::fs::write(&config, r#"{"tokenizer_class": "RobertaTokenizer"}"#).expect("writes");
    assert!(Tokenizer::from_dir(dir.path()).expect("reads").is_none(), "another class");
    std::fs::write(&config, r#"{"tokenizer_class": "GPT2TokenizerFast"}"#).expect("writes");
    assert!(Tokenizer::from_dir(dir.path()).expect("reads").is_some());
    std::fs::write(dir.path().join("merges.txt"), "a b c\n").expect("writes");
    assert!(Tokenizer::from_dir(dir.path()).expect_err("broken").to_string().contains("vocab.json"));
}

#[test]
fn broken_sentencepiece_models_are_errors() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("tokenizer_config.json"), r#"{"tokenizer_class": "LlamaTokenizer"}"#)
        .expect("writes");
    let whole = std::fs::read(without_json("llama").join("tokenizer.model")).expect("reads");
    let huge_piece = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for bytes in [
        &whole[..whole.len() / 2],
        b"",
        b"version https://git-lfs.github.com/spec/v1",
        &huge_piece,
        &[0xff; 64],
    ] {
        std::fs::write(dir.path().join("tokenizer.model"), bytes).expect("writes");
        let error = Tokenizer::from_dir(dir.path()).expect_err("broken").to_string();
        assert!(error.contains("tokenizer.model"), "{error}");
    }
}
