//! Cascade values through caches and in batches: their logits depend only on the text.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use ivl_core::causal_lm::Positions;
use ivl_core::decode::{EndTokens, GenerateConfig, generate};
use ivl_core::fusion::{BaseLm, CascadeLm, DecodeBatch};
use ivl_core::score::score;
use ivl_core::tokens::{PaddedBatch, token_tensor};
use ivl_core::vocab::Token;
use ivl_core::{CausalLm, FusedLm, RowWeighted, Value, ValueStack, Vocab};
use ivl_models::{CascadeInput, CascadeNet, Checkpoint, TransformerLm};

fn lm(name: &str) -> TransformerLm {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let checkpoint = Checkpoint::open(&dir).expect("opens");
    let net = checkpoint.load(&Device::flex(), DType::F32).expect("loads");
    let tokens = (0..net.config().vocab_size as u32).map(|id| Some(Token::text(id.to_le_bytes())));
    let vocab = Vocab::new(tokens.collect());
    TransformerLm::new(net, vocab, name)
}

fn cascade(value: &str, input: CascadeInput, alpha: f64) -> CascadeLm {
    let (net, vocab) = lm(value).into_parts();
    let value = CascadeNet::new(net, input, vocab, value);
    CascadeLm::new(Box::new(lm("llama2")), Box::new(value), alpha).expect("one vocabulary")
}

fn logits(lm: &dyn CausalLm, ids: &[u32]) -> Vec<f32> {
    let logits =
        lm.forward(token_tensor(ids, 1, &lm.device()), &mut lm.new_cache(&[0])).expect("its own cache");
    logits.into_data().try_into_vec().expect("f32")
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{worst}");
}

const INPUTS: [CascadeInput; 2] = [CascadeInput::Predictions, CascadeInput::TextAndPredictions];

#[test]
fn cached_equals_uncached_and_forgetting_is_exact() {
    let ids: Vec<u32> = (0..14).map(|i| (i * 7 + 3) % 60).collect();
    for (input, value) in INPUTS.into_iter().flat_map(|input| ["llama2", "gpt2"].map(|value| (input, value)))
    {
        let lm = cascade(value, input, 0.7);
        let whole = logits(&lm, &ids);
        let (mut cache, mut pieces) = (lm.new_cache(&[0]), Vec::new());
        for (start, end) in [(0, 1), (1, 6), (6, 13), (13, 14)] {
            let piece = lm
                .forward(token_tensor(&ids[start..end], 1, &lm.device()), &mut cache)
                .expect("its own cache");
            pieces.extend(piece.into_data().try_into_vec::<f32>().expect("f32"));
        }
        assert_close(&pieces, &whole);
        assert_eq!(cache.len(), 14);
        cache.truncate(5);
        let again = lm.forward(token_tensor(&ids[5..], 1, &lm.device()), &mut cache).expect("its own cache");
        let vocab = lm.vocab().size();
        assert_close(&again.into_data().try_into_vec::<f32>().expect("f32"), &whole[5 * vocab..]);
    }
}

#[test]
fn a_batch_equals_its_rows() {
    let prompts: Vec<Vec<u32>> = vec![vec![3, 9, 4, 40, 2, 8], vec![5, 17], vec![30, 31, 32, 33]];
    for input in INPUTS {
        let lm = cascade("llama2", input, 1.0);
        for (row, together) in prompts.iter().zip(score(&lm, &prompts).expect("scores")) {
            let alone = score(&lm, &[row]).expect("scores").remove(0);
            assert!((alone.sum() - together.sum()).abs() < 1e-3, "{} {}", alone.sum(), together.sum());
        }
        let config = GenerateConfig::default().max_new_tokens(6).end_tokens(EndTokens::none());
        let tokens = |prompts: &[Vec<u32>]| {
            let mut rows = vec![Vec::new(); prompts.len()];
            for step in generate(&lm, prompts, &config).expect("valid") {
                let step = step.expect("finite");
                rows[step.row].push(step.token);
            }
            rows
        };
        let together = tokens(&prompts);
        for (row, prompt) in prompts.iter().enumerate() {
            assert_eq!(tokens(std::slice::from_ref(prompt))[0], together[row]);
        }
    }
}

#[test]
fn alpha_zero_is_the_base_and_text_halves_the_context() {
    let ids = [3, 9, 4, 40];
    let base = lm("llama2");
    for input in INPUTS {
        assert_eq!(logits(&cascade("llama2", input, 0.0), &ids), logits(&base, &ids));
        assert_ne!(logits(&cascade("llama2", input, 1.0), &ids), logits(&base, &ids));
        let expected = base.max_positions() / input.stride();
        assert_eq!(cascade("llama2", input, 1.0).max_positions(), expected);
    }
}

#[test]
fn one_pass_gives_the_logits_of_every_weight() {
    let ids = [3, 9, 4, 40];
    for input in INPUTS {
        let lm = cascade("llama2", input, 1.0);
        let tokens = token_tensor(&ids, 1, &lm.device());
        let at = Positions::Indices(&[1, 3]);
        let parts = lm.component_logits(tokens, at, &mut lm.new_cache(&[0])).expect("its own cache");
        for alpha in [0.0, 0.5, 2.0] {
            let expected = logits(&cascade("llama2", input, alpha), &ids);
            let vocab = expected.len() / ids.len();
            let got: Vec<f32> = parts.rows(1..2).weighted(&[alpha]).into_data().try_into_vec().expect("f32");
            assert_eq!(got, expected[3 * vocab..]);
        }
    }
}

