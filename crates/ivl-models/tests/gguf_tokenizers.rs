//! Tokenizers in GGUF files against sentencepiece, llama.cpp and the library of Hugging Face, on fixtures that
//! `fixtures/make_gguf_tokenizer_fixtures.py` made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ivl_models::gguf::{Gguf, MetadataValue, MetadataWriter, write_gguf};
use ivl_models::{ChatTemplate, GgufTexts, GgufTokenizerError, Message, RenderOptions, Tokenizer};
use serde::Deserialize;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf_tokenizers").join(name)
}

fn json<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let bytes = std::fs::read(fixture(name)).expect("the fixture");
    serde_json::from_slice(&bytes).expect("a fixture")
}

/// A value of metadata.
enum Value<'a> {
    Text(&'a str),
    Flag(bool),
    Id(u32),
    Texts(&'a [String]),
    Numbers(&'a [f32]),
    Integers(&'a [i32]),
    Bytes(&'a [u8]),
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Value<'_> {
    /// The number of its type, and its bytes.
    fn write(&self) -> (u32, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut list = |element: u32, len: usize, items: Vec<u8>| {
            bytes.extend(element.to_le_bytes());
            bytes.extend((len as u64).to_le_bytes());
            bytes.extend(items);
        };
        let kind = match self {
            Self::Text(text) => {
                put_text(&mut bytes, text);
                8
            }
            Self::Flag(flag) => {
                bytes.push(u8::from(*flag));
                7
            }
            Self::Id(id) => {
                bytes.extend(id.to_le_bytes());
                4
            }
            Self::Texts(texts) => {
                let mut items = Vec::new();
                texts.iter().for_each(|text| put_text(&mut items, text));
                list(8, texts.len(), items);
                9
            }
            Self::Numbers(numbers) => {
                list(6, numbers.len(), numbers.iter().flat_map(|number| number.to_le_bytes()).collect());
                9
            }
            Self::Integers(integers) => {
                list(5, integers.len(), integers.iter().flat_map(|integer| integer.to_le_bytes()).collect());
                9
            }
            Self::Bytes(items) => {
                list(0, items.len(), items.to_vec());
                9
            }
        };
        (kind, bytes)
    }
}

/// Writes a GGUF file without tensors into a folder.
fn gguf(folder: &Path, pairs: &[(&str, Value<'_>)]) -> PathBuf {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend((pairs.len() as u64).to_le_bytes());
    for (key, value) in pairs {
        put_text(&mut bytes, key);
        let (kind, value) = value.write();
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    }
    let path = folder.join("model.gguf");
    std::fs::write(&path, bytes).expect("writes");
    path
}

fn check(tokenizer: &Tokenizer, lines: &[String], ids: &[Vec<u32>], what: &str) {
    assert_eq!(lines.len(), ids.len());
    for (line, ids) in lines.iter().zip(ids) {
        assert_eq!(&tokenizer.encode(line, false).expect("encodes"), ids, "{what}: {line:?}");
    }
}

#[derive(Deserialize)]
struct ByteLevel {
    tokens: Vec<String>,
    merges: Vec<String>,
    lines: Vec<String>,
    ids: BTreeMap<String, Vec<Vec<u32>>>,
}

impl ByteLevel {
    fn open(
        &self,
        pre: &str,
        more: Vec<(&'static str, Value<'_>)>,
    ) -> Result<Tokenizer, ivl_models::TokenizerError> {
        let folder = tempfile::tempdir().expect("folder");
        let mut pairs = vec![
            ("general.architecture", Value::Text("llama")),
            ("tokenizer.ggml.model", Value::Text("gpt2")),
            ("tokenizer.ggml.pre", Value::Text(pre)),
            ("tokenizer.ggml.tokens", Value::Texts(&self.tokens)),
            ("tokenizer.ggml.merges", Value::Texts(&self.merges)),
        ];
        pairs.extend(more);
        Tokenizer::from_file(&gguf(folder.path(), &pairs))
    }
}

#[test]
fn every_name_of_a_pre_tokenizer_cuts_as_its_model_does() {
    let fixture: ByteLevel = json("byte_level.json");
    assert!(fixture.ids.len() >= 20);
    for (pre, ids) in &fixture.ids {
        let tokenizer = fixture.open(pre, Vec::new()).expect("opens");
        check(&tokenizer, &fixture.lines, ids, pre);
    }
}

#[test]
fn a_pre_tokenizer_that_is_not_known_is_refused_by_name() {
    let fixture: ByteLevel = json("byte_level.json");
    let error = fixture.open("kimi-k2", Vec::new()).expect_err("unknown");
    let text = format!("{error}: {}", std::error::Error::source(&error).expect("a reason"));
    assert!(
        text.contains("`kimi-k2`") && text.contains("qwen2") && text.contains("tokenizer.json"),
        "{text}"
    );
}

#[test]
fn types_decide_what_is_found_whole_and_what_is_text() {
    let mut fixture: ByteLevel = json("byte_level.json");
    let first = fixture.tokens.len() as u32;
    let more = ["<|im_end|>", "<think>", "   ", "[PAD9]", "[PAD10]"];
    fixture.tokens.extend(more.map(str::to_owned));
    let mut types = vec![1; first as usize];
    types.extend([3, 4, 4, 5, 5]);
    let pairs = vec![
        ("tokenizer.ggml.token_type", Value::Integers(&types)),
        ("tokenizer.ggml.eos_token_id", Value::Id(first)),
        ("tokenizer.ggml.add_eos_token", Value::Flag(true)),
    ];
    let tokenizer = fixture.open("gpt-2", pairs).expect("opens");
    let whole = tokenizer.encode("<think>   <|im_end|>", true).expect("encodes");
    assert_eq!(whole, [first + 1, first + 2, first, first], "found whole, and the end of the text after it");
    assert_eq!(tokenizer.decode(&whole, true).expect("decodes"), "<think>   ");
    let vocab = tokenizer.vocab();
    assert_eq!((vocab.text_bytes(first), vocab.text_bytes(first + 1)), (&b""[..], &b"<think>"[..]));
    assert_eq!((vocab.token(first + 3), tokenizer.eos_id()), (None, Some(first)));
    let padding = tokenizer.encode("[PAD9]", false).expect("encodes");
    assert!(padding.iter().all(|&id| id < first), "{padding:?}");
}

#[derive(Deserialize)]
struct Lines {
    lines: Vec<String>,
    ids: Vec<Vec<u32>>,
}

#[test]
fn sentencepiece_merges_by_scores() {
    let golden: Lines = json("sentencepiece.json");
    let path = fixture("sentencepiece.gguf");
    let tokenizer = Tokenizer::from_file(&path).expect("reads");
    check(&tokenizer, &golden.lines, &golden.ids, "sentencepiece");
    let begun = tokenizer.encode("a", true).expect("encodes");
    assert_eq!((begun[0], tokenizer.bos_id(), tokenizer.eos_id()), (1, Some(1), Some(2)));
    let vocab = tokenizer.vocab();
    assert!(vocab.adds_space() && vocab.text_bytes(3 + 0xe2) == [0xe2]);

    let template = ChatTemplate::from_dir(&path).expect("reads").expect("a template");
    let messages = [Message::new("user", "hi")];
    let render = |options: &RenderOptions| template.render(&messages, options).expect("renders");
    assert_eq!(render(&RenderOptions::default()), "<s><|turn|>hi<|turn|>");
    let tools = RenderOptions { tools: Some(vec![serde_json::json!({})]), ..RenderOptions::default() };
    assert_eq!(render(&tools), "1 tools");
    let turn = tokenizer.token_to_id("<|turn|>").expect("the control token");
    assert_eq!(template.end_tokens(&tokenizer), [turn]);
}

#[derive(Deserialize)]
struct Pieces {
    tokens: Vec<String>,
    types: Vec<i32>,
    scores: Vec<f32>,
    #[serde(default)]
    charsmap: Vec<u8>,
    lines: Vec<String>,
    ids: Vec<Vec<u32>>,
}

impl Pieces {
    fn open(&self, more: Vec<(&'static str, Value<'_>)>) -> Result<Tokenizer, ivl_models::TokenizerError> {
        let folder = tempfile::tempdir().expect("folder");
        let mut pairs = vec![
            ("tokenizer.ggml.tokens", Value::Texts(&self.tokens)),
            ("tokenizer.ggml.token_type", Value::Integers(&self.types)),
            ("tokenizer.ggml.scores", Value::Numbers(&self.scores)),
        ];
        pairs.extend(more);
        Tokenizer::from_file(&gguf(folder.path(), &pairs))
    }
}

#[test]
fn gemma_merges_in_the_order_of_the_tokens_and_runs_of_spaces_are_marks() {
    let pieces: Pieces = json("gemma.json");
    let tokenizer = pieces
        .open(vec![
            ("general.architecture", Value::Text("gemma3")),
            ("tokenizer.ggml.model", Value::Text("llama")),
        ])
        .expect("opens");
    check(&tokenizer, &pieces.lines, &pieces.ids, "gemma");
    assert!(!tokenizer.vocab().adds_space());
}

#[test]
fn unigram_takes_the_most_probable_pieces() {
    let pieces: Pieces = json("unigram.json");
    let model = || {
        vec![
            ("general.architecture", Value::Text("t5")),
            ("tokenizer.ggml.model", Value::Text("t5")),
            ("tokenizer.ggml.unknown_token_id", Value::Id(0)),
            ("tokenizer.ggml.eos_token_id", Value::Id(2)),
            ("tokenizer.ggml.remove_extra_whitespaces", Value::Flag(true)),
        ]
    };
    let mut pairs = model();
    pairs.push(("tokenizer.ggml.precompiled_charsmap", Value::Bytes(&pieces.charsmap)));
    let tokenizer = pieces.open(pairs).expect("opens");
    check(&tokenizer, &pieces.lines, &pieces.ids, "unigram");
    assert_eq!(tokenizer.encode("a", true).expect("encodes").last(), Some(&2), "T5 ends every text");
    // A table that points outside itself would make the library panic.
    let mut pairs = model();
    let broken: Vec<u8> = pieces.charsmap.iter().map(|byte| byte ^ 0x55).collect();
    pairs.push(("tokenizer.ggml.precompiled_charsmap", Value::Bytes(&broken)));
    pieces.open(pairs).expect_err("broken");
}

#[test]
fn broken_lists_are_errors_that_name_the_key() {
    let fixture: ByteLevel = json("byte_level.json");
    let reason = |fixture: &ByteLevel, more| {
        let error = fixture.open("gpt-2", more).expect_err("broken");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    };
    let says = |text: String, part: &str| assert!(text.contains(part), "{text:?} says {part:?}");
    let short = [1; 3];
    says(reason(&fixture, vec![("tokenizer.ggml.token_type", Value::Integers(&short))]), "token_type");
    let mut types = vec![1; fixture.tokens.len()];
    types[7] = 9;
    says(
        reason(&fixture, vec![("tokenizer.ggml.token_type", Value::Integers(&types))]),
        "token 7 has type 9",
    );
    let nan = vec![f32::NAN; fixture.tokens.len()];
    says(reason(&fixture, vec![("tokenizer.ggml.scores", Value::Numbers(&nan))]), "score");
    says(reason(&fixture, vec![("tokenizer.ggml.eos_token_id", Value::Id(1 << 30))]), "eos_token_id");
    says(reason(&fixture, vec![("tokenizer.ggml.add_bos_token", Value::Flag(true))]), "bos_token_id");
    says(reason(&fixture, vec![("tokenizer.ggml.add_bos_token", Value::Id(1))]), "add_bos_token");

    let with = |tokens: &[&str], merges: &[&str]| {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let all = |own: Vec<String>, of: &[String]| [of, &own].concat();
        ByteLevel {
            tokens: all(own(tokens), &fixture.tokens),
            merges: all(own(merges), &fixture.merges),
            lines: Vec::new(),
            ids: BTreeMap::new(),
        }
    };
    says(reason(&with(&["Ġ"], &[]), Vec::new()), "expected every token once");
    says(reason(&with(&[], &["nothing here"]), Vec::new()), "nothing");
    says(reason(&with(&[], &["one"]), Vec::new()), "merge");
    says(reason(&with(&[], &["Ġ Q"]), Vec::new()), "ĠQ");
    says(reason(&with(&[&"x".repeat(1 << 15)], &[]), Vec::new()), "bytes");
    let empty = ByteLevel { tokens: Vec::new(), merges: Vec::new(), lines: Vec::new(), ids: BTreeMap::new() };
    says(reason(&empty, Vec::new()), "0 tokens");
}

/// Writes a tokenizer into a GGUF file and reads it back, with the metadata of the file.
fn written(texts: &GgufTexts<'_>, folder: &Path) -> Result<(Tokenizer, Gguf), GgufTokenizerError> {
    let mut metadata = MetadataWriter::new();
    metadata.text("general.architecture", texts.architecture);
    let notes = texts.write(&mut metadata)?;
    assert!(notes.is_empty(), "{notes:?}");
    let path = folder.join("written.gguf");
    write_gguf(&path, &metadata, &[], |_, _| Ok(()), |_| Ok(())).expect("writes");
    Ok((Tokenizer::from_file(&path).expect("reads"), Gguf::open(&path).expect("opens")))
}

fn texts<'a>(tokenizer: &'a Tokenizer, architecture: &'a str) -> GgufTexts<'a> {
    let vocab_size = tokenizer.vocab().size() + 3;
    GgufTexts { tokenizer, vocab_size, architecture, ends: &[], template: None, tool_template: None }
}

#[test]
fn written_pre_tokenizers_have_a_name_and_read_alike() {
    let fixture: ByteLevel = json("byte_level.json");
    let folder = tempfile::tempdir().expect("folder");
    for (pre, ids) in &fixture.ids {
        let tokenizer = fixture.open(pre, Vec::new()).expect("opens");
        let (again, gguf) = written(&texts(&tokenizer, "llama"), folder.path()).expect("writes");
        check(&again, &fixture.lines, ids, pre);
        let name = gguf.metadata().text("tokenizer.ggml.pre").expect("a name").to_owned();
        // GLM 4 and Llama 3 have the same stages: the first name is written.
        assert_eq!(if pre == "glm4" { "llama-bpe" } else { pre }, name);
        assert_eq!(again.vocab().fingerprint(), tokenizer.vocab().fingerprint());
        let tokens = gguf.metadata().opt_array("tokenizer.ggml.tokens").expect("a list").expect("tokens");
        assert_eq!(tokens.len(), tokenizer.vocab().size() + 3, "a token for each logit");
    }
}

#[test]
fn written_sentencepiece_has_scores_that_bring_its_merges_back() {
    let golden: Lines = json("sentencepiece.json");
    let tokenizer = Tokenizer::from_file(&fixture("sentencepiece.gguf")).expect("reads");
    let folder = tempfile::tempdir().expect("folder");
    let turn = tokenizer.token_to_id("<|turn|>").expect("a token");
    let texts = GgufTexts { ends: &[2, turn], template: Some("{{ 1 }}"), ..texts(&tokenizer, "llama") };
    let (again, gguf) = written(&texts, folder.path()).expect("writes");
    check(&again, &golden.lines, &golden.ids, "written");
    assert_eq!(again.encode("a", true).expect("encodes")[0], 1, "the beginning of a text");
    assert_eq!(again.vocab().fingerprint(), tokenizer.vocab().fingerprint());
    let metadata = gguf.metadata();
    assert!(!metadata.has("tokenizer.ggml.merges"), "the scores say it all");
    assert_eq!(metadata.get("tokenizer.ggml.eot_token_id"), Some(MetadataValue::Integer(turn.into())));
    assert_eq!(metadata.text("tokenizer.chat_template").expect("a template"), "{{ 1 }}");

    let pieces: Pieces = json("gemma.json");
    let model =
        vec![("general.architecture", Value::Text("gemma3")), ("tokenizer.ggml.model", Value::Text("llama"))];
    let gemma = pieces.open(model).expect("opens");
    let (again, _) = written(&self::texts(&gemma, "gemma3"), folder.path()).expect("writes");
    check(&again, &pieces.lines, &pieces.ids, "written gemma");
}

/// A tokenizer whose `tokenizer.json` is that of another, changed.
fn changed(tokenizer: &Tokenizer, folder: &Path, change: impl Fn(&mut serde_json::Value)) -> PathBuf {
    let mut json = serde_json::from_str(&tokenizer.to_json().expect("json")).expect("json");
    change(&mut json);
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, json.to_string()).expect("writes");
    path
}

#[test]
fn tokenizers_without_a_name_are_refused() {
    let fixture: ByteLevel = json("byte_level.json");
    let qwen = fixture.open("qwen2", Vec::new()).expect("opens");
    let folder = tempfile::tempdir().expect("folder");
    let refusal = |path: &Path| {
        let tokenizer = Tokenizer::from_file(path).expect("reads");
        written(&texts(&tokenizer, "llama"), folder.path()).expect_err("refused").to_string()
    };
    let text = refusal(&changed(&qwen, folder.path(), |json| {
        json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "x+".into();
    }));
    assert!(text.contains("the pre-tokenizer is") && text.contains("x+") && text.contains("qwen2"), "{text}");
    let text = refusal(&changed(&qwen, folder.path(), |json| {
        json["normalizer"] = serde_json::json!({"type": "Lowercase"});
    }));
    assert!(text.contains("Lowercase"), "{text}");
    // Trained without SentencePiece's rule that all neighbours merge which make a token.
    let other =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/metaspace/tokenizer.json");
    let text = refusal(&other);
    assert!(text.contains("are not merged"), "{text}");
}

#[test]
fn a_tokenizer_beside_the_file_is_read_if_its_tokens_are_the_same() {
    let fixture: ByteLevel = json("byte_level.json");
    let folder = tempfile::tempdir().expect("folder");
    let pairs = |pre| {
        [
            ("general.architecture", Value::Text("llama")),
            ("tokenizer.ggml.model", Value::Text("gpt2")),
            ("tokenizer.ggml.pre", Value::Text(pre)),
            ("tokenizer.ggml.tokens", Value::Texts(&fixture.tokens)),
            ("tokenizer.ggml.merges", Value::Texts(&fixture.merges)),
        ]
    };
    let qwen = fixture.open("qwen2", Vec::new()).expect("opens");
    changed(&qwen, folder.path(), |_| {});
    let unknown =
        Tokenizer::from_file(&gguf(folder.path(), &pairs("kimi-k2"))).expect("reads the one beside");
    check(&unknown, &fixture.lines, &fixture.ids["qwen2"], "beside");

    // Two tokens with the ids of each other: the tokenizer of the file stays.
    changed(&qwen, folder.path(), |json| {
        let (a, b) = (json["model"]["vocab"]["!"].clone(), json["model"]["vocab"]["A"].clone());
        json["model"]["vocab"]["!"] = b;
        json["model"]["vocab"]["A"] = a;
    });
    let own = Tokenizer::from_file(&gguf(folder.path(), &pairs("gpt-2"))).expect("reads its own");
    check(&own, &fixture.lines, &fixture.ids["gpt-2"], "own");
    Tokenizer::from_file(&gguf(folder.path(), &pairs("kimi-k2"))).expect_err("neither");
}
