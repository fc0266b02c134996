//! Speculative decoding of a base of 134 million parameters with a value of 24 million, drafted by a base of 24 million in
//! int8 with the same value, against plain decoding of base and value, and of the base without the value. Random weights (Llama shapes, 32k
//! vocabulary), so that the share of right guesses is set: the draft computes as a real one does, and then prefers the
//! token that the target will write with the given probability, and another one else. Prompt lookup guesses what it finds: a
//! network of random weights repeats itself, so that it finds much.
//!
//!     [ROUNDS=7] cargo bench --workspace --bench speculative

#![allow(clippy::print_stdout, reason = "a measurement speaks on standard output")]

mod shapes;

use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use ivl_core::decode::{
    Draft, EndTokens, GenerateConfig, Pace, Speculation, SpeculationTotals, generate, speculate,
};
use ivl_core::{Cache, CausalLm, Error, FusedLm, Value, Vocab};
use ivl_models::PackedFormat;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shapes::llama;

const TOKENS: usize = 192;

/// Shares of right guesses.
const RIGHT: [f64; 4] = [0.6, 0.7, 0.8, 0.9];

/// A draft whose guesses are set beforehand.
struct Scripted {
    lm: Box<dyn CausalLm>,
    /// Its drafted token at each position.
    guesses: Vec<u32>,
}

impl CausalLm for Scripted {
    fn vocab(&self) -> &Vocab {
        self.lm.vocab()
    }
    fn max_positions(&self) -> usize {
        self.lm.max_positions()
    }
    fn device(&self) -> Device {
        self.lm.device()
    }
    fn new_cache(&self, padding: &[usize]) -> Cache {
        self.lm.new_cache(padding)
    }
    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<3>, Error> {
        self.lm.forward(tokens, cache)
    }
    fn next_logits(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Result<Tensor<2>, Error> {
        let logits = self.lm.next_logits(tokens, cache)?;
        let guess = self.guesses.get(cache.len()).copied().unwrap_or_default() as usize;
        let preferred = Tensor::from_data(TensorData::from([[1e4f32]]), &self.device());
        Ok(logits.slice_assign([0..1, guess..guess + 1], preferred))
    }
}

/// The text with the share `right` of its tokens kept.
fn guesses(text: &[u32], right: f64) -> Vec<u32> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    text.iter().map(|&token| if random.random_bool(right) { token } else { token ^ 1 }).collect()
}

/// Seconds by the clock and of processor time that some work takes; of the latter none where the system does not say.
fn seconds(work: impl FnOnce()) -> [f64; 2] {
    let (began, used) = (Instant::now(), processor());
    work();
    [began.elapsed().as_secs_f64(), processor() - used]
}

/// Seconds of processor time of this process so far, by Linux.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// All sides once in each round, so that other load on the machine affects all alike. Ratios are of the same round.
fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        // `cargo test --all-targets` asks whether it starts.
        return;
    }
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(7);
    let small = |seed| llama([384, 6, 6], true, PackedFormat::F32, seed);
    // As `ivl generate --draft` keeps it on a CPU.
    let drafter = llama([384, 6, 6], true, PackedFormat::INT8, 3);
    let prompt: Vec<u32> = (0..64).collect();
    let config = GenerateConfig::default().max_new_tokens(TOKENS).end_tokens(EndTokens::none());
    let target = FusedLm::new(
        Box::new(llama([768, 12, 12], false, PackedFormat::F32, 1)),
        vec![Value::new(Box::new(small(2)), 1.0)],
    )
    .expect("one vocabulary");
    let written = generate(&target, &[&prompt], &config).expect("valid");
    let text: Vec<u32> =
        prompt.iter().copied().chain(written.map(|step| step.expect("finite").token)).collect();

    let plain = |lm: &dyn CausalLm| {
        seconds(|| assert_eq!(generate(lm, &[&prompt], &config).expect("valid").count(), TOKENS))
    };
    let drafted = |draft: Draft| {
        let speculation = Speculation::new(draft, Pace::up_to(16));
        let mut texts = speculate(&target, speculation, &[&prompt], &config).expect("valid");
        let taken = seconds(|| {
            let tokens = texts.by_ref().map(|step| step.expect("finite").token);
            assert!(tokens.eq(text[prompt.len()..].iter().copied()), "a draft changes no token");
        });
        (taken, texts.totals())
    };
    let scripted = |right: f64| {
        // Its weights are shared by the copies.
        let lm = Scripted { lm: Box::new(drafter.clone()), guesses: guesses(&text, right) };
        Draft::model(Box::new(lm), target.vocab(), true).expect("one vocabulary")
    };
    let mut times: Vec<Vec<[f64; 2]>> = vec![Vec::new(); 3 + RIGHT.len()];
    let mut totals = [SpeculationTotals::default(); RIGHT.len() + 1];
    for _ in 0..rounds {
        times[0].push(plain(target.base()));
        times[1].push(plain(&target));
        let lookup = Draft::prompt_lookup(3).expect("at least 1");
        for (side, draft) in RIGHT.into_iter().map(scripted).chain([lookup]).enumerate() {
            let (taken, counted) = drafted(draft);
            times[2 + side].push(taken);
            totals[side] = counted;
        }
    }
    println!("{TOKENS} tokens after a prompt of {}, medians of {rounds} rounds", prompt.len());
    println!(
        "{:32} {:>8} {:>10} {:>10} {:>8} {:>9}",
        "", "tokens/s", "/ base", "/ base cpu", "drafted", "accepted"
    );
    for (side, taken) in times.iter().enumerate() {
        let name = match side {
            0 => "134M".to_owned(),
            1 => "134M + 24M".to_owned(),
            _ => match RIGHT.get(side - 2) {
                Some(right) => format!("134M + 24M, drafts right at {right}"),
                None => "134M + 24M, prompt lookup".to_owned(),
            },
        };
        let speed = median(taken.iter().map(|[clock, _]| TOKENS as f64 / clock).collect());
        let over = |which: usize| {
            median(taken.iter().zip(&times[0]).map(|(taken, base)| base[which] / taken[which]).collect())
        };
        let SpeculationTotals { drafted, accepted, .. } =
            totals.get(side.wrapping_sub(2)).copied().unwrap_or_default();
        println!("{name:32} {speed:8.1} {:10.2} {:10.2} {drafted:8} {accepted:9}", over(0), over(1));
    }
}