#[test]
fn values_at_weight_zero_all_read_the_base() {
    let ids = [3, 9, 4, 40];
    for input in INPUTS {
        let joined = |base: BaseLm, value: &str, alpha| {
            let (net, vocab) = lm(value).into_parts();
            CascadeLm::on(base, Box::new(CascadeNet::new(net, input, vocab, value)), alpha).expect("fits")
        };
        let base = || BaseLm::plain(lm("llama2"));
        let both = joined(joined(base(), "llama2", 0.0).into(), "gpt2", 0.0);
        let tokens = token_tensor(&ids, 1, &both.device());
        let parts = both.component_logits(tokens, Positions::All, &mut both.new_cache(&[0]));
        let parts = parts.expect("its own cache");
        let at = |weights: &[f64]| {
            parts.rows(0..4).weighted(weights).into_data().try_into_vec::<f32>().expect("f32")
        };
        assert_eq!(at(&[0.7, 0.0]), logits(&joined(base(), "llama2", 0.7), &ids));
        assert_eq!(at(&[0.0, 0.7]), logits(&joined(base(), "gpt2", 0.7), &ids));
    }
}

/// Two values that read predictions, the second those of base and first, and one that is added.
fn composed([first, second, third]: [f64; 3]) -> FusedLm {
    let net = |value: &str, input| {
        let (net, vocab) = lm(value).into_parts();
        Box::new(CascadeNet::new(net, input, vocab, value))
    };
    let lower =
        CascadeLm::new(Box::new(lm("llama2")), net("gpt2", INPUTS[0]), first).expect("one vocabulary");
    let upper = CascadeLm::on(lower, net("llama2", INPUTS[1]), second).expect("one vocabulary");
    let added = Value::new(Box::new(lm("gpt2")), third);
    FusedLm::on(upper, vec![added]).expect("one vocabulary")
}

/// The logits after a text, by a model that holds nothing else.
fn alone(ids: &[u32], weights: [f64; 3]) -> Vec<f32> {
    let all = logits(&composed(weights), ids);
    all[all.len() - all.len() / ids.len()..].to_vec()
}

#[test]
fn rows_of_a_batch_weigh_each_value_in_their_own_way_whoever_comes_and_goes() {
    let lm = composed([1.0; 3]);
    let vocab = lm.vocab().size();
    let waves: [&[(&[u32], [f64; 3])]; 3] = [
        &[(&[3, 9, 4, 40, 2, 8], [1.0, 0.5, 1.0]), (&[5, 17], [0.0; 3])],
        &[
            (&[30, 31, 32], [0.0, 2.0, 0.0]),
            (&[7, 7, 7, 7, 7, 7, 7, 1], [-0.5, 0.0, 1.0]),
            (&[1], [1.0, 1.0, 0.0]),
        ],
        &[(&[9, 2, 50], [0.3, 0.5, 0.0])],
    ];
    let (mut batch, mut rows) = (DecodeBatch::empty(&lm).expect("its own cache"), Vec::new());
    for (wave, new) in waves.into_iter().enumerate() {
        let prompts: Vec<&[u32]> = new.iter().map(|(prompt, _)| *prompt).collect();
        let padded = PaddedBatch::new(&prompts, lm.vocab()).expect("letters");
        let weights = new.iter().map(|(_, weights)| weights.to_vec()).collect();
        let mut joining = DecodeBatch::new(&lm, &padded.padding, weights).expect("its own cache");
        joining.next_logits(&lm, padded.columns(0, padded.seq, &lm.device())).expect("its own cache");
        batch.join(joining).expect("one model");
        rows.extend(new.iter().map(|(prompt, weights)| (prompt.to_vec(), *weights)));
        for step in 0..3 {
            let tokens: Vec<u32> = (0..rows.len() as u32).map(|row| (7 * row + 3 * step + 1) % 60).collect();
            let read = batch
                .next_logits(&lm, token_tensor(&tokens, rows.len(), &lm.device()))
                .expect("its own cache");
            assert_eq!(read.iter().count(), 4, "the base, and one for each value");
            let host = |logits: Tensor<3>| logits.into_data().try_into_vec::<f32>().expect("f32");
            let (base, fused) = (host(read.base()), host(read.last()));
            for (row, ((text, weights), token)) in rows.iter_mut().zip(tokens).enumerate() {
                text.push(token);
                let place = row * vocab..(row + 1) * vocab;
                assert_close(&base[place.clone()], &alone(text, [0.0; 3]));
                assert_close(&fused[place], &alone(text, *weights));
            }
        }
        let kept: Vec<usize> = (0..rows.len()).filter(|row| row % 3 != wave % 3).collect();
        batch.keep(&kept);
        rows = kept.iter().map(|&row| rows[row].clone()).collect();
    }
}

#[test]
fn a_beginning_holds_for_the_weights_under_which_predictions_were_read() {
    let lm = composed([1.0; 3]);
    assert_eq!((lm.num_values(), lm.num_cascade_values()), (3, 1));
    let mut batch = DecodeBatch::new(&lm, &[0], vec![vec![1.0, 0.5, 1.0]]).expect("its own cache");
    batch.next_logits(&lm, token_tensor(&[3, 9, 4, 40], 1, &lm.device())).expect("its own cache");
    assert!(!batch.covers(&[0.5, 0.5, 1.0]), "the second value has read what the first made of the base");
    let weights = [1.0, 2.0, 0.0];
    let mut shorter = batch.beginning(2, &weights).expect("read under the same first weight");
    let read = shorter.next_logits(&lm, token_tensor(&[8, 1], 1, &lm.device())).expect("its own cache");
    let fused: Vec<f32> = read.last().into_data().try_into_vec().expect("f32");
    assert_close(&fused, &alone(&[3, 9, 8, 1], weights));
}
