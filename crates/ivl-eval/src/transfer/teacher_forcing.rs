//! Answers under teacher forcing: how probable they are, and what the value changed at each of their tokens.

use std::ops::Range;

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Int, Tensor};
use ivl_core::causal_lm::{Positions, SelectedLogits};
use ivl_core::row_chunks::row_chunks;
use ivl_core::tokens::token_tensor;
use ivl_core::{CausalLm, Error, ValueStack, VocabMap};
use serde::Serialize;

use super::passage::{Pass, Passage};

/// Numbers held per logit of a base and a model at a time: logits, log-probabilities, intermediate results.
const HELD: usize = 16;

/// Stands for minus infinity, which times a probability of 0 would not be 0.
pub(crate) const IMPOSSIBLE: f32 = -1e30;

/// One answer, as sums over its tokens. With base logits `b`, the model's `l`, `q = softmax(b)` and `p = softmax(l)` at a
/// token `y`:
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct AnswerStats {
    /// Tokens of the answer.
    pub tokens: usize,
    /// `-log p[y]`, in nats.
    pub nll: f64,
    /// `-sum p log p`, in nats.
    pub entropy: f64,
    /// `KL(p || q)`, in nats.
    pub kl: f64,
    /// 1 where the most probable token is another one than the base's.
    pub flips: f64,
    /// Norm of what was added: the root mean square over the vocabulary of `d - mean(d)`, `d = l - b`. Softmax does not see
    /// the mean.
    pub change: f64,
}

/// Statistics of every passage.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedAnswerStats {
    /// Of the base without the value.
    pub alone: Vec<AnswerStats>,
    /// With values, for each choice of weights.
    pub with: Vec<Vec<AnswerStats>>,
}

/// Reads passages once with a base and its values, and scores the answers for every choice of weights, one for each value
/// ([`ivl_core::fusion::LogitComponents::weighted`]).
///
/// `progress` receives the passages read so far.
///
/// # Errors
/// [`Error::EmptyPrompt`], [`Error::TextTooLong`] or [`Error::TokenOutOfRange`].
///
/// # Panics
/// If there is another number of weights than of values.
pub fn answer_stats(
    lm: &dyn ValueStack,
    weights: &[Vec<f64>],
    passages: &[Passage],
    progress: &mut dyn FnMut(usize),
) -> Result<WeightedAnswerStats, Error> {
    let device = lm.device();
    let mut seen = vec![vec![AnswerStats::default(); passages.len()]; weights.len() + 1];
    let read = |pass: &Pass, add: &mut dyn FnMut(usize, Range<usize>, &Logits)| {
        let (tokens, mut cache) = pass.open(lm);
        let components = lm.component_logits(tokens, Positions::Indices(&pass.positions), &mut cache)?;
        for rows in row_chunks(pass.targets.len(), (HELD + lm.num_values()) * lm.vocab().size()) {
            let parts = components.rows(rows.clone());
            let targets = target_tensor(&pass.targets[rows.clone()], &device);
            let base = Distribution::new(parts.base());
            add(0, rows.clone(), &Logits { base: &base, model: &base, targets: targets.clone() });
            for (which, weights) in weights.iter().enumerate() {
                let model = Distribution::new(parts.weighted(weights));
                add(
                    which + 1,
                    rows.clone(),
                    &Logits { base: &base, model: &model, targets: targets.clone() },
                );
            }
        }
        Ok(())
    };
    over_passes(lm, passages, progress, &mut seen, read)?;
    let alone = seen.remove(0);
    Ok(WeightedAnswerStats { alone, with: seen })
}

