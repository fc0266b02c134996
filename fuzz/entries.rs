//! Fuzz entries: everything that reads a user's bytes. Each entry takes bytes, must return, and checks what it was
//! promised.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ivl_align::MapFile;
use ivl_core::Vocab;
use ivl_models::families::read_config;
use ivl_models::gguf::{Gguf, MetadataValue};
use ivl_models::{ChatTemplate, Message, RenderOptions, SamplingDefaults, TensorFiles, Tokenizer};
use ivl_serve::{Catalog, ServedBase, ServedValue, Settings, fuzz_request};

const CONTEXT: usize = 256;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("examples/first-value/large"))
        .find(|dir| dir.is_dir())
        .expect("the repository")
}

fn tokenizer_of_example() -> Tokenizer {
    Tokenizer::from_file(&example().join("tokenizer.json")).expect("reads")
}

fn vocab() -> &'static Vocab {
    static VOCAB: OnceLock<Vocab> = OnceLock::new();
    VOCAB.get_or_init(|| tokenizer_of_example().vocab())
}

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("chat_template.jinja");
        std::fs::write(&path, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
            .expect("writes");
        let base = ServedBase {
            id: "base".to_owned(),
            tokenizer: tokenizer_of_example(),
            template: Some(ChatTemplate::from_file(&path).expect("compiles")),
            end_tokens: vec![1],
            sampling: SamplingDefaults::default(),
        };
        let value = ServedValue { id: "value".to_owned(), alpha: 1.0, template: None, cross_tokenizer: None };
        Catalog::new(base, vec![value], vocab(), CONTEXT).expect("two names")
    })
}

/// A body of either kind of completion: an error that names something, or a request within every limit.
pub fn request(data: &[u8]) {
    fuzz_request(data, catalog(), &Settings::default());
}

/// A `config.json`.
pub fn config(data: &[u8]) {
    let Ok(serde_json::Value::Object(json)) = serde_json::from_slice(data) else { return };
    if let Ok((_, config)) = read_config(&json, "config.json".as_ref()) {
        assert!(config.vocab_size > 0 && config.hidden_size > 0 && config.attention.num_heads > 0);
    }
}

/// A `model.safetensors`.
pub fn weights(data: &[u8]) {
    in_a_file("model.safetensors", data, |path| {
        let _ = TensorFiles::open(path.parent().expect("a directory"));
    });
}

/// A GGUF file: what its header promises can be read.
pub fn gguf(data: &[u8]) {
    in_a_file("model.gguf", data, |path| {
        let Ok(file) = Gguf::open(path) else { return };
        for key in file.metadata().keys() {
            match file.metadata().get(key).expect("is there") {
                MetadataValue::Array(array) => assert_eq!(array.iter().count(), array.len()),
                value => assert!(!format!("{value:?}").is_empty()),
            }
        }
        for name in file.tensor_names() {
            let tensor = file.tensor(name).expect("is there");
            let blocks = tensor.shape.iter().product::<usize>() / tensor.kind.block_elements();
            assert_eq!(tensor.bytes.len(), blocks * tensor.kind.block_bytes());
            assert_eq!(tensor.bytes.to_vec().len(), tensor.bytes.len());
        }
    });
}

/// A map of vocabularies: what is read is written again as it was, and fits the vocabularies that it names or none.
pub fn map(data: &[u8]) {
    let Ok(file) = MapFile::from_bytes(data) else { return };
    let written = file.to_bytes().expect("sizes that were read");
    let again = MapFile::from_bytes(&written).expect("what was written");
    // As text: weights of a file may be no numbers, which are not equal to themselves.
    assert!(format!("{again:?}") == format!("{file:?}"), "a map is read as it was written");
    let vocab = vocab();
    if let Ok(map) = file.map(vocab, vocab) {
        assert!(map.value_ids().iter().flatten().all(|&id| (id as usize) < vocab.size()));
    }
}

/// A `tokenizer.json`.
pub fn tokenizer(data: &[u8]) {
    in_a_file("tokenizer.json", data, |path| {
        if let Ok(tokenizer) = Tokenizer::from_file(path) {
            let _ = tokenizer.encode("a b\u{2603}c</s>", true);
        }
    });
}

/// The tokenizer in the metadata of a GGUF file.
pub fn gguf_tokenizer(data: &[u8]) {
    in_a_file("model.gguf", data, |path| {
        if let Ok(tokenizer) = Tokenizer::from_file(path) {
            let _ = tokenizer.encode("a b\u{2603}c</s>", true);
        }
    });
}

/// A chat template: it may fail, but it ends.
pub fn template(data: &[u8]) {
    in_a_file("chat_template.jinja", data, |path| {
        if let Ok(template) = ChatTemplate::from_file(path) {
            let _ = template.render(
                &[Message::new("user", "a"), Message::new("assistant", "b")],
                &RenderOptions::default(),
            );
        }
    });
}

fn in_a_file(name: &str, data: &[u8], read: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(name);
    std::fs::write(&path, data).expect("writes");
    read(&path);
}
