//! Maps as files: written and read, foreign and broken ones refused.

use std::collections::HashMap;

use ivl_align::{Alignment, Error, MapFile, Method, align};
use ivl_core::Vocab;
use ivl_core::vocab::Token;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};

fn vocab(tokens: &[&str]) -> Vocab {
    Vocab::new(tokens.iter().map(|token| Some(Token::text(token.as_bytes()))).collect())
}

fn alignment() -> (Vocab, Vocab, Alignment) {
    let (base, value) = (vocab(&["a", "bc", "q"]), vocab(&["b", "a"]));
    let alignment = align(&base, &value, Method::Hybrid, None, &|_| ()).expect("aligns");
    (base, value, alignment)
}

#[test]
fn a_map_comes_back_as_it_was_with_and_without_weights() {
    let (base, value, mut alignment) = alignment();
    for weights in [None, Some(vec![0.25, 1.0, 0.0])] {
        if let Some(weights) = weights {
            alignment.map = alignment.map.with_weights(weights).expect("finite");
        }
        let file = MapFile::new(&alignment);
        let read = MapFile::from_bytes(&file.to_bytes().expect("writes")).expect("reads");
        assert_eq!(read, file);
        assert_eq!((read.method, &read.coverage), (Method::Hybrid, &alignment.coverage));
        assert_eq!(read.map(&base, &value).expect("fits"), alignment.map);
        // Checkpoints pad the same vocabulary to other sizes.
        let padded = read.map(&base.clone().padded_to(8), &value.clone().padded_to(4)).expect("fits");
        assert_eq!(padded.value_ids()[..3], *alignment.map.value_ids());
        assert_eq!(padded.without_value(), [2, 3, 4, 5, 6, 7]);
    }
}

#[test]
fn a_map_of_another_pair_is_refused() {
    let (base, value, alignment) = alignment();
    let file = MapFile::new(&alignment);
    for (b, v, side) in [(&value, &value, "base"), (&base, &base, "value"), (&value, &base, "base")] {
        let error = file.map(b, v).expect_err("refused");
        assert!(error.to_string().contains(&format!("made for {side} vocabulary")), "{error}");
    }
}

/// A file with an I32 list and the given metadata.
fn file(ids: &[i32], dtype: Dtype, metadata: &[(&str, &str)]) -> Vec<u8> {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let view = TensorView::new(dtype, vec![ids.len()], &bytes).expect("fits");
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    serialize([("value_of_base", view)], Some(metadata)).expect("writes")
}

#[test]
fn broken_files_are_named() {
    let (base, value, alignment) = alignment();
    let good = MapFile::new(&alignment).to_bytes().expect("writes");
    assert!(matches!(MapFile::from_bytes(b"no map"), Err(Error::NotSafetensors { got: 6, .. })));
    assert!(matches!(MapFile::from_bytes(&good[..good.len() - 1]), Err(Error::NotSafetensors { .. })));

    let coverage = serde_json::to_string(&alignment.coverage).expect("JSON");
    let (print, other) = alignment.map.fingerprints();
    let all = [
        ("format", "ivl-map-1"),
        ("base_fingerprint", print),
        ("value_fingerprint", other),
        ("method", "hybrid"),
        ("coverage", &coverage),
    ];
    let with = |what: &str, value: Option<&str>| -> Result<MapFile, Error> {
        let changed = all.iter().filter_map(|&(key, old)| match (key == what, value) {
            (true, None) => None,
            (true, Some(new)) => Some((key, new)),
            (false, _) => Some((key, old)),
        });
        MapFile::from_bytes(&file(&[1, -1, 0], Dtype::I32, &changed.collect::<Vec<_>>()))
    };
    assert!(with("", None).is_ok());
    for (what, value) in [
        ("format", None),
        ("format", Some("ivl-map-9")),
        ("base_fingerprint", None),
        ("value_fingerprint", None),
        ("method", Some("guess")),
        ("coverage", Some("{}")),
    ] {
        match with(what, value) {
            Err(Error::Malformed { what: named, .. }) => assert_eq!(named, what),
            other => panic!("{what} {value:?}: {other:?}"),
        }
    }
    let floats = MapFile::from_bytes(&file(&[1], Dtype::F32, &all));
    assert!(matches!(floats, Err(Error::Malformed { what: "value_of_base", .. })));
    // Ids that the value does not have, in a file that claims to be of this pair.
    let outside = MapFile::from_bytes(&file(&[1, 2, 9], Dtype::I32, &all)).expect("a map");
    assert!(matches!(outside.map(&base, &value), Err(Error::Map(ivl_core::Error::TokenOutOfRange { .. }))));
}
