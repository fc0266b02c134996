//! Low-rank adapters against PEFT, on what `fixtures/make_adapter_fixture.py` made.

mod gradient_net;

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use gradient_net::{assert_gradients, gradient_net};
use ivl_core::tokens::token_tensor;
use ivl_models::transformer::Projection;
use ivl_models::{Adapters, Checkpoint, Error, PackedFormat, Transformer, save_adapters};
use safetensors::SafeTensors;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn net(name: &str) -> Transformer {
    Checkpoint::open(&fixture(name)).expect("opens").load(&Device::flex(), DType::F32).expect("loads")
}

fn logits(net: &Transformer, ids: &[u32]) -> Vec<f32> {
    let tokens = token_tensor(ids, 1, &net.device());
    net.forward(tokens, &mut net.new_cache(&[0])).into_data().try_into_vec().expect("f32")
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn logits_are_those_of_peft_and_saving_keeps_every_number() {
    use Projection::*;
    check("adapter", "llama3", (3, 12.0), &[Query, Value, Down]);
    // PEFT's `all-linear`.
    let attention = [Query, Key, Value, Output, Gate, Up, Down];
    let delta = [DeltaMixed, DeltaGate, DeltaForget, DeltaStrength, DeltaOutput];
    check("adapter_qwen3_5", "qwen3_5_text", (2, 4.0), &[attention.as_slice(), &delta].concat());
    let convolution = [ConvolutionInput, ConvolutionOutput];
    check("adapter_lfm2", "lfm2", (2, 4.0), &[attention.as_slice(), &convolution].concat());
    // A last norm of their own, which ivl does not train.
    let with_norm = check_logits("adapter_norm", "llama3", (3, 12.0), &[Query, Value, Down]);
    assert!(with_norm.norm);
}

#[track_caller]
fn check(name: &str, base: &str, shape: (usize, f64), targets: &[Projection]) {
    let adapters = check_logits(name, base, shape, targets);
    assert!(!adapters.norm);
    check_gradients(name, &adapters);
}

#[track_caller]
fn check_logits(name: &str, base: &str, (rank, alpha): (usize, f64), targets: &[Projection]) -> Adapters {
    let checkpoint = Checkpoint::open(&fixture(name)).expect("opens");
    let adapters = checkpoint.adapters().expect("reads").expect("are there");
    assert_eq!((adapters.base.as_str(), adapters.config.rank, adapters.config.alpha), (base, rank, alpha));
    assert_eq!(adapters.config.targets, targets);
    let adapted = checkpoint.load_adapters(net(base), &adapters).expect("loads");

    let golden = golden(name);
    let golden = SafeTensors::deserialize(&golden).expect("safetensors");
    let ids = ids(&golden);
    let expected: Vec<f32> = golden
        .tensor("logits")
        .expect("logits")
        .data()
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().expect("four")))
        .collect();
    assert!(worst(&logits(&adapted, &ids), &expected) < 1e-4);
    assert!(worst(&logits(&net(base), &ids), &expected) > 0.1, "the adapters do something");
    assert!(worst(&logits(&adapted.clone().merged(), &ids), &expected) < 1e-4);
    assert!(worst(&logits(&adapted.clone().packed(PackedFormat::F32), &ids), &expected) < 1e-4);
    // As a model is opened: the weights are packed before their adapters come, which are kept in as many bits. These are larger than
    // the weights, and so is what rounding them does.
    let largest = expected.iter().fold(0.0, |largest: f32, logit| largest.max(logit.abs()));
    for (format, tolerance) in [(PackedFormat::F32, 1e-4), (PackedFormat::F16, 0.02 * largest)] {
        let packed = checkpoint.load_adapters(net(base).packed(format), &adapters).expect("loads");
        for net in [packed.clone(), packed.merged()] {
            let error = worst(&logits(&net, &ids), &expected);
            assert!(error < tolerance, "{name} in {format:?}: {error} of {largest}");
        }
    }

    let dir = tempfile::tempdir().expect("dir");
    save_adapters(&adapted, &adapters.config, base, checkpoint.json(), dir.path()).expect("saves");
    let read = |path: PathBuf| std::fs::read(path.join("adapter_model.safetensors")).expect("reads");
    let (theirs, ours) = (read(fixture(name)), read(dir.path().to_owned()));
    let (theirs, ours) =
        (SafeTensors::deserialize(&theirs).expect("theirs"), SafeTensors::deserialize(&ours).expect("ours"));
    assert_eq!(theirs.len(), ours.len());
    for (name, view) in theirs.iter() {
        let other = ours.tensor(name).expect(name);
        assert_eq!((view.shape(), view.data()), (other.shape(), other.data()), "{name}");
    }
    let again = Checkpoint::open(dir.path()).expect("opens").adapters().expect("reads").expect("are there");
    assert_eq!((&again.config, again.norm), (&adapters.config, adapters.norm));
    adapters
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name).join("logits.safetensors")).expect("golden")
}

