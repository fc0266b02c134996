//! Files that `torch.save` writes, made by `fixtures/make_pytorch_fixtures.py`.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_models::{Checkpoint, Error, Transformer, weight_files};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn numbers(net: &Transformer) -> Vec<(String, Vec<f32>)> {
    let parameters = net.named_parameters().into_iter();
    parameters
        .map(|parameter| (parameter.path, parameter.tensor.into_data().try_into_vec().expect("f32")))
        .collect()
}

fn load(dir: &Path) -> Result<Transformer, Error> {
    Checkpoint::open(dir)?.load(&Device::flex(), DType::F32)
}

#[test]
fn weights_of_pytorch_are_those_of_safetensors() {
    let expected = numbers(&load(&fixtures().join("llama_f16")).expect("loads"));
    for (name, files) in [("whole", 1), ("parts", 2)] {
        let dir = fixtures().join("pytorch").join(name);
        assert_eq!(numbers(&load(&dir).expect("loads")), expected, "{name}");
        assert_eq!(weight_files(&dir).expect("lists").len(), files);
    }
    let whole = Checkpoint::open(&fixtures().join("pytorch/whole")).expect("opens");
    assert_eq!(whole.notes().expect("reads").len(), 1, "a tensor that is no weight");
}

#[test]
fn safetensors_go_before_files_of_pytorch() {
    let dir = copy_of("llama_f16/model.safetensors", "model.safetensors");
    std::fs::write(dir.path().join("pytorch_model.bin"), "anything").expect("writes");
    load(dir.path()).expect("the other file is not read");
}

/// A directory with the configuration of the fixture, and one file.
fn copy_of(file: &str, name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::copy(fixtures().join("llama_f16/config.json"), dir.path().join("config.json")).expect("copies");
    std::fs::copy(fixtures().join(file), dir.path().join(name)).expect("copies");
    dir
}

fn refusal(dir: &Path) -> String {
    let error = load(dir).expect_err("refused");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

#[test]
fn files_that_are_more_than_tensors_are_refused() {
    for (file, expected) in [
        ("calls.bin", "asks to call `posix.system`"),
        ("strided.bin", "`model.norm.weight` is not stored row by row"),
        ("legacy.bin", "no archive of PyTorch 1.6"),
        ("list.bin", "holds a list, expected a dictionary"),
        ("module.bin", "asks to call"),
    ] {
        let dir = copy_of(&format!("pytorch/refused/{file}"), "pytorch_model.bin");
        let message = refusal(dir.path());
        assert!(message.contains(expected), "{file}: {message}");
    }
}

/// Every file that is cut short or has one byte changed loads or is an error; none is a panic.
#[test]
fn broken_files_are_errors() {
    let whole = std::fs::read(fixtures().join("pytorch/whole/pytorch_model.bin")).expect("reads");
    let dir = copy_of("pytorch/whole/pytorch_model.bin", "pytorch_model.bin");
    let path = dir.path().join("pytorch_model.bin");
    for len in [0, 1, 21, 22, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..len]).expect("writes");
        refusal(dir.path());
    }
    // The pickle is at the beginning, the list of entries at the end.
    let pickled = whole.windows(8).position(|bytes| bytes == b"data.pkl").expect("an entry");
    let places = (pickled..pickled + 6000).step_by(7).chain((whole.len() - 3000..whole.len()).step_by(5));
    for place in places.filter(|&place| place < whole.len()) {
        let mut bytes = whole.clone();
        bytes[place] = bytes[place].wrapping_add(101);
        std::fs::write(&path, &bytes).expect("writes");
        drop(load(dir.path()));
    }
}

#[test]
fn a_tensor_under_two_names_is_an_error_that_names_both() {
    use safetensors::tensor::TensorView;
    let dir = copy_of("llama_f16/config.json", "config.json");
    let bytes = [0; 64];
    let view = || TensorView::new(safetensors::Dtype::F16, vec![32], &bytes).expect("fits");
    let names = ["model.norm.weight", "model.language_model.norm.weight"];
    let tensors = names.map(|name| (name, view()));
    safetensors::serialize_to_file(tensors, None, &dir.path().join("model.safetensors")).expect("writes");
    let message = refusal(dir.path());
    assert!(names.iter().all(|name| message.contains(&format!("`{name}`"))), "{message}");
}
