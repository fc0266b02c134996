//! Cascade values through caches and in batches: what they give must depend on the text alone.

use std::path::Path;

use burn::tensor::{DType, Device};
use ivl_core::{
    CascadeLm, CausalLm, GenerateConfig, Token, Vocab, generate, index_tensor, score, token_tensor,
};
use ivl_models::{CascadeInput, CascadeNet, Checkpoint, TransformerLm};

fn lm(name: &str) -> TransformerLm {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let checkpoint = Checkpoint::open(&dir).expect("opens");
    let net = checkpoint.load(&Device::flex(), DType::F32, &mut |_| ()).expect("loads");
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
    let logits = lm.forward(token_tensor(ids, 1, &lm.device()), &mut lm.new_cache(&[0]));
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
            let piece = lm.forward(token_tensor(&ids[start..end], 1, &lm.device()), &mut cache);
            pieces.extend(piece.into_data().try_into_vec::<f32>().expect("f32"));
        }
        assert_close(&pieces, &whole);
        assert_eq!(cache.len(), 14);
        cache.truncate(5);
        let again = lm.forward(token_tensor(&ids[5..], 1, &lm.device()), &mut cache);
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
        let config = GenerateConfig { max_new_tokens: 6, ..Default::default() };
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
        let positions = token_tensor(&[1, 3], 1, &lm.device()).reshape([-1]);
        let parts = lm.lazy_parts_at(tokens, positions, &mut lm.new_cache(&[0]));
        for alpha in [0.0, 0.5, 2.0] {
            let expected = logits(&cascade("llama2", input, alpha), &ids);
            let vocab = expected.len() / ids.len();
            let got: Vec<f32> = parts(1..2).weighted(&[alpha]).into_data().try_into_vec().expect("f32");
            assert_eq!(got, expected[3 * vocab..]);
        }
    }
}

#[test]
fn values_at_weight_zero_all_read_the_base() {
    let ids = [3, 9, 4, 40];
    for input in INPUTS {
        let joined = |base: Box<dyn CausalLm>, value: &str, alpha| {
            let (net, vocab) = lm(value).into_parts();
            CascadeLm::new(base, Box::new(CascadeNet::new(net, input, vocab, value)), alpha).expect("fits")
        };
        let base = || Box::new(lm("llama2"));
        let both = joined(Box::new(joined(base(), "llama2", 0.0)), "gpt2", 0.0);
        let tokens = token_tensor(&ids, 1, &both.device());
        let parts = both.lazy_parts_at(
            tokens,
            index_tensor(&[0, 1, 2, 3], &both.device()),
            &mut both.new_cache(&[0]),
        );
        let at =
            |weights: &[f64]| parts(0..4).weighted(weights).into_data().try_into_vec::<f32>().expect("f32");
        assert_eq!(at(&[0.7, 0.0]), logits(&joined(base(), "llama2", 0.7), &ids));
        assert_eq!(at(&[0.0, 0.7]), logits(&joined(base(), "gpt2", 0.7), &ids));
    }
}
