//! GGUF files as containers: one written by the Python package `gguf`, and faults put together by hand.

use std::path::{Path, PathBuf};

use ivl_models::Error;
use ivl_models::gguf::{Gguf, GgufType, MetadataValue, MetadataWriter, NewTensor, write_gguf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name)
}

#[test]
fn every_kind_of_value_and_tensor_reads_as_the_python_package_wrote_it() {
    let file = Gguf::open(&fixture("container.gguf")).expect("opens");
    let metadata = file.metadata();
    let expected = std::fs::read(fixture("container.json")).expect("reads");
    let expected: serde_json::Value = serde_json::from_slice(&expected).expect("JSON");
    for (key, value) in expected["metadata"].as_object().expect("an object") {
        let got = metadata.get(key).map(to_json);
        assert_eq!(got.as_ref(), Some(value), "{key}");
    }
    let tensors = expected["tensors"].as_object().expect("an object");
    assert_eq!(file.tensor_names().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
    for (name, expected) in tensors {
        let tensor = file.tensor(name).expect("is there");
        assert_eq!(tensor.kind.name(), expected["type"], "{name}");
        assert_eq!(serde_json::json!(tensor.shape), expected["shape"], "{name}");
        assert_eq!(tensor.bytes, bytes(expected["bytes"].as_str().expect("a text")), "{name}");
    }
    // Lists as numbers of one type, unchanged.
    assert_eq!(
        metadata.opt_floats("list.f32").expect("floats").expect("is there").collect::<Vec<f32>>(),
        [0.1, -1000.0, 3.5e-7]
    );
    assert_eq!(metadata.opt_integers("list.i32").expect("integers").expect("is there").sum::<i64>(), -2);
    assert!(metadata.opt_texts("list.i32").is_err() && metadata.opt_floats("list.text").is_err());
    assert_eq!(GgufType::from_name("q4_k"), Some(GgufType::Q4_K));
}

#[test]
fn every_kind_of_value_is_copied_unchanged() {
    let source = Gguf::open(&fixture("container.gguf")).expect("opens");
    let mut writer = MetadataWriter::new();
    for key in source.metadata().keys() {
        writer.copy(source.metadata(), key);
    }
    writer.copy(source.metadata(), "no.such.key");
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("copy.gguf");
    write_gguf(&path, &writer, &[], |_, _| Ok(()), |_| Ok(())).expect("writes");
    let copy = Gguf::open(&path).expect("opens");
    assert_eq!(copy.metadata().keys().collect::<Vec<_>>(), source.metadata().keys().collect::<Vec<_>>());
    for key in source.metadata().keys() {
        assert_eq!(copy.metadata().get(key), source.metadata().get(key), "{key}");
    }
}

fn to_json(value: MetadataValue<'_>) -> serde_json::Value {
    match value {
        MetadataValue::Integer(integer) => match u64::try_from(integer) {
            Ok(natural) => natural.into(),
            Err(_) => i64::try_from(integer).expect("64 bits").into(),
        },
        MetadataValue::Number(number) => number.into(),
        MetadataValue::Flag(flag) => flag.into(),
        MetadataValue::Text(text) => text.into(),
        MetadataValue::Array(array) => array.iter().map(to_json).collect(),
    }
}

/// The bytes of hexadecimal digits.
fn bytes(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn parts_are_found_beside_the_first() {
    let whole = Gguf::open(&fixture("container.gguf")).expect("opens");
    let parts = Gguf::open(&fixture("parts-00001-of-00002.gguf")).expect("opens");
    assert_eq!(parts.files().count(), 2);
    for name in whole.tensor_names() {
        let [one, other] = [&whole, &parts].map(|model| model.tensor(name).expect("is there").bytes.to_vec());
        assert_eq!(one, other, "{name}");
    }
    let later = error(&fixture("parts-00002-of-00002.gguf"));
    assert!(later.contains("part 2 of 2") && later.contains("`parts-00001-of-00002.gguf`"), "{later}");

    let dir = tempfile::tempdir().expect("a directory");
    let copy = |from: &str, to: &str| {
        std::fs::copy(fixture(from), dir.path().join(to)).expect("copies");
        dir.path().join(to)
    };
    let renamed = error(&copy("parts-00001-of-00002.gguf", "model.gguf"));
    assert!(renamed.contains("-00001-of-00002.gguf"), "{renamed}");
    let first = copy("parts-00001-of-00002.gguf", "m-00001-of-00002.gguf");
    assert!(error(&first).contains("m-00002-of-00002.gguf"));
    copy("container.gguf", "m-00002-of-00002.gguf");
    let wrong = error(&first);
    assert!(wrong.contains("part 1 of 1") && wrong.contains("part 2 of 2"), "{wrong}");
}

/// A file from its pieces.
#[derive(Clone, Default)]
struct Draft {
    bytes: Vec<u8>,
}

impl Draft {
    fn header(tensors: u64, keys: u64) -> Self {
        Self::default().raw(b"GGUF").u32(3).u64(tensors).u64(keys)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    fn u32(self, number: u32) -> Self {
        self.raw(&number.to_le_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.raw(&number.to_le_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    fn tensor(self, name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Self {
        let draft = self.text(name).u32(dimensions.len() as u32);
        dimensions.iter().fold(draft, |draft, &size| draft.u64(size)).u32(kind).u64(offset)
    }

    /// Ends the header and adds bytes of tensors.
    fn data(mut self, len: usize) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(32) + len, 0);
        self
    }
}

/// The error of a file, with its cause.
fn error(path: &Path) -> String {
    let error = Gguf::open(path).expect_err("is refused");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

fn error_of(draft: &Draft) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, &draft.bytes).expect("writes");
    error(&path)
}

#[test]
fn broken_headers_are_refused_with_the_place_and_the_bound() {
    let tensor = |dimensions: &[u64], kind, offset| {
        Draft::header(1, 0).tensor("a", dimensions, kind, offset).data(1 << 12)
    };
    let key = |kind: u32| Draft::header(0, 1).text("k").u32(kind);
    let cases = [
        (Draft::default(), "inside the magic"),
        (Draft::default().raw(b"PK\x03\x04"), "begins with \"PK\\u{3}\\u{4}\", expected the bytes `GGUF`"),
        (Draft::default().raw(b"GGUF").u32(1), "version 1 of the format, expected 2 or 3"),
        (Draft::default().raw(b"GGUF").u32(3u32.swap_bytes()), "big-endian"),
        (Draft::header(u64::MAX, 0), "the number of tensors is 18446744073709551615"),
        (Draft::header(0, u64::MAX), "the number of metadata keys is 18446744073709551615"),
        (Draft::header(0, 2), "inside a key of the metadata"),
        (Draft::header(0, 1).u64(u64::MAX), "the length of a key of the metadata is 18446744073709551615"),
        (Draft::header(0, 1).u64(1).raw(b"\xff"), "a key of the metadata at byte 32 is not UTF-8"),
        (key(13), "the metadata `k` has type 13, expected a type from 0 to 12"),
        (key(8).u64(1 << 40), "the length of the metadata `k` is 1099511627776"),
        (key(8).u64(4).raw(b"abc"), "4 bytes are needed at byte 45, 3 are left"),
        (key(9).u32(9).u64(1), "`k` is an array of arrays"),
        (key(9).u32(0).u64(u64::MAX), "the length of the array `k` is 18446744073709551615"),
        (key(9).u32(12).u64(1 << 20), "8388608 bytes are needed"),
        (key(9).u32(8).u64(1 << 24), "inside the metadata `k`"),
        (
            Draft::header(0, 2).text("k").u32(7).raw(b"\0").text("k").u32(7).raw(b"\0"),
            "the metadata `k` occurs twice",
        ),
        (Draft::header(0, 1).text("general.alignment").u32(4).u32(24), "is 24, expected a power of two"),
        (tensor(&[1, 1, 1, 1, 1], 0, 0), "the number of dimensions of tensor `a` is 5"),
        (tensor(&[4, 0], 0, 0), "has the dimensions [4, 0], expected sizes above 0"),
        (tensor(&[1 << 40, 1 << 40], 0, 0), "at most 281474976710656 elements"),
        (tensor(&[33, 2], 2, 0), "a first dimension that is a multiple of 32, the block of Q4_0"),
        (tensor(&[4], 5, 0), "type 5, which was removed from the format"),
        (tensor(&[4], 999, 0), "type 999, which ivl does not know"),
        (tensor(&[4], 0, 8), "begins at offset 8, expected a multiple of the alignment 32"),
        (tensor(&[4], 0, u64::MAX - 31), "inside tensor `a`"),
        (tensor(&[1 << 30], 0, 0), "inside tensor `a`: 4294967296 bytes are needed"),
        (
            Draft::header(2, 0).tensor("a", &[16], 0, 0).tensor("b", &[4], 0, 32).data(64),
            "tensors `a` and `b` overlap",
        ),
        (
            Draft::header(2, 0).tensor("a", &[4], 0, 0).tensor("a", &[4], 0, 32).data(64),
            "tensor `a` occurs twice",
        ),
    ];
    for (draft, expected) in cases {
        let message = error_of(&draft);
        assert!(message.contains("model.gguf") && message.contains(expected), "{expected}: {message}");
    }
    let empty = Draft::header(0, 0);
    assert!(error_of(&Draft { bytes: empty.bytes[..20].to_vec() }).contains("it ends inside"));
}

#[test]
fn a_tensor_reads_where_the_table_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("model.gguf");
    let mut draft = Draft::header(2, 0).tensor("b", &[2], 24, 32).tensor("a", &[3, 2], 24, 0).data(34);
    let end = draft.bytes.len();
    draft.bytes[end - 2..].copy_from_slice(&[7, 8]);
    std::fs::write(&path, &draft.bytes).expect("writes");
    let file = Gguf::open(&path).expect("opens");
    assert_eq!(file.tensor("a").expect("is there").shape, [2, 3]);
    assert_eq!(file.tensor("b").expect("is there").bytes, [7, 8]);
    assert!(file.tensor("c").is_none());
    let missing = file.metadata().size("llama.block_count").expect_err("is absent");
    assert!(matches!(missing, Error::MissingField { .. }), "{missing}");
}

#[test]
fn a_file_that_is_written_reads_again_and_a_refused_one_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("model.gguf");
    let mut metadata = MetadataWriter::new();
    metadata.text("general.architecture", "a");
    metadata.size("a.size", 7);
    metadata.number("a.number", 1e-6);
    metadata.flag("a.flag", true);
    metadata.texts("a.texts", &["", "\u{120}b"]);
    metadata.integers("a.integers", &[-1, 2]);
    metadata.numbers("a.numbers", &[0.5]);
    let tensor = |name: &str, shape: &[usize]| NewTensor {
        name: name.to_owned(),
        kind: GgufType::F32,
        shape: shape.to_vec(),
    };
    let tensors = [tensor("b", &[2, 3]), tensor("a", &[5])];
    let numbers =
        |index: usize| -> Vec<u8> { (0..tensors[index].size()).map(|at| (at + 100 * index) as u8).collect() };
    let mut write = |index: usize, file: &mut dyn std::io::Write| file.write_all(&numbers(index));
    let refused = write_gguf(&path, &metadata, &tensors, &mut write, |_| Err(std::io::Error::other("no")));
    assert!(refused.is_err() && std::fs::read_dir(dir.path()).expect("lists").next().is_none());
    write_gguf(&path, &metadata, &tensors, &mut write, |partial| {
        Gguf::open(partial).map(drop).map_err(std::io::Error::other)
    })
    .expect("writes");
    let file = Gguf::open(&path).expect("opens");
    for (index, tensor) in tensors.iter().enumerate() {
        let found = file.tensor(&tensor.name).expect("is there");
        assert_eq!((found.shape, found.bytes), (tensor.shape.as_slice(), numbers(index).as_slice()));
    }
    let metadata = file.metadata();
    assert_eq!((metadata.size("a.size").ok(), metadata.number("a.number").ok()), (Some(7), Some(1e-6)));
    assert_eq!(metadata.opt_flag("a.flag").expect("a flag"), Some(true));
    let texts: Vec<&str> = metadata.opt_texts("a.texts").expect("texts").expect("is there").collect();
    assert_eq!(texts, ["", "\u{120}b"]);
    let integers: Vec<i64> =
        metadata.opt_integers("a.integers").expect("integers").expect("is there").collect();
    assert_eq!(integers, [-1, 2]);
}
