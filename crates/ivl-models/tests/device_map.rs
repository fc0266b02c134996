//! Layers on several devices. The CPU backend has one device, so these tests divide every fixture by a map of two parts on it: the form
//! in which a part keeps its weights shows which layers it has. In a build with another backend, such as `--features ivl-cli/wgpu`, the
//! last tests move tensors between two devices.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::causal_lm::Positions;
use ivl_core::decode::{GenerateConfig, generate};
use ivl_core::fusion::{CascadeLm, DecodeBatch};
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{CausalLm, FusedLm, RowWeighted, Value, Vocab};
use ivl_models::{
    CascadeInput, CascadeNet, Checkpoint, DeviceMap, PackedFormat, Transformer, TransformerLm, Weights,
};

/// Every tiny checkpoint of the parity tests, in order.
fn fixtures() -> Vec<(String, Checkpoint)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut dirs: Vec<PathBuf> =
        std::fs::read_dir(root).expect("fixtures").map(|entry| entry.expect("an entry").path()).collect();
    dirs.retain(|dir| dir.join("golden.safetensors").is_file());
    dirs.sort();
    let name = |dir: &PathBuf| dir.file_name().expect("a name").to_string_lossy().into_owned();
    dirs.iter().map(|dir| (name(dir), Checkpoint::open(dir).expect("opens"))).collect()
}

/// Fixtures with the last block before which they can be divided.
fn divisible() -> impl Iterator<Item = (String, Checkpoint, usize)> {
    fixtures().into_iter().filter_map(|(name, checkpoint)| {
        let config = checkpoint.config();
        let last = (1..config.layers.len()).rev().find(|&layer| config.divides_before(layer))?;
        Some((name, checkpoint, last))
    })
}

fn divided(first: impl Into<Weights>, layer: usize, second: impl Into<Weights>) -> DeviceMap {
    DeviceMap::single(&Device::flex(), first).then(layer, &Device::flex(), second)
}

fn load(checkpoint: &Checkpoint, map: &DeviceMap) -> TransformerLm {
    let net = checkpoint.load_on(map, None).expect("loads");
    let tokens = (0..checkpoint.config().vocab_size).map(|id| Some(Token::text(id.to_le_bytes()))).collect();
    TransformerLm::new(net, Vocab::new(tokens), "fixture")
}

/// The logits of two texts in a batch with padding, read in two pieces, and then of two more tokens.
fn logits(lm: &TransformerLm) -> Vec<f32> {
    let ids: Vec<u32> = (0..24).map(|at| (at * 73 + 29) % lm.net().config().vocab_size as u32).collect();
    let mut cache = lm.new_cache(&[0, 3]);
    cache.set_expected_len(8);
    let mut all = Vec::new();
    for (from, to) in [(0, 5), (5, 8), (8, 9), (9, 10)] {
        let rows: Vec<u32> = ids.chunks(12).flat_map(|row| &row[from..to]).copied().collect();
        let tokens = token_tensor(&rows, 2, &lm.device());
        let logits = lm.select_logits(tokens, Positions::All, &mut cache).expect("its own cache").all();
        all.extend(logits.cast(DType::F32).into_data().iter::<f32>());
    }
    all
}

