//! How many experts a pass of a mixture reads: one token those that it chooses, a batch each of them once.

use std::path::Path;

use burn::tensor::Device;
use ivl_core::cache::LayerCache;
use ivl_core::tokens::token_tensor;
use ivl_models::families::read_config;
use ivl_models::{Checkpoint, PackedFormat, Transformer, initialize};
use serde_json::{Map, Value, json};

const MIXTURES: [&str; 8] =
    ["qwen2_moe", "qwen3_moe", "mixtral", "olmoe", "granitemoe", "gpt_oss", "gemma4_moe", "qwen3_5_moe_text"];

fn load(name: &str) -> Transformer {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let checkpoint = Checkpoint::open(&dir).expect("opens");
    checkpoint.load(&Device::flex(), PackedFormat::F32).expect("loads")
}

/// Experts that a pass reads.
fn reads(net: &Transformer, tokens: &[u32], rows: usize, cache: &mut LayerCache) -> u64 {
    let before = net.expert_reads();
    net.forward(token_tensor(tokens, rows, &Device::flex()), cache);
    net.expert_reads() - before
}

#[test]
fn a_token_reads_the_experts_that_it_chooses() {
    for name in MIXTURES {
        let net = load(name);
        let config = net.config();
        let (all, experts) = (config.experts.expect("a mixture"), net.experts_of_token());
        let mut cache = net.new_cache(&[0]);
        let prompt: Vec<u32> = (3..27).collect();
        let read = reads(&net, &prompt, 1, &mut cache);
        // A prompt reads an expert once, however many of its tokens choose it.
        let layers = experts / all.per_token;
        assert!(read > experts as u64 && read <= (layers * all.count) as u64, "{name}: {read}");
        for token in 30..40 {
            assert_eq!(reads(&net, &[token], 1, &mut cache), experts as u64, "{name}");
        }
        let one_expert = 3 * config.hidden_size * all.intermediate_size * 4;
        assert!(net.bytes_of_expert() >= one_expert, "{name}: rows of a matrix may be padded");
        assert!(net.bytes_of_step() > experts * net.bytes_of_expert(), "{name}");
    }
}

/// A mixture in the shape of a fixture, with other widths and random weights.
fn random(name: &str, width: usize, weights: PackedFormat) -> Transformer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).join("config.json");
    let mut json: Map<String, Value> =
        serde_json::from_slice(&std::fs::read(&path).expect("reads")).expect("an object");
    for field in ["hidden_size", "intermediate_size", "moe_intermediate_size"] {
        json.insert(field.to_owned(), json!(width));
    }
    let (_, config) = read_config(&json, &path).expect("a shape");
    initialize(config.init(&Device::flex()), 1, 0.3, weights)
}

/// Bytes of the experts that one step has read, as the network counts them, beside `layers * experts of a token * 3 * hidden size *
/// inner width` numbers. With `--nocapture` it prints the table of `docs/families.md`.
#[test]
#[expect(clippy::print_stdout, reason = "the table of a document")]
fn a_step_reads_the_bytes_that_arithmetic_says() {
    println!(
        "| shape of | format | numbers | arithmetic | a step reads | all experts |\n|---|---|---|---|---|---|"
    );
    for name in MIXTURES {
        // 34 bytes for 32 weights: a scale for each block.
        for (format, of_32) in [(PackedFormat::F32, 128), (PackedFormat::F16, 64), (PackedFormat::INT8, 34)] {
            let net = random(name, 256, format);
            let config = net.config();
            let experts = config.experts.expect("a mixture");
            let layers = config.layers.iter().filter(|layer| layer.feed_forward.has_experts()).count();
            let mut cache = net.new_cache(&[0]);
            reads(&net, &[3, 4, 5], 1, &mut cache);
            let read = reads(&net, &[6], 1, &mut cache) as usize * net.bytes_of_expert();
            let numbers = layers * experts.per_token * 3 * config.hidden_size * experts.intermediate_size;
            let arithmetic = numbers / 32 * of_32;
            let all = layers * experts.count * net.bytes_of_expert();
            println!("| `{name}` | {format:?} | {numbers} | {arithmetic} | {read} | {all} |");
            assert_eq!(read, arithmetic, "{name}, {format:?}");
            assert_eq!(read * experts.count, all * experts.per_token, "{name}, {format:?}");
        }
    }
}

#[test]
fn rows_of_a_batch_share_the_experts_that_they_choose_alike() {
    for name in MIXTURES {
        let net = load(name);
        let experts = net.experts_of_token() as u64;
        let rows = 4;
        let same = reads(&net, &[5; 4], rows, &mut net.new_cache(&[0; 4]));
        assert_eq!(same, experts, "{name}: rows with one token");
        let different = reads(&net, &[5, 40, 71, 90], rows, &mut net.new_cache(&[0; 4]));
        assert!(different > experts && different <= 4 * experts, "{name}: {different}");
    }
}
