//! GGUF files whose matrices are multiplied in the blocks in which they are stored.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{CausalLm, Vocab};
use ivl_kernels::BlockFormat;
use ivl_models::{Checkpoint, PackedFormat, Transformer, TransformerLm, Weights};

/// The prompt of every test.
const IDS: [u32; 12] = [5, 17, 3, 44, 21, 9, 30, 2, 11, 38, 26, 7];

fn fixture(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{folder}/{name}.gguf"))
}

fn open(file: &Path, weights: impl Into<Weights>) -> TransformerLm {
    lm(Checkpoint::open(file).expect("opens").load(&Device::flex(), weights.into()).expect("loads"))
}

fn lm(net: Transformer) -> TransformerLm {
    let tokens = (0..net.config().vocab_size).map(|id| Some(Token::text(id.to_le_bytes()))).collect();
    TransformerLm::new(net, Vocab::new(tokens), "fixture")
}

/// Logits of every position of some rows of the same length.
fn logits(lm: &TransformerLm, rows: &[&[u32]]) -> Vec<f32> {
    let cache = &mut lm.new_cache(&vec![0; rows.len()]);
    let logits = lm.forward(token_tensor(&rows.concat(), rows.len(), &lm.device()), cache);
    logits.expect("its own cache").into_data().try_into_vec().expect("f32")
}

/// The root of the mean squared difference, over the spread of what is expected.
fn error(got: &[f32], expected: &[f32]) -> f32 {
    let mean = |numbers: &mut dyn Iterator<Item = f32>| numbers.sum::<f32>() / expected.len() as f32;
    let center = mean(&mut expected.iter().copied());
    let spread = mean(&mut expected.iter().map(|x| (x - center).powi(2)));
    (mean(&mut got.iter().zip(expected).map(|(a, b)| (a - b).powi(2))) / spread).sqrt()
}

/// The logits are those of the dequantised weights, up to the rounding of activations to eight bits.
fn check(file: &Path) -> TransformerLm {
    let (stored, dequantised) = (open(file, Weights::Stored), open(file, PackedFormat::F32));
    let (got, expected) = (logits(&stored, &[&IDS]), logits(&dequantised, &[&IDS]));
    let error = error(&got, &expected);
    assert!(error > 0.0 && error < 0.05, "{}: {error} of the spread", file.display());
    stored
}

#[test]
fn every_block_format_is_multiplied_as_it_lies() {
    let mut formats = Vec::new();
    for name in ["llama_blocks", "llama_more_blocks"] {
        formats.extend(check(&fixture("gguf", name)).net().formats());
    }
    let blocks = formats.iter().filter(|format| matches!(format, PackedFormat::Blocks(_)));
    assert!(blocks.count() > 8, "{formats:?}");
}

/// Stored rows are read by several threads: projections that are fused or in another order, and stacks of experts, are those of a
/// network that is packed in memory, to the bit.
#[test]
fn rows_are_found_in_every_layout() {
    let gguf =
        ["llama", "llama3", "phi2", "phi3", "gpt2", "gptneox", "gptneox_sequential", "gemma3", "qwen3"];
    let directories = [
        "llama_bf16",
        "phi3",
        "gpt_neox",
        "gpt2",
        "mixtral_stacked",
        "mixtral",
        "qwen3_moe",
        "gpt_oss",
        "cohere",
    ];
    let directory = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let files =
        gguf.map(|name| fixture("gguf_converted", name)).into_iter().chain(directories.map(directory));
    for file in files {
        let checkpoint = Checkpoint::open(&file).expect("opens");
        for format in [PackedFormat::INT8, PackedFormat::F16, PackedFormat::F32] {
            let tensors = checkpoint.load(&Device::flex(), DType::F32).expect("loads").packed(format);
            let expected = logits(&lm(tensors), &[&IDS]);
            assert!(logits(&open(&file, format), &[&IDS]) == expected, "{} {format:?}", file.display());
        }
    }
}

/// Rows of a table that is looked up and no head: half precision in f16, eight bits in int8 and int4, unchanged in f32.
#[test]
fn a_table_of_tokens_is_packed_in_eight_bits_or_more() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama2");
    let checkpoint = Checkpoint::open(&directory).expect("opens");
    let load = |weights: Weights| checkpoint.load(&Device::flex(), weights).expect("loads");
    let rows = |net: &Transformer| -> Vec<f32> {
        let ids = token_tensor(&IDS, 1, &Device::flex());
        net.embed(ids).into_data().try_into_vec().expect("f32")
    };
    let plain = load(DType::F32.into());
    assert!(!plain.config().embedding.tied, "the head is another matrix");
    let (width, exact) = (plain.config().hidden_size, rows(&plain));
    let halves: Vec<f32> = exact.iter().map(|&number| half::f16::from_f32(number).to_f32()).collect();
    assert_eq!(width % 32, 0, "rows are whole blocks");
    let (mut blocks, mut eight_bits) = (vec![0; exact.len() / 32 * 34], vec![0.0; exact.len()]);
    BlockFormat::Q8_0.quantize(&exact, &mut blocks).expect("finite");
    BlockFormat::Q8_0.dequantize(&blocks, &mut eight_bits).expect("blocks");
    assert!(exact != halves && halves != eight_bits);
    assert_eq!(rows(&load(PackedFormat::F32.into())), exact);
    assert_eq!(rows(&load(PackedFormat::F16.into())), halves);
    for format in [PackedFormat::INT8, PackedFormat::INT4] {
        assert_eq!(rows(&load(format.into())), eight_bits, "{format:?}");
    }
}

#[test]
fn a_row_gives_the_same_bits_alone_and_token_by_token() {
    for name in ["llama_blocks", "llama_more_blocks"] {
        let lm = open(&fixture("gguf", name), Weights::Stored);
        let mut reversed = IDS;
        reversed.reverse();
        let rows: Vec<&[u32]> =
            (0..19).map(|row| if row % 3 == 0 { &reversed[..] } else { &IDS[..] }).collect();
        let (one, all) = (logits(&lm, &[&IDS]), logits(&lm, &rows));
        let width = one.len();
        for row in (0..19).filter(|row| row % 3 != 0) {
            assert!(all[row * width..][..width] == one, "{name}: row {row} gives other bits");
        }
        let cache = &mut lm.new_cache(&[0]);
        let mut steps = Vec::new();
        for id in IDS {
            let step = lm.forward(token_tensor(&[id], 1, &lm.device()), cache).expect("its own cache");
            steps.extend(step.into_data().try_into_vec::<f32>().expect("f32"));
        }
        assert!(steps == one, "{name}: token by token gives other bits");
    }
}

/// Of a file without blocks nothing is rounded: the logits are those of f32 to the bit.
#[test]
fn floating_point_stays_what_it_is() {
    for name in ["llama", "qwen2", "gpt2"] {
        let file = fixture("gguf_converted", name);
        let (stored, plain) = (open(&file, Weights::Stored), open(&file, PackedFormat::F32));
        assert!(stored.net().formats().contains(&PackedFormat::F16), "{name}");
        assert!(logits(&stored, &[&IDS]) == logits(&plain, &[&IDS]), "{name}");
    }
}
