//! Layers on several devices. The CPU backend has one device, so these tests divide every fixture by a map of two parts on it: the form
//! in which a part keeps its weights shows which layers it has. `crates/ivl-cli/tests/devices.rs` moves tensors between two devices.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::causal_lm::Positions;
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{CausalLm, Vocab};
use ivl_models::{Checkpoint, DeviceMap, PackedFormat, Transformer, TransformerLm, Weights};

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
