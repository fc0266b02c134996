//! Several texts in a row are computed as if each stood by itself, by every kind of position encoding and mask.

use std::path::Path;

use burn::tensor::{DType, Device};
use ivl_core::tokens::token_tensor;
use ivl_core::vocab::Token;
use ivl_core::{Cache, CausalLm, Vocab};
use ivl_models::{Checkpoint, TransformerLm};

fn lm(name: &str) -> TransformerLm {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let checkpoint = Checkpoint::open(&path).expect("opens");
    let net = checkpoint.load(&Device::flex(), DType::F32).expect("loads");
    let tokens = (0..checkpoint.config().vocab_size).map(|id| Some(Token::text(id.to_le_bytes()))).collect();
    TransformerLm::new(net, Vocab::new(tokens), "fixture")
}

fn read(lm: &TransformerLm, ids: &[u32], rows: usize, cache: &mut Cache) -> Vec<f32> {
    let logits = lm.forward(token_tensor(ids, rows, &lm.device()), cache).expect("its own cache");
    logits.into_data().try_into_vec().expect("f32")
}

/// Families with full and sliding attention, learned and rotary positions, and frequencies that follow the length.
const FAMILIES: [&str; 10] = [
    "llama3",
    "mistral",
    "qwen2_window",
    "gemma2",
    "gpt2",
    "gpt_neox",
    "phi",
    "llama_dynamic",
    "llama_yarn",
    "phi3_longrope",
];

/// Lengths of the texts in each row; the longest cross 16 and 32, where fixtures change their frequencies.
const ROWS: [&[usize]; 3] = [&[5, 38, 1, 9], &[20, 3], &[12, 12, 12]];

fn texts() -> Vec<Vec<Vec<u32>>> {
    let mut next = 7_u32;
    let mut text = |len: usize| {
        let mut id = || {
            next = (next * 73 + 29) % 101;
            next
        };
        (0..len).map(|_| id()).collect()
    };
    ROWS.iter().map(|lens| lens.iter().map(|&len| text(len)).collect()).collect()
}

#[test]
fn packed_texts_have_the_logits_that_they_have_alone() {
    let texts = texts();
    let seq = ROWS.iter().map(|lens| lens.iter().sum::<usize>()).max().expect("rows");
    for family in FAMILIES {
        let lm = lm(family);
        let vocab = lm.vocab().size();
        let mut ids = Vec::new();
        for (row, texts) in texts.iter().enumerate() {
            ids.extend(texts.concat());
            ids.resize((row + 1) * seq, 0);
        }
        let mut cache = lm.new_cache(&[0; 3]);
        cache.segment(&ROWS.map(<[usize]>::to_vec)).expect("three rows");
        let packed = read(&lm, &ids, 3, &mut cache);
        for (row, texts) in texts.iter().enumerate() {
            let mut start = row * seq;
            for text in texts {
                let alone = read(&lm, text, 1, &mut lm.new_cache(&[0]));
                let here = &packed[start * vocab..(start + text.len()) * vocab];
                let worst = alone.iter().zip(here).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= 1e-5, "{family}: row {row}, text of {}: {worst}", text.len());
                start += text.len();
            }
        }
    }
}

#[test]
fn a_packed_row_may_be_read_in_pieces() {
    for family in ["qwen2_window", "gpt2", "llama_dynamic", "phi3_longrope"] {
        let lm = lm(family);
        let ids = texts()[0].concat();
        let segmented = || {
            let mut cache = lm.new_cache(&[0]);
            cache.segment(&[ROWS[0].to_vec()]).expect("one row");
            cache
        };
        let whole = read(&lm, &ids, 1, &mut segmented());
        let mut cache = segmented();
        let pieces: Vec<f32> = [0..3, 3..30, 30..31, 31..ids.len()]
            .into_iter()
            .flat_map(|piece| read(&lm, &ids[piece], 1, &mut cache))
            .collect();
        let worst = whole.iter().zip(&pieces).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-5, "{family}: {worst}");
    }
}

#[test]
fn right_padding_may_reach_beyond_the_table_of_positions() {
    let lm = lm("gpt2");
    let (len, seq) = (20, lm.max_positions() + 8);
    let row = |text: &[u32]| {
        let mut row = text.to_vec();
        row.resize(seq, 0);
        row
    };
    let texts: Vec<u32> = (0..len as u32).collect();
    let mut cache = lm.new_cache(&[0, 0]);
    cache.segment(&[vec![len], vec![100, seq - 100]]).expect("two rows");
    let both = read(&lm, &[row(&texts), row(&[5; 130])].concat(), 2, &mut cache);
    let alone = read(&lm, &texts, 1, &mut lm.new_cache(&[0]));
    let worst = alone.iter().zip(&both).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-5, "{worst}");
}