/// Reads passages with a base and with what a fine-tuning made of it.
///
/// # Errors
/// As [`answer_stats`], and [`Error::VocabMismatch`] if the two do not give the same tokens the same ids.
pub fn tuned_answer_stats(
    base: &dyn CausalLm,
    tuned: &dyn CausalLm,
    passages: &[Passage],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<AnswerStats>, Error> {
    VocabMap::same_ids(base.vocab(), tuned.vocab())?;
    let device = base.device();
    let size = base.vocab().size().min(tuned.vocab().size());
    let mut seen = vec![vec![AnswerStats::default(); passages.len()]];
    let read = |pass: &Pass, add: &mut dyn FnMut(usize, Range<usize>, &Logits)| {
        let (base, tuned) = (select(base, pass)?, select(tuned, pass)?);
        for rows in row_chunks(pass.targets.len(), HELD * size) {
            // Padding ids that only one of them has are cut off.
            // The two may be divided among devices in different ways.
            let of = |logits: Tensor<2>| Distribution::new(logits.narrow(1, 0, size).to_device(&device));
            let (base, tuned) = (of(base.rows(rows.clone())), of(tuned.rows(rows.clone())));
            let targets = target_tensor(&pass.targets[rows.clone()], &device);
            add(0, rows, &Logits { base: &base, model: &tuned, targets });
        }
        Ok(())
    };
    over_passes(base, passages, progress, &mut seen, read)?;
    Ok(seen.remove(0))
}

/// Logits at the requested positions.
fn select<'a>(lm: &'a dyn CausalLm, pass: &Pass) -> Result<SelectedLogits<'a>, Error> {
    let (tokens, mut cache) = pass.open(lm);
    lm.select_logits(tokens, Positions::Indices(&pass.positions), &mut cache)
}

/// Reads every pass and adds up what `read` hands over: which model, which of the pass's tokens, their logits.
fn over_passes(
    lm: &dyn CausalLm,
    passages: &[Passage],
    progress: &mut dyn FnMut(usize),
    seen: &mut [Vec<AnswerStats>],
    read: impl Fn(&Pass, &mut dyn FnMut(usize, Range<usize>, &Logits)) -> Result<(), Error>,
) -> Result<(), Error> {
    Pass::over(passages, lm, progress, |pass| {
        read(pass, &mut |which, rows, logits| {
            for (token, &owner) in logits.tokens().into_iter().zip(&pass.owners[rows]) {
                seen[which][owner].add(token);
            }
        })
    })
}

impl AnswerStats {
    fn add(&mut self, token: Self) {
        self.tokens += token.tokens;
        self.nll += token.nll;
        self.entropy += token.entropy;
        self.kl += token.kl;
        self.flips += token.flips;
        self.change += token.change;
    }
}

/// Logits of some rows with what is computed once of them.
struct Distribution {
    logits: Tensor<2>,
    logprobs: Tensor<2>,
    top: Tensor<2, Int>,
}

impl Distribution {
    fn new(logits: Tensor<2>) -> Self {
        let logits = logits.cast(DType::F32).clamp_min(IMPOSSIBLE);
        let logprobs = log_softmax(logits.clone(), 1);
        Self { top: logits.clone().argmax(1), logprobs, logits }
    }
}

/// A base and a model at the same tokens.
struct Logits<'a> {
    base: &'a Distribution,
    model: &'a Distribution,
    targets: Tensor<1, Int>,
}

impl Logits<'_> {
    /// The statistics of each token.
    fn tokens(&self) -> Vec<AnswerStats> {
        let (base, model) = (self.base, self.model);
        let p = model.logprobs.clone().exp();
        let nll = model.logprobs.clone().gather(1, self.targets.clone().unsqueeze_dim(1)).neg();
        let entropy = (p.clone() * model.logprobs.clone()).sum_dim(1).neg();
        let kl = (p * (model.logprobs.clone() - base.logprobs.clone())).sum_dim(1);
        let added = model.logits.clone() - base.logits.clone();
        let change = (added.clone() - added.mean_dim(1)).square().mean_dim(1).sqrt();
        let flips = model.top.clone().not_equal(base.top.clone()).float();
        let columns = Tensor::cat(vec![nll, entropy, kl, flips.cast(DType::F32), change], 1);
        let numbers: Vec<f32> = columns.into_data().try_into_vec().expect("the columns are f32");
        let token = |row: &[f32]| AnswerStats {
            tokens: 1,
            nll: f64::from(row[0]),
            entropy: f64::from(row[1]),
            kl: f64::from(row[2]).max(0.0),
            flips: f64::from(row[3]),
            change: f64::from(row[4]),
        };
        numbers.chunks(5).map(token).collect()
    }
}

fn target_tensor(ids: &[u32], device: &burn::tensor::Device) -> Tensor<1, Int> {
    token_tensor(ids, 1, device).reshape([-1])
}