fn largest_difference(some: &[f32], others: &[f32]) -> f32 {
    assert_eq!(some.len(), others.len());
    some.iter().zip(others).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn two_parts_of_one_form_give_the_bits_of_one() {
    let mut families = 0;
    for (name, checkpoint, layer) in divisible() {
        for weights in [Weights::Tensors(DType::F32), Weights::Packed(PackedFormat::F32), Weights::Stored] {
            let whole = logits(&load(&checkpoint, &DeviceMap::single(&Device::flex(), weights)));
            let parts = logits(&load(&checkpoint, &divided(weights, layer, weights)));
            assert!(whole == parts, "{name}, {}: not the same bits", weights.name());
        }
        families += 1;
    }
    assert!(families > 50, "{families} fixtures have two blocks");
}

#[test]
fn each_parameter_is_kept_as_its_part_says() {
    for (name, checkpoint, layer) in divisible() {
        let lm = load(&checkpoint, &divided(DType::F32, layer, DType::F16));
        for parameter in lm.net().named_parameters() {
            let mut names = parameter.path.split('.');
            let expected = match (names.next(), names.next().and_then(|layer| layer.parse::<usize>().ok())) {
                (Some("blocks"), Some(block)) if block < layer => DType::F32,
                (Some("blocks" | "norm" | "head"), _) => DType::F16,
                _ => DType::F32,
            };
            assert_eq!(parameter.tensor.dtype(), expected, "{name}: {}", parameter.path);
        }
    }
}

/// Tensors of one type cannot be multiplied with those of another, so this fails wherever hidden states do not go through the move
/// between two parts.
#[test]
fn hidden_states_become_what_the_next_part_reads() {
    for (name, checkpoint, layer) in divisible() {
        let whole = logits(&load(&checkpoint, &DeviceMap::single(&Device::flex(), DType::F32)));
        let kernels = Weights::Packed(PackedFormat::F32);
        let tensors = Weights::Tensors(DType::F32);
        for (first, second) in [(kernels, tensors), (tensors, kernels)] {
            let parts = logits(&load(&checkpoint, &divided(first, layer, second)));
            let difference = largest_difference(&whole, &parts);
            assert!(difference < 1e-4, "{name}, {first:?} then {second:?}: {difference}");
        }
        // Half precision may choose other experts.
        if checkpoint.config().experts.is_none() {
            for (first, second) in [(DType::F32, DType::F16), (DType::F16, DType::F32)] {
                let parts = logits(&load(&checkpoint, &divided(first, layer, second)));
                let (difference, scale) =
                    (largest_difference(&whole, &parts), largest_difference(&whole, &vec![0.0; whole.len()]));
                assert!(
                    difference < 0.03 * scale.max(1.0),
                    "{name}, {first:?} then {second:?}: {difference} of {scale}"
                );
            }
        }
    }
}

#[test]
fn layers_that_share_keys_stay_together() {
    let shares = |(_, checkpoint): &(String, Checkpoint)| {
        let config = checkpoint.config();
        (1..config.layers.len()).any(|layer| !config.divides_before(layer))
    };
    let (name, checkpoint) = fixtures().into_iter().find(shares).expect("a fixture whose layers share keys");
    let layers = checkpoint.config().layers.len();
    let cut = (1..layers).find(|&layer| !checkpoint.config().divides_before(layer)).expect("was found");
    let refused = checkpoint.load_on(&divided(DType::F32, cut, DType::F32), None).expect_err("is refused");
    assert!(
        refused.to_string().contains(&format!("at block {cut}, expected a block before which")),
        "{name}: {refused}"
    );
}

#[test]
fn maps_that_give_a_device_no_block_are_refused() {
    let (_, checkpoint, _) = divisible().next().expect("a fixture");
    let layers = checkpoint.config().layers.len();
    for first in [0, layers] {
        let refused =
            checkpoint.load_on(&divided(DType::F32, first, DType::F32), None).expect_err("is refused");
        assert!(
            refused.to_string().contains(&format!("begins a part at block {first}, expected")),
            "{refused}"
        );
    }
}

#[test]
fn bytes_of_layers_are_those_of_their_parameters() {
    for (name, checkpoint) in fixtures() {
        let net: Transformer = checkpoint.load(&Device::flex(), DType::F32).expect("loads");
        let bytes = checkpoint.layer_bytes(DType::F32.into()).expect("fits");
        let numbers: usize =
            net.named_parameters().iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        assert_eq!(bytes.total(), 4 * numbers as u64, "{name}");
        assert!(bytes.blocks.iter().all(|&block| block > 0), "{name}");
        let half = checkpoint.layer_bytes(DType::F16.into()).expect("fits");
        assert_eq!(2 * half.total(), bytes.total(), "{name}");
        let packed = checkpoint.layer_bytes(Weights::Packed(PackedFormat::INT8)).expect("fits");
        assert!(packed.total() < bytes.total(), "{name}");
    }
}

/// The preferred device of the build: that of a backend beside the CPU's, if there is one, else the CPU.
fn other() -> Device {
    Device::default()
}

#[test]
fn two_devices_give_the_logits_of_one() {
    let (cpu, other) = (Device::flex(), other());
    let kernels = Weights::Packed(PackedFormat::F32);
    for (name, checkpoint, layer) in divisible() {
        let whole = logits(&load(&checkpoint, &DeviceMap::single(&cpu, DType::F32)));
        for map in [
            DeviceMap::single(&cpu, DType::F32).then(layer, &other, DType::F32),
            DeviceMap::single(&other, DType::F32).then(layer, &cpu, DType::F32),
            DeviceMap::single(&cpu, kernels).then(layer, &other, DType::F32),
            DeviceMap::single(&other, DType::F32).then(layer, &cpu, kernels),
        ] {
            let lm = load(&checkpoint, &map);
            let device_of = |block| &map.parts()[usize::from(block >= layer)].device;
            for (block, device) in lm.net().layer_devices().enumerate() {
                assert_eq!(device, *device_of(block), "{name}, block {block}");
            }
            let head = usize::from(!checkpoint.config().embedding.tied);
            assert_eq!(lm.device(), map.parts()[head].device, "{name}");
            let difference = largest_difference(&whole, &logits(&lm));
            assert!(difference < 1e-4, "{name}, {map:?}: {difference}");
        }
    }
}

/// A base and a value of the same shape, each on a device.
fn lms(base: &Device, value: &Device) -> [TransformerLm; 2] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/first-value");
    let open = |name: &str, device: &Device| {
        let checkpoint = Checkpoint::open(&root.join(name)).expect("opens");
        checkpoint.load_lm(device, DType::F32).expect("loads").0
    };
    [open("large", base), open("small", value)]
}

