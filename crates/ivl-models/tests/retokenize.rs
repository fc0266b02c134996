//! A tokenizer as the reader of another model's text: its tokens with the bytes that each completes.

use std::path::{Path, PathBuf};

use ivl_core::Error;
use ivl_core::cross_tokenizer::{Retokenizer, TokenEnd};
use ivl_core::vocab::{Role, TokenKind};
use ivl_models::{Tokenizer, TokenizerError};
use proptest::prelude::*;

const FIXTURES: [&str; 4] = ["byte_level", "byte_level_split", "metaspace", "sentencepiece"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers").join(name).join("tokenizer.json")
}

fn read(name: &str) -> Tokenizer {
    Tokenizer::from_file(&file(name)).expect("reads")
}

/// The text of the tokens up to some point, without the space that the tokenizer put in front.
fn spelled(tokenizer: &Tokenizer, written: &[TokenEnd]) -> Vec<u8> {
    let vocab = tokenizer.vocab();
    let bytes: Vec<u8> = written.iter().flat_map(|token| vocab.text_bytes(token.id).to_vec()).collect();
    let added = vocab.adds_space() && bytes.first() == Some(&b' ');
    bytes[usize::from(added)..].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_end_is_what_the_tokens_up_to_it_spell(text in "[a-d éß☃🦀日\\n]{0,24}", which in 0usize..4) {
        let tokenizer = read(FIXTURES[which]);
        let written = tokenizer.tokenize(&text).expect("every byte has a token");
        let ids: Vec<u32> = written.iter().map(|token| token.id).collect();
        prop_assert_eq!(&ids, &tokenizer.encode(&text, true).expect("encodes"));
        for count in 0..=written.len() {
            let end = written[..count].last().map_or(0, |token| token.end);
            let spelled = spelled(&tokenizer, &written[..count]);
            // A space of the text that the tokenizer took for its own counts with the token that follows.
            let own = text.starts_with(' ') && spelled.len() + 1 == end && spelled == text.as_bytes()[1..end];
            prop_assert!(spelled == text.as_bytes()[..end] || own, "{:?} of {:?} in {}", &written[..count], &text, FIXTURES[which]);
        }
        prop_assert_eq!(written.last().map_or(0, |token| token.end), text.len());
    }
}

#[test]
fn what_opens_a_text_is_written_once() {
    let tokenizer = read("sentencepiece");
    let ids = |text: &str| tokenizer.tokenize(text).expect("writes").iter().map(|t| t.id).collect::<Vec<_>>();
    assert_eq!(ids(""), [1]);
    let [plain, named] = ["a cat", "<s>a cat"].map(ids);
    assert_eq!(plain.iter().filter(|&&id| id == 1).count(), 1);
    assert_eq!(named.iter().filter(|&&id| id == 1).count(), 1, "the text names it already");
    let written = tokenizer.tokenize("<s>a").expect("writes");
    assert_eq!((written[0], written.last().expect("a").end), (TokenEnd { id: 1, end: 3 }, 4));
}

#[test]
fn roles_and_spaces_are_read_from_the_file() {
    let sentencepiece = read("sentencepiece").vocab();
    let roles = [Role::Unknown, Role::Beginning, Role::End].map(|role| sentencepiece.role(role));
    assert_eq!(roles, [Some(0), Some(1), Some(2)]);
    let added = FIXTURES.map(|name| read(name).vocab().adds_space());
    assert_eq!(added, [false, false, true, true]);
    let metaspace = read("metaspace");
    let turns = [Role::TurnStart, Role::TurnEnd].map(|role| metaspace.vocab().role(role));
    assert_eq!(turns, ["[INST]", "[/INST]"].map(|name| metaspace.token_to_id(name)));
    let byte = sentencepiece.token(3 + 0x41).expect("a byte");
    assert_eq!((byte.kind, &*byte.bytes), (TokenKind::Byte, &b"A"[..]));
}

/// A copy of a fixture with a changed `tokenizer.json`.
fn changed(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> Result<Tokenizer, TokenizerError> {
    let dir = tempfile::tempdir().expect("dir");
    let mut json = serde_json::from_slice(&std::fs::read(file(name)).expect("reads")).expect("JSON");
    change(&mut json);
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, json.to_string()).expect("writes");
    Tokenizer::from_file(&path)
}

#[test]
fn text_that_no_token_can_write_is_named() {
    // Without byte fallback the snowman is unknown.
    let unknown =
        changed("sentencepiece", |json| json["model"]["byte_fallback"] = false.into()).expect("reads");
    let error = unknown.tokenize("a cat ☃").expect_err("unwritable");
    assert!(matches!(&error, Error::Unwritable { text, byte: 6 } if text == "☃"), "{error}");
    assert!(error.to_string().contains("no byte fallback"), "{error}");
    // Without an unknown token it would be dropped in silence.
    let dropped = changed("sentencepiece", |json| {
        json["model"]["byte_fallback"] = false.into();
        json["model"]["unk_token"] = serde_json::Value::Null;
    });
    let dropped = dropped.expect("reads");
    for (text, at) in [("☃", 0), ("a☃b", 1), ("ab ☃", 3)] {
        assert!(
            matches!(dropped.tokenize(text), Err(Error::Unwritable { byte, .. }) if byte == at),
            "{text}"
        );
    }
    assert!(dropped.tokenize("a b").is_ok());
}

#[test]
fn two_tokens_with_one_id_are_refused_unless_one_was_added() {
    let double = changed("byte_level", |json| {
        let vocab = json["model"]["vocab"].as_object_mut().expect("a vocabulary");
        let id = vocab["a"].clone();
        vocab.insert("second a".to_owned(), id);
    });
    let error = double.expect_err("refused");
    assert!(matches!(error, TokenizerError::DuplicateId { .. }), "{error}");
    assert!(error.to_string().contains("\"a\" and \"second a\""), "{error}");
    let replaced = changed("byte_level", |json| {
        let id = json["model"]["vocab"]["a"].clone();
        let mut token = json["added_tokens"][0].clone();
        (token["id"], token["content"]) = (id, "<|mine|>".into());
        json["added_tokens"].as_array_mut().expect("a list").push(token);
    });
    let replaced = replaced.expect("added tokens may take an id");
    let id = replaced.token_to_id("<|mine|>").expect("an id");
    assert_eq!(replaced.vocab().text_bytes(id), b"", "it is a control token now");
}
