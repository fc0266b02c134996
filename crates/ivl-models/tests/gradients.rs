//! Gradients by the kernels of the CPU against those of Burn's own operations, for every family.
//!
//! Where activations are recomputed, every operation is Burn's: the same network there is the oracle. Of the newest families, those of
//! PyTorch are an oracle too.

mod gradient_net;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use gradient_net::{assert_gradients, gradient_net};
use ivl_core::tokens::is_host;
use ivl_core::tokens::token_tensor;
use ivl_models::transformer::{LoraConfig, with_gradient};
use ivl_models::{Checkpoint, Transformer, save};
use safetensors::SafeTensors;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Numbers between -1 and 1.
fn some(len: usize) -> Vec<f32> {
    (0..len).map(|index| (index * 7919 % 2003) as f32 / 1001.0 - 1.0).collect()
}

struct Collected<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Collected<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found.insert(self.path.join("."), gradient.into_data().try_into_vec().expect("f32"));
        }
    }
}

/// Gradients of a sum of weighted logits, in two rows of which one is padded; more positions than a tied head reads as few.
fn gradients(net: &Transformer) -> BTreeMap<String, Vec<f32>> {
    let (rows, seq, vocab, device) = (2, 40, net.config().vocab_size, net.device());
    let ids: Vec<u32> = (0..rows * seq).map(|index| (index * 31 % vocab.min(97)) as u32).collect();
    let tokens = token_tensor(&ids, rows, &device);
    let logits = net.forward(tokens, &mut net.new_cache(&[0, 3]));
    let weights = TensorData::new(some(rows * seq * vocab), [rows, seq, vocab]);
    let gradient = |logits: Tensor<3>| {
        assert!(is_host(&logits.device()));
        Tensor::from_data(weights, (&logits.device(), DType::F32))
    };
    // Half of it, so that a factor has to arrive.
    let gradients = (with_gradient(logits, gradient) * 0.5).backward();
    let mut collected = Collected { gradients: &gradients, path: Vec::new(), found: BTreeMap::new() };
    net.visit(&mut collected);
    collected.found
}

/// Largest difference, relative to the largest number of the parameter; to a thousandth of the largest of all at least, for
/// those that are zero but for rounding, as a bias of keys.
#[track_caller]
fn assert_close(what: &str, kernels: &BTreeMap<String, Vec<f32>>, burn: &BTreeMap<String, Vec<f32>>) {
    assert_eq!(kernels.keys().collect::<Vec<_>>(), burn.keys().collect::<Vec<_>>(), "{what}");
    let largest = |numbers: &[f32]| numbers.iter().map(|number| number.abs()).fold(0.0, f32::max);
    let least = burn.values().map(|numbers| largest(numbers)).fold(0.0, f32::max) / 1000.0;
    for (path, burn) in burn {
        let size = largest(burn).max(least);
        let worst = kernels[path].iter().zip(burn).map(|(a, b)| (a - b).abs() / size).fold(0.0, f32::max);
        assert!(worst < 2e-4, "{what}, {path}: differs by {worst}");
    }
}

fn checkpoints() -> Vec<(String, Checkpoint)> {
    let dirs = std::fs::read_dir(fixtures()).expect("fixtures").map(|entry| entry.expect("entry").path());
    let mut found: Vec<_> = dirs
        .filter(|dir| dir.join("config.json").exists() && dir.join("golden.safetensors").exists())
        .map(|dir| {
            let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
            (name, Checkpoint::open(&dir).expect("opens"))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() > 20, "all fixtures");
    found
}

#[test]
fn every_family_has_the_gradients_of_burns_operations() {
    let cpu = Device::flex().autodiff();
    for (name, checkpoint) in checkpoints() {
        let by = |device: &Device| gradients(&checkpoint.load(device, DType::F32).expect("loads"));
        let (kernels, burn) = (by(&cpu), by(&cpu.clone().gradient_checkpointing()));
        assert_close(&name, &kernels, &burn);
        assert!(kernels != burn, "{name}: one way, taken twice");
    }
}

#[test]
fn adapters_have_the_gradients_of_burns_operations() {
    let cpu = Device::flex().autodiff();
    let checkpoint = Checkpoint::open(&fixtures().join("llama2")).expect("opens");
    let by = |device: &Device| {
        let net = checkpoint.load(device, DType::F32).expect("loads");
        let net = net.with_lora(&LoraConfig::new(3), 0);
        let found = gradients(&net);
        assert!(!found.is_empty() && found.keys().all(|path| path.contains("lora")));
        found
    };
    assert_close("adapters", &by(&cpu), &by(&cpu.clone().gradient_checkpointing()));
}

/// The gradient of the logits, weighted by cosines, of every tensor, in PyTorch's layout: a network of gradients is saved.
#[test]
fn gradients_are_those_of_pytorch() {
    for name in ["lfm2", "lfm2_bias", "qwen3_5_text", "qwen3_5", "gemma4_text", "gemma4_moe", "gemma4"] {
        let dir = fixtures().join(name);
        let checkpoint = Checkpoint::open(&dir).expect("opens");
        let golden = std::fs::read(dir.join("golden.safetensors")).expect("reads");
        let golden = SafeTensors::deserialize(&golden).expect("safetensors");
        let ids = golden.tensor("long_ids").or_else(|_| golden.tensor("ids")).expect("a text");
        let ids: Vec<u32> = ids
            .data()
            .chunks(8)
            .map(|id| i64::from_le_bytes(id.try_into().expect("eight bytes")) as u32)
            .collect();
        let net = checkpoint.load(&Device::flex().autodiff(), DType::F32).expect("loads");
        let dir = tempfile::tempdir().expect("temporary directory");
        save(&gradient_net(&net, &ids), checkpoint.json(), dir.path()).expect("saves");
        let compared = assert_gradients(&dir.path().join("model.safetensors"), |tensor| {
            // The language model inside another model has its own prefix there.
            let inside = tensor.replacen("model.", "model.language_model.", 1);
            let find = |name: &str| golden.tensor(&format!("gradient.{name}"));
            match find(tensor).or_else(|_| find(&inside)) {
                Ok(expected) => expected.data().to_vec(),
                // What training does not change.
                Err(_) if tensor.ends_with("layer_scalar") => vec![0; 8],
                Err(error) => panic!("no gradient of `{tensor}`: {error}"),
            }
        });
        assert!(compared > 20, "{name}: {compared} tensors");
    }
}