fn ids(golden: &SafeTensors<'_>) -> Vec<u32> {
    golden.tensor("ids").expect("ids").data().chunks(8).map(|b| u32::from(b[0])).collect()
}

/// The gradients of the logits weighted by cosines are those of PyTorch: adapters of gradients are saved, under PEFT's names.
fn check_gradients(name: &str, adapters: &Adapters) {
    let checkpoint = Checkpoint::open(&fixture(name)).expect("opens");
    let golden = golden(name);
    let golden = SafeTensors::deserialize(&golden).expect("safetensors");
    let base = Checkpoint::open(&fixture(&adapters.base)).expect("opens");
    let net = base.load(&Device::flex().autodiff(), DType::F32).expect("loads");
    let net = checkpoint.load_adapters(net, adapters).expect("loads");
    let dir = tempfile::tempdir().expect("dir");
    let gradients = gradient_net(&net, &ids(&golden));
    save_adapters(&gradients, &adapters.config, "", checkpoint.json(), dir.path()).expect("saves");
    let compared = assert_gradients(&dir.path().join("adapter_model.safetensors"), |tensor| {
        golden.tensor(&format!("gradient.{tensor}")).expect(tensor).data().to_vec()
    });
    assert!(compared > 0);
}

#[test]
fn a_scaled_norm_scales_the_logits_in_every_formula() {
    let ids = [5, 9, 3, 7];
    for name in ["llama3", "gemma", "gpt2"] {
        let whole = logits(&net(name), &ids);
        let scaled = logits(&net(name).with_scaled_norm(0.1), &ids);
        let expected: Vec<f32> = whole.iter().map(|logit| 0.1 * logit).collect();
        assert!(worst(&scaled, &expected) < 1e-5, "{name}: {}", worst(&scaled, &expected));
        assert!(worst(&whole, &scaled) > 0.05, "{name} has logits");
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused_with_what_does_not() {
    let checkpoint = Checkpoint::open(&fixture("adapter")).expect("opens");
    let adapters = checkpoint.adapters().expect("reads").expect("are there");
    let other = checkpoint.load_adapters(net("llama2"), &adapters).expect_err("another shape");
    assert!(matches!(other, Error::InvalidField { .. }), "{other}");
    let mut wider = adapters.clone();
    wider.config.rank = 5;
    let error = checkpoint.load_adapters(net("llama3"), &wider).expect_err("another rank");
    assert!(error.to_string().contains("of another shape"), "{error}");
    let mut with_norm = adapters.clone();
    with_norm.norm = true;
    let error = checkpoint.load_adapters(net("llama3"), &with_norm).expect_err("no norm in the file");
    assert!(error.to_string().contains("base_model.model.model.norm.weight"), "{error}");
    let mut fewer = adapters;
    fewer.config.targets.truncate(1);
    let error = checkpoint.load_adapters(net("llama3"), &fewer).expect_err("unused tensors");
    assert!(error.to_string().contains("not used"), "{error}");
    // A family that fuses its projections has no place for an adapter of one of them.
    let fused = Checkpoint::open(&fixture("phi3")).expect("opens");
    let adapted = net("phi3").with_lora(&wider.config, 1);
    let dir = tempfile::tempdir().expect("dir");
    let error = save_adapters(&adapted, &wider.config, "phi3", fused.json(), dir.path()).expect_err("fused");
    assert!(matches!(error, Error::FusedAdapter { .. }), "{error}");
}
