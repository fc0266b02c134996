//! Keys and values as codes of eight bits: near those in single precision, and the same bits however a text is read.

use std::path::Path;

use burn::tensor::{DType, Device};
use ivl_core::cache::KvFormat;
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{Cache, CausalLm, Vocab};
use ivl_models::{Checkpoint, PackedFormat, Transformer, TransformerLm};

/// Full and sliding attention, shared key heads, heads that are no multiple of 32, sinks, keys of other layers, recurrent layers.
const FAMILIES: [&str; 6] = ["llama3", "qwen2_window", "gemma2", "gpt_oss", "gemma4_text", "lfm2"];

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn net(name: &str) -> Transformer {
    let checkpoint = Checkpoint::open(&path(name)).expect("opens");
    checkpoint.load(&Device::flex(), PackedFormat::F32).expect("loads")
}

fn lm(net: Transformer) -> TransformerLm {
    let tokens = (0..net.config().vocab_size).map(|id| Some(Token::text(id.to_le_bytes()))).collect();
    TransformerLm::new(net, Vocab::new(tokens), "fixture")
}

fn read(lm: &TransformerLm, ids: &[u32], rows: usize, cache: &mut Cache) -> Vec<f32> {
    let logits = lm.forward(token_tensor(ids, rows, &lm.device()), cache).expect("its own cache");
    logits.into_data().try_into_vec().expect("f32")
}

/// So many tokens of the text with a number.
fn text(number: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|at| (at * 37 + number * 11 + at * at * number) % 97 + 1).collect()
}

/// The root of the mean square of the differences, as a share of that of the numbers less their mean.
fn relative_difference(a: &[f32], b: &[f32]) -> f32 {
    let mean = b.iter().sum::<f32>() / b.len() as f32;
    let spread: f32 = b.iter().map(|b| (b - mean) * (b - mean)).sum();
    (a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / spread).sqrt()
}

fn families() -> impl Iterator<Item = (&'static str, Transformer)> {
    FAMILIES.into_iter().filter(|name| path(name).exists()).map(|name| (name, net(name)))
}

#[test]
fn logits_are_near_those_of_a_cache_in_single_precision() {
    assert!(families().count() == FAMILIES.len(), "fixtures were renamed");
    for (name, net) in families() {
        let [single, half, coded] =
            [KvFormat::Floats(DType::F32), KvFormat::Floats(DType::F16), KvFormat::Int8]
                .map(|format| lm(net.clone().with_kv_format(format)));
        let ids = text(3, 70);
        let [expected, halves, codes] =
            [single, half, coded].map(|lm| read(&lm, &ids, 1, &mut lm.new_cache(&[0])));
        let (of_halves, of_codes) =
            (relative_difference(&halves, &expected), relative_difference(&codes, &expected));
        assert!(of_halves < 0.005, "{name}: {of_halves} in half precision");
        assert!(of_codes > 0.0 && of_codes < 0.08, "{name}: {of_codes} as codes");
    }
}

#[test]
fn a_text_gives_the_same_bits_whatever_shares_its_batch_and_however_it_is_read() {
    for (name, net) in families() {
        let lm = lm(net.with_kv_format(KvFormat::Int8));
        let vocab = lm.vocab().size();
        let texts = [text(1, 50), text(2, 50), text(3, 50)];
        let alone: Vec<Vec<f32>> =
            texts.iter().map(|ids| read(&lm, ids, 1, &mut lm.new_cache(&[0]))).collect();

        let together = read(&lm, &texts.concat(), 3, &mut lm.new_cache(&[0; 3]));
        assert!(together == alone.concat(), "{name}: other bits in a batch");

        // In chunks and then one by one, with a cut in between that is read again.
        let mut cache = lm.new_cache(&[0]);
        let mut pieces = read(&lm, &texts[0][..33], 1, &mut cache);
        read(&lm, &text(9, 7), 1, &mut cache);
        cache.truncate(33);
        for token in &texts[0][33..] {
            pieces.extend(read(&lm, &[*token], 1, &mut cache));
        }
        assert!(pieces == alone[0], "{name}: other bits in pieces");

        // A copy goes on as the original does, and rows come and go.
        let mut first = lm.new_cache(&[0; 2]);
        read(&lm, &[&texts[0][..40], &texts[1][..40]].concat(), 2, &mut first);
        let mut second = lm.new_cache(&[0]);
        read(&lm, &texts[2][..25], 1, &mut second);
        let mut both = first.clone();
        both.join(second.clone()).expect("one model");
        let next = [texts[0][40], texts[1][40], texts[2][25]];
        let joined = read(&lm, &next, 3, &mut both);
        let last = |row: usize, at: usize| &alone[row][at * vocab..(at + 1) * vocab];
        assert!(joined[..vocab] == *last(0, 40), "{name}: other bits of a joined row");
        assert!(joined[2 * vocab..] == *last(2, 25), "{name}: other bits of the shorter row");
        both.keep(&[2]);
        assert!(read(&lm, &[texts[2][26]], 1, &mut both) == last(2, 26), "{name}: other bits of a kept row");
        first.select(&[1, 1]);
        let twice = read(&lm, &[texts[1][40]; 2], 2, &mut first);
        assert!(twice == [last(1, 40); 2].concat(), "{name}: other bits of a repeated row");
    }
}

#[test]
fn codes_take_about_half_of_the_bytes_of_half_precision_as_the_model_says() {
    for (name, net) in families() {
        let [halves, codes] = [KvFormat::Floats(DType::F16), KvFormat::Int8].map(|format| {
            let lm = lm(net.clone().with_kv_format(format));
            let mut cache = lm.new_cache(&[0]);
            // As many positions as the first buffer has.
            read(&lm, &text(1, 64), 1, &mut cache);
            (cache.bytes(), lm.info().cache_bytes.per_position)
        });
        assert_eq!(halves.0 - codes.0, 64 * (halves.1 - codes.1), "{name}");
        assert!(codes.1 * 100 < halves.1 * 65, "{name}: {} bytes, {} in half precision", codes.1, halves.1);
    }
}
