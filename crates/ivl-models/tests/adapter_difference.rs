//! The difference that adapters make, in one pass of two rows, against one pass with the adapters and one without.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use ivl_core::Cache;
use ivl_core::tokens::token_tensor;
use ivl_models::transformer::LoraConfig;
use ivl_models::{Checkpoint, PackedFormat, Transformer};

const TEXT: [u32; 7] = [5, 9, 3, 7, 11, 2, 8];
const OTHER: [u32; 7] = [4, 4, 6, 1, 10, 12, 3];

/// Adapters and their models: attention, gated delta rule, short convolutions.
const FIXTURES: [[&str; 2]; 3] =
    [["adapter", "llama3"], ["adapter_qwen3_5", "qwen3_5_text"], ["adapter_lfm2", "lfm2"]];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A network without its adapters, and with them.
fn nets([adapters, base]: [&str; 2]) -> [Transformer; 2] {
    let checkpoint = Checkpoint::open(&fixture(adapters)).expect("opens");
    let found = checkpoint.adapters().expect("reads").expect("are there");
    let base = Checkpoint::open(&fixture(base)).expect("opens");
    let base = base.load(&Device::flex(), DType::F32).expect("loads");
    [base.clone(), checkpoint.load_adapters(base, &found).expect("loads")]
}

/// Logits of new tokens, `[rows][seq * vocab]`.
fn read(net: &Transformer, rows: &[&[u32]], cache: &mut Cache) -> Vec<Vec<f32>> {
    let tokens = token_tensor(&rows.concat(), rows.len(), &net.device());
    let cache = cache.layers(net.config().layers.len()).expect("a cache of this network");
    let logits: Vec<f32> = net.forward(tokens, cache).into_data().try_into_vec().expect("f32");
    logits.chunks(logits.len() / rows.len()).map(<[f32]>::to_vec).collect()
}

fn cache(net: &Transformer, padding: &[usize]) -> Cache {
    Cache::Layers(net.new_cache(padding))
}

fn whole(net: &Transformer, text: &[u32]) -> Vec<f32> {
    read(net, &[text], &mut cache(net, &[0])).remove(0)
}

/// The logits with adapters minus those without, of two passes.
fn expected([base, adapted]: &[Transformer; 2], text: &[u32]) -> Vec<f32> {
    whole(adapted, text).into_iter().zip(whole(base, text)).map(|(with, without)| with - without).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 2e-4, "{what}: {worst}");
}

#[test]
fn one_pass_gives_the_difference_of_two() {
    for names in FIXTURES {
        let nets = nets(names);
        let expected = expected(&nets, &TEXT);
        assert!(expected.iter().any(|difference| difference.abs() > 0.1), "the adapters do something");
        let difference = nets[1].clone().with_adapter_difference().expect("a plain head");
        assert_close(&whole(&difference, &TEXT), &expected, names[0]);
        let packed =
            nets[1].clone().packed(PackedFormat::F32).with_adapter_difference().expect("a plain head");
        assert_close(&whole(&packed, &TEXT), &expected, names[0]);
        // What was taken from it stays as it is.
        assert_close(&whole(&nets[1], &TEXT), &whole(&nets[1].clone().merged(), &TEXT), names[0]);
    }
}

#[test]
fn rows_are_read_in_steps_padded_selected_joined_and_cut_back() {
    for names in FIXTURES {
        let nets = nets(names);
        let difference = nets[1].clone().with_adapter_difference().expect("a plain head");
        let [text, other] = [&TEXT[..], &OTHER[..5]].map(|text| expected(&nets, text));
        let vocab = text.len() / TEXT.len();
        let at = |logits: &[f32], position: usize| logits[position * vocab..(position + 1) * vocab].to_vec();

        // Left padding, then one token at a time.
        let mut rows = cache(&difference, &[0, 2]);
        let first = read(&difference, &[&TEXT[..4], &[0, 0, OTHER[0], OTHER[1]]], &mut rows);
        assert_close(&first[0], &text[..4 * vocab], names[0]);
        assert_close(&first[1][2 * vocab..], &other[..2 * vocab], names[0]);
        for step in 4..6 {
            let next = read(&difference, &[&TEXT[step..=step], &OTHER[step - 2..step - 1]], &mut rows);
            assert_close(&next[0], &at(&text, step), names[0]);
            assert_close(&next[1], &at(&other, step - 2), names[0]);
        }
        // The rows change places, one leaves, another comes.
        rows.select(&[1, 0]);
        let next = read(&difference, &[&OTHER[4..5], &TEXT[6..7]], &mut rows);
        assert_close(&next[0], &at(&other, 4), names[0]);
        assert_close(&next[1], &at(&text, 6), names[0]);
        rows.keep(&[0]);
        let mut joining = cache(&difference, &[0]);
        read(&difference, &[&TEXT[..3]], &mut joining);
        rows.join(joining).expect("the same network");
        let six = expected(&nets, &[&OTHER[..5], &OTHER[5..6]].concat());
        let next = read(&difference, &[&OTHER[5..6], &TEXT[3..4]], &mut rows);
        assert_close(&next[0], &at(&six, 5), names[0]);
        assert_close(&next[1], &at(&text, 3), names[0]);

        // A text that is cut back goes on as if nothing had been there.
        let mut row = cache(&difference, &[0]);
        read(&difference, &[&TEXT[..3]], &mut row);
        read(&difference, &[&OTHER[..3]], &mut row);
        row.truncate(3);
        let next = read(&difference, &[&TEXT[3..]], &mut row);
        assert_close(&next[0], &text[3 * vocab..], names[0]);
    }
}

#[test]
fn what_has_no_such_difference_is_refused() {
    let [base, adapted] = nets(FIXTURES[0]);
    assert!(base.with_adapter_difference().is_none(), "there are no adapters");
    let scaled = adapted.clone().with_scaled_norm(0.5);
    assert!(scaled.with_adapter_difference().is_none(), "the norm is not that of the model");
    // Gemma 2 caps its logits.
    let gemma = Checkpoint::open(&fixture("gemma2")).expect("opens").load(&Device::flex(), DType::F32);
    let gemma = gemma.expect("loads").with_lora(&LoraConfig::new(2), 0);
    assert!(gemma.with_adapter_difference().is_none());

    let mut of_base = cache(&nets(FIXTURES[0])[0], &[0]);
    let difference = adapted.with_adapter_difference().expect("a plain head");
    let layers = of_base.layers(difference.config().layers.len()).expect("as many layers");
    assert!(layers.check_copies(2).expect_err("another number of rows").to_string().contains("2 times"));
}