/// Greedy tokens, and logits.
type Answer = (Vec<u32>, Vec<f32>);

/// A fused model of a base and a value on two devices, and what it answers.
type Fusion<'a> = &'a dyn Fn(&Device, &Device) -> Answer;

/// Greedy tokens of two prompts, and the logits of a batch whose rows give the value different weights.
fn generated(lm: &dyn RowWeighted) -> Answer {
    let prompts: [&[u32]; 2] = [&[40, 41, 42, 43], &[50, 51]];
    let config = GenerateConfig::default().max_new_tokens(8);
    let steps = generate(lm, &prompts, &config).expect("reads");
    let tokens = steps.map(|step| step.expect("generates").token).collect();
    let mut batch = DecodeBatch::new(lm, &[0, 0, 0], vec![vec![1.0], vec![0.0], vec![0.5]]).expect("its own");
    let ids = token_tensor(&[40, 41, 42, 40, 41, 42, 40, 41, 42], 3, &lm.device());
    let logits = batch.next_logits(lm, ids).expect("its own").last();
    (tokens, logits.into_data().iter::<f32>().collect())
}

#[test]
fn base_and_value_on_two_devices_give_the_logits_of_one() {
    let (cpu, other) = (Device::flex(), other());
    let residual = |base: &Device, value: &Device| {
        let [base, value] = lms(base, value);
        generated(
            &FusedLm::new(Box::new(base), vec![Value::new(Box::new(value), 1.0)]).expect("one vocabulary"),
        )
    };
    let cascade = |base: &Device, value: &Device| {
        let [base, value] = lms(base, value);
        let (net, vocab) = value.into_parts();
        let value = CascadeNet::new(net, CascadeInput::TextAndPredictions, vocab, "value");
        generated(&CascadeLm::new(Box::new(base), Box::new(value), 1.0).expect("one vocabulary"))
    };
    let kinds: [Fusion<'_>; 2] = [&residual, &cascade];
    for fused in kinds {
        let (tokens, logits) = fused(&cpu, &cpu);
        for (base, value) in [(&cpu, &other), (&other, &cpu), (&other, &other)] {
            let found = fused(base, value);
            assert_eq!(found.0, tokens, "base on {base:?}, value on {value:?}");
            let difference = largest_difference(&logits, &found.1);
            assert!(difference < 1e-4, "base on {base:?}, value on {value:?}: {difference}");
        }
    }
}
