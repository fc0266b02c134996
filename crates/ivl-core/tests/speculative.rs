//! Speculative decoding against plain generation: whatever drafts, the same tokens, and of the right distribution.

mod toy;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Int, Tensor};
use ivl_core::causal_lm::{LengthDependence, ModelInfo};
use ivl_core::decode::{
    Draft, FinishReason, GenerateConfig, GeneratedToken, Pace, SamplingConfig, Speculation,
    SpeculationTotals, generate, speculate,
};
use ivl_core::fusion::BaseLm;
use ivl_core::{Cache, CausalLm, Error, FusedLm, RowWeighted, Value, Vocab};
use proptest::prelude::*;
use toy::{Toy, letters, log_softmax};

const SIZE: usize = 8;

fn toy(seed: u64) -> Toy {
    Toy::new(seed, letters(SIZE, SIZE))
}

fn fused(base: &Toy, values: &[(&Toy, f64)]) -> FusedLm {
    let value = |(toy, alpha): &(&Toy, f64)| Value::new(Box::new((*toy).clone()), *alpha);
    FusedLm::new(Box::new(base.clone()), values.iter().map(value).collect()).expect("one vocabulary")
}

/// Counts the tokens that a model reads.
struct Counted(Toy, Arc<AtomicUsize>);

impl CausalLm for Counted {
    fn vocab(&self) -> &Vocab {
        self.0.vocab()
    }
    fn max_positions(&self) -> usize {
        self.0.max_positions()
    }
    fn device(&self) -> Device {
        self.0.device()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.0.new_cache(padding)
    }
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        self.1.fetch_add(tokens.dims()[1], Ordering::Relaxed);
        self.0.forward(tokens, cache)
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The target's own base: all its guesses are right.
    Same,
    Other,
    OtherAlone,
    Lookup(usize),
}

fn draft(kind: Kind, base: &Toy, target: &dyn RowWeighted) -> Draft {
    let model = |lm: Toy, with_values| {
        Draft::model(Box::new(lm), target.vocab(), with_values).expect("one vocabulary")
    };
    match kind {
        Kind::Same => model(base.clone(), true),
        Kind::Other => model(toy(77), true),
        Kind::OtherAlone => model(toy(77), false),
        Kind::Lookup(ngram) => Draft::prompt_lookup(ngram).expect("at least 1"),
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Same),
        Just(Kind::Other),
        Just(Kind::OtherAlone),
        (1usize..4).prop_map(Kind::Lookup)
    ]
}

fn samplings() -> impl Strategy<Value = SamplingConfig> {
    let greedy = SamplingConfig::default();
    let plain = greedy.clone().temperature(1.0);
    let all = SamplingConfig::default()
        .temperature(0.8)
        .top_k(6)
        .top_p(0.9)
        .min_p(0.02)
        .repetition_penalty(1.3)
        .frequency_penalty(0.4)
        .presence_penalty(0.2)
        .logit_bias(vec![(2, 1.5), (4, f32::NEG_INFINITY)]);
    let penalized = all.clone().temperature(0.0);
    prop_oneof![Just(greedy), Just(plain), Just(all), Just(penalized)]
}

fn written(
    target: &dyn RowWeighted,
    draft: Draft,
    pace: Pace,
    prompts: &[Vec<u32>],
    config: &GenerateConfig,
) -> (Vec<GeneratedToken>, SpeculationTotals) {
    let mut texts = speculate(target, Speculation::new(draft, pace), prompts, config).expect("valid");
    let steps = texts.by_ref().map(|step| step.expect("finite")).collect();
    (steps, texts.totals())
}

fn by_row(steps: &[GeneratedToken], row: usize) -> Vec<&GeneratedToken> {
    steps.iter().filter(|step| step.row == row).collect()
}

