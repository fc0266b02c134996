//! Special tokens wherever a directory declares them, and the text of tokens under every decoder, against transformers and its
//! tokenizers: `fixtures/make_special_token_fixtures.py` and `fixtures/make_decoder_fixtures.py` made the tables.

use std::collections::BTreeMap;
use std::path::Path;

use ivl_core::decode::TextStream;
use ivl_models::Tokenizer;
use serde::Deserialize;
use serde_json::Value;

fn table<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).expect("a table")).expect("JSON")
}

/// A tokenizer with files beside it.
fn tokenizer(json: &Value, files: &BTreeMap<String, Value>) -> Tokenizer {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, content) in
        files.iter().map(|(name, content)| (name.as_str(), content)).chain([("tokenizer.json", json)])
    {
        std::fs::write(dir.path().join(name), content.to_string()).expect("writes");
    }
    Tokenizer::from_file(&dir.path().join("tokenizer.json")).expect("reads")
}

#[derive(Deserialize)]
struct SpecialTokenTable {
    tokenizer: Value,
    texts: Vec<String>,
    cases: Vec<SpecialTokenCase>,
}

#[derive(Deserialize)]
struct SpecialTokenCase {
    name: String,
    files: BTreeMap<String, Value>,
    named: BTreeMap<String, String>,
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
}

#[test]
fn every_place_that_declares_special_tokens_counts_as_in_transformers() {
    let table: SpecialTokenTable = table("special_token_cases.json");
    assert!(table.cases.len() >= 28);
    for case in table.cases {
        let tokenizer = tokenizer(&table.tokenizer, &case.files);
        let roles = [
            "bos_token",
            "eos_token",
            "unk_token",
            "pad_token",
            "cls_token",
            "sep_token",
            "mask_token",
            "image_token",
        ];
        for role in roles {
            let expected = case.named.get(role).map(String::as_str);
            assert_eq!(tokenizer.special_token(role), expected, "{}: {role}", case.name);
        }
        for ((text, ids), decoded) in table.texts.iter().zip(&case.ids).zip(&case.decoded) {
            let got = tokenizer.encode(text, true).expect("encodes");
            assert_eq!(got, *ids, "{}: {text:?}", case.name);
            assert_eq!(tokenizer.decode(&got, true).expect("decodes"), *decoded, "{}: {text:?}", case.name);
        }
    }
}

#[test]
fn a_tokenizer_that_names_no_end_takes_that_of_the_generation_settings() {
    let table: SpecialTokenTable = table("special_token_cases.json");
    let ends = |files: Value| {
        let files: BTreeMap<String, Value> = serde_json::from_value(files).expect("files");
        tokenizer(&table.tokenizer, &files).eos_id()
    };
    let (config, generation) = ("config.json", "generation_config.json");
    assert_eq!(ends(serde_json::json!({ config: { "eos_token_id": 4 } })), Some(4));
    assert_eq!(
        ends(serde_json::json!({ config: { "eos_token_id": 4 }, generation: { "eos_token_id": [3, 2] } })),
        Some(3)
    );
    assert_eq!(
        ends(serde_json::json!({ generation: "not an object", config: { "eos_token_id": 4 } })),
        Some(4)
    );
    assert_eq!(ends(serde_json::json!({ config: { "eos_token_id": 4_000 } })), None, "no token has this id");
    // GPT-2 names no token; its class does, where the vocabulary has it.
    assert_eq!(ends(serde_json::json!({ config: { "model_type": "gpt2" } })), None);
    assert_eq!(ends(serde_json::json!({ config: { "model_type": "llama" } })), Some(2));
}

#[derive(Deserialize)]
struct DecoderCase {
    name: String,
    tokenizer: Value,
    before: Vec<u32>,
    after: Vec<u32>,
    text: String,
    continued: String,
}

#[test]
fn the_text_of_tokens_is_that_of_the_files_decoder_also_as_it_grows() {
    let table: Vec<DecoderCase> = table("decoder_cases.json");
    assert!(table.len() >= 11);
    for case in table {
        let vocab = tokenizer(&case.tokenizer, &BTreeMap::new()).vocab();
        let bytes =
            |ids: &[u32]| ids.iter().flat_map(|&id| vocab.text_bytes(id).to_vec()).collect::<Vec<u8>>();
        let mut stream = TextStream::new(&[]);
        if vocab.closes_with_space() {
            stream = stream.after_words(&bytes(&case.before));
        }
        let mut grown: String = case.after.iter().map(|&id| stream.push(vocab.text_bytes(id))).collect();
        grown += &stream.finish();
        assert_eq!(grown, case.continued, "{} after {:?}", case.name, case.text);
        let whole = String::from_utf8(bytes(&case.before)).expect("text");
        let whole = if vocab.adds_space() { whole.strip_prefix(' ').unwrap_or(&whole) } else { &whole };
        let whole = if vocab.closes_with_space() { whole.strip_suffix(' ').unwrap_or(whole) } else { whole };
        assert_eq!(whole, case.text, "{}", case.name);
    }
}

#[test]
fn tokens_cover_the_blanks_that_a_post_processor_trims() {
    let letters = ["Ġ", "a", "b", "c", "Ċ", "Ġc", "ĠĠ"];
    let vocab: serde_json::Map<String, Value> =
        letters.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    let stage = |trim: bool| serde_json::json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": trim, "use_regex": true });
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": stage(true), "post_processor": stage(true), "decoder": stage(true),
        "model": { "type": "BPE", "vocab": vocab, "merges": ["Ġ c", "Ġ Ġ"], "unk_token": null },
    });
    let tokenizer = tokenizer(&json, &BTreeMap::new());
    for text in ["ab   c", "  a", "a \n b", "a", " ", "a  ", "c c"] {
        let vocab = tokenizer.vocab();
        let mut at = 0;
        for (id, covered) in tokenizer.encode_with_offsets(text, true).expect("encodes") {
            let end = at + vocab.text_bytes(id).len();
            assert_eq!(covered, (at, end), "{text:?}");
            at = end;
        }
        assert_eq!(at, text.len());
    }
}
