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