fn same(ours: &[GeneratedToken], plain: &[GeneratedToken], rows: usize) -> Result<(), TestCaseError> {
    for row in 0..rows {
        let (ours, plain) = (by_row(ours, row), by_row(plain, row));
        prop_assert_eq!(ours.len(), plain.len());
        for (ours, plain) in ours.into_iter().zip(plain) {
            prop_assert_eq!((ours.token, &ours.text, ours.finish), (plain.token, &plain.text, plain.finish));
            prop_assert!((ours.logprob - plain.logprob).abs() < 1e-4, "{ours:?} {plain:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_draft_changes_no_token_no_text_and_no_number(
        seed in 0u64..1000,
        kind in kinds(),
        pace in prop_oneof![
            (1usize..7).prop_map(Pace::fixed), Just(Pace::up_to(6)), Just(Pace::fixed(0)), Just(Pace::fixed(40)),
        ],
        alphas in prop_oneof![Just([1.0, 0.0]), Just([0.7, -0.4]), Just([0.0, 0.0])],
        sampling in samplings(),
        prompts in prop::collection::vec(prop::collection::vec(0..SIZE as u32, 1..60), 1..3),
        repeated in any::<bool>(),
        stop in prop_oneof![Just(vec![]), Just(vec!["ab".to_owned()]), Just(vec!["c".to_owned(), "dde".to_owned()])],
        end_tokens in prop_oneof![Just(vec![]), Just(vec![3u32])],
        max_new_tokens in 0usize..80,
    ) {
        let [base, first, second] = [seed, seed + 1, seed + 2].map(toy);
        let target = fused(&base, &[(&first, alphas[0]), (&second, alphas[1])]);
        let prompts = if repeated { vec![prompts[0].clone(); 3] } else { prompts };
        let config = GenerateConfig::default().max_new_tokens(max_new_tokens).sampling(sampling).seed(seed).end_tokens(end_tokens).stop_strings(stop);
        // Together, rows end where the longest meets the end of the context: each is a run of its own.
        let mut plain = Vec::new();
        for (row, prompt) in prompts.iter().enumerate() {
            let config = config.clone().seed(seed + row as u64);
            let steps = generate(&target, std::slice::from_ref(prompt), &config).expect("valid");
            plain.extend(steps.map(|step| GeneratedToken { row, ..step.expect("finite") }));
        }
        let draft = draft(kind, &base, &target);
        let (ours, totals) = written(&target, draft, pace, &prompts, &config);
        same(&ours, &plain, prompts.len())?;
        prop_assert!(totals.accepted <= totals.drafted);
    }
}

#[test]
fn a_perfect_draft_is_always_accepted_and_the_values_read_every_token_once() {
    let (base, value) = (toy(5), toy(6));
    for sampling in [SamplingConfig::default(), SamplingConfig::default().temperature(1.0)] {
        let (read, by_target) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = Value::new(Box::new(Counted(value.clone(), read.clone())), 0.9);
        let target =
            FusedLm::new(Box::new(Counted(base.clone(), by_target.clone())), vec![counted]).expect("same");
        let draft = draft(Kind::Same, &base, &target);
        let config = GenerateConfig::default().max_new_tokens(31).sampling(sampling);
        let (steps, totals) = written(&target, draft, Pace::fixed(4), &[vec![0, 1, 2]], &config);
        // The prompt's pass writes one token, and each of six rounds five.
        assert_eq!((steps.len(), totals.rounds, totals.drafted, totals.accepted), (31, 6, 24, 24));
        assert_eq!(totals.acceptance_rate(), Some(1.0));
        // The prompt and all that was written but the last token.
        assert_eq!(read.load(Ordering::Relaxed), 3 + 30);
        assert_eq!(by_target.load(Ordering::Relaxed), 3 + 30);
    }
}

#[test]
fn what_is_drafted_and_sampled_follows_the_target() {
    let (base, value) = (Toy::new(8, letters(4, 4)), Toy::new(9, letters(4, 4)));
    let target = fused(&base, &[(&value, 0.5)]);
    let draft =
        || Draft::model(Box::new(Toy::new(30, letters(4, 4))), target.vocab(), true).expect("one vocabulary");
    let sampling = SamplingConfig::default().temperature(1.5).top_k(3);
    // The probabilities of the second and third tokens after the first, from the definition.
    let prompt = vec![1u32, 2];
    let next = |text: &[u32]| -> Vec<f64> {
        let (base, value) =
            (base.oracle(text).pop().expect("a token"), value.oracle(text).pop().expect("a token"));
        let mut logits: Vec<f64> = base.iter().zip(&value).map(|(b, v)| (b + 0.5 * v) / 1.5).collect();
        let least = (0..4).min_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("four");
        logits[least] = f64::NEG_INFINITY;
        log_softmax(&logits).into_iter().map(f64::exp).collect()
    };
    let mut expected = [0.0; 64];
    for first in 0..4 {
        for second in 0..4 {
            for third in 0..4 {
                let text = [1, 2, first as u32, second as u32];
                let chance = next(&text[..2])[first] * next(&text[..3])[second] * next(&text)[third];
                expected[first * 16 + second * 4 + third] = chance;
            }
        }
    }
    let (mut seen, mut totals) = ([0.0; 64], (0, 0));
    let runs = 4000;
    for seed in 0..runs {
        let config = GenerateConfig::default().max_new_tokens(3).sampling(sampling.clone()).seed(seed);
        let (steps, drafts) =
            written(&target, draft(), Pace::fixed(2), std::slice::from_ref(&prompt), &config);
        let place = steps.iter().fold(0, |place, step| place * 4 + step.token as usize);
        seen[place] += 1.0;
        totals = (totals.0 + drafts.accepted, totals.1 + drafts.drafted);
    }
    // Some drafts were accepted and some were not: both paths were taken.
    assert!(totals.0 > 100 && totals.1 - totals.0 > 100, "{totals:?}");
    let (mut chi, mut cells) = (0.0, 0);
    for (seen, expected) in seen.iter().zip(expected.map(|chance| chance * runs as f64)) {
        if expected < 5.0 {
            continue;
        }
        chi += (seen - expected).powi(2) / expected;
        cells += 1;
    }
    // The 0.1% point of chi-square with n degrees of freedom (Wilson and Hilferty).
    let n = f64::from(cells - 1);
    let limit = n * (1.0 - 2.0 / (9.0 * n) + 3.09 * (2.0 / (9.0 * n)).sqrt()).powi(3);
    assert!(cells > 8 && chi < limit, "chi-square {chi} of at most {limit} in {cells} cells");
}

#[test]
fn a_shorter_draft_guesses_as_far_as_it_reads() {
    let short = Toy::with_positions(&toy(5), 10);
    let target = fused(&toy(5), &[(&toy(6), 1.0)]);
    let draft = Draft::model(Box::new(short), target.vocab(), true).expect("one vocabulary");
    let config = GenerateConfig::default().max_new_tokens(30);
    let prompts = [vec![1, 2, 3]];
    let (ours, totals) = written(&target, draft, Pace::fixed(5), &prompts, &config);
    let plain: Vec<GeneratedToken> =
        generate(&target, &prompts, &config).expect("valid").map(|step| step.expect("finite")).collect();
    assert_eq!(
        ours.iter().map(|s| s.token).collect::<Vec<_>>(),
        plain.iter().map(|s| s.token).collect::<Vec<_>>()
    );
    assert!(totals.drafted > 0 && totals.drafted <= 8, "{totals:?}");
    assert_eq!(ours.last().and_then(|step| step.finish), Some(FinishReason::Length));
}

#[test]
fn a_draft_of_another_vocabulary_is_refused_and_padding_is_no_difference() {
    let target = fused(&toy(1), &[]);
    let numbers =
        Vocab::new((0..SIZE as u8).map(|id| Some(ivl_core::vocab::Token::text([b'0' + id]))).collect());
    let other = Draft::model(Box::new(Toy::new(2, numbers)), target.vocab(), true);
    assert!(matches!(other.err(), Some(Error::ForeignDraft { count: SIZE, .. })));
    let lookup = Draft::prompt_lookup(0);
    assert!(matches!(lookup.err(), Some(Error::InvalidSetting { name: "ngram", .. })));

    let padded =
        Draft::model(Box::new(Toy::new(1, letters(SIZE, SIZE + 5))), target.vocab(), true).expect("padded");
    let config = GenerateConfig::default().max_new_tokens(12);
    let (steps, _) = written(&target, padded, Pace::fixed(3), &[vec![1]], &config);
    let plain = generate(&target, &[[1]], &config).expect("valid");
    let plain: Vec<u32> = plain.map(|step| step.expect("finite").token).collect();
    assert_eq!(steps.iter().map(|step| step.token).collect::<Vec<_>>(), plain);
}

/// A model whose numbers depend on whether tokens beyond position 8 are read at once: it says so.
struct Switching(Toy);

impl CausalLm for Switching {
    fn vocab(&self) -> &Vocab {
        self.0.vocab()
    }
    fn max_positions(&self) -> usize {
        self.0.max_positions()
    }
    fn device(&self) -> Device {
        self.0.device()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.0.new_cache(padding)
    }
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        let (end, several) = (cache.len() + tokens.dims()[1], tokens.dims()[1] > 1);
        let logits = self.0.forward(tokens, cache)?;
        Ok(if several && end > 8 { logits.neg() } else { logits })
    }
    fn info(&self) -> ModelInfo {
        ModelInfo::new("switching").length_dependence(LengthDependence::changes_after(8))
    }
}

#[test]
fn nothing_is_drafted_where_tokens_cannot_be_read_at_once() {
    let target = BaseLm::plain(Switching(toy(3)));
    let draft = draft(Kind::Same, &toy(3), &target);
    let config = GenerateConfig::default().max_new_tokens(20);
    let (steps, totals) = written(&target, draft, Pace::fixed(2), &[vec![1, 2]], &config);
    let plain = generate(&target, &[[1, 2]], &config).expect("valid");
    let plain: Vec<u32> = plain.map(|step| step.expect("finite").token).collect();
    assert_eq!(steps.iter().map(|step| step.token).collect::<Vec<_>>(), plain);
    assert_eq!(totals.drafted, 4, "two rounds end before position 8");
}
