//! Which experts a token goes through, and the sum of their outputs.

use burn::module::Param;
use burn::tensor::{DType, IndexingUpdateOp, Tensor, TensorData, activation};
use ivl_core::tokens::index_tensor;

use super::activations::{Activations, HostRows};
use super::numbers::Numbers;

/// The experts of each token, and the weights of their outputs.
pub(in crate::transformer) struct Routing {
    /// For each expert the positions that go through it, ascending.
    rows: Vec<Vec<usize>>,
    weights: RoutingWeights,
}

/// Shape `[positions, experts]`; zero for experts that are not chosen.
enum RoutingWeights {
    Host(Vec<f32>),
    // Boxed, since a handle has hundreds of bytes.
    Tensor(Box<Tensor<2>>),
}

impl Routing {
    /// The `per_token` experts of the highest probabilities for each position; divided by their sum if `renormalized`, and then
    /// multiplied by the factors of the experts.
    ///
    /// # Shapes
    /// - `logits`: `[batch, seq, experts]`
    /// - `factors`: `[experts]`
    pub(in crate::transformer) fn new(
        logits: Activations,
        per_token: usize,
        renormalized: bool,
        factors: Option<&Param<Tensor<1>>>,
    ) -> Self {
        match logits {
            Activations::Host(logits) => {
                let experts = logits.width();
                let factors = factors.map(Numbers::of);
                let factor = |expert: usize| factors.as_ref().map_or(1.0, |all| all.as_slice()[expert]);
                let mut weights = logits.numbers;
                let mut rows = vec![Vec::new(); experts];
                for (position, weights) in weights.chunks_exact_mut(experts).enumerate() {
                    softmax(weights);
                    let chosen = highest(weights, per_token);
                    let total: f32 = chosen.iter().map(|&expert| weights[expert]).sum();
                    let total = if renormalized { total } else { 1.0 };
                    for (expert, weight) in weights.iter_mut().enumerate() {
                        let is_chosen = chosen.contains(&expert);
                        *weight = if is_chosen { *weight / total * factor(expert) } else { 0.0 };
                    }
                    for expert in chosen {
                        rows[expert].push(position);
                    }
                }
                Self { rows, weights: RoutingWeights::Host(weights) }
            }
            Activations::Tensor(logits) => {
                let [batch, seq, experts] = logits.dims();
                let positions = batch * seq;
                let logits: Tensor<2> = logits.reshape([positions, experts]).cast(DType::F32);
                let probabilities = activation::softmax(logits, 1);
                let numbers = probabilities.clone().into_data();
                let numbers: &[f32] = numbers.as_slice().expect("numbers that were cast to f32");
                let mut rows = vec![Vec::new(); experts];
                let mut is_chosen = vec![0f32; positions * experts];
                for (position, numbers) in numbers.chunks_exact(experts).enumerate() {
                    for expert in highest(numbers, per_token) {
                        is_chosen[position * experts + expert] = 1.0;
                        rows[expert].push(position);
                    }
                }
                let is_chosen = TensorData::new(is_chosen, [positions, experts]);
                let weights = probabilities.clone()
                    * Tensor::from_data(is_chosen, (&probabilities.device(), DType::F32));
                let weights = if renormalized { weights.clone() / weights.sum_dim(1) } else { weights };
                let weights = match factors {
                    Some(factors) => weights * factors.val().cast(DType::F32).unsqueeze(),
                    None => weights,
                };
                Self { rows, weights: RoutingWeights::Tensor(Box::new(weights)) }
            }
        }
    }

    /// The experts that some position goes through, with these positions.
    pub(in crate::transformer) fn chosen(&self) -> impl Iterator<Item = (usize, &[usize])> {
        let all = self.rows.iter().map(Vec::as_slice).enumerate();
        all.filter(|(_, rows)| !rows.is_empty())
    }

    /// Adds the weighted output of an expert to its positions.
    ///
    /// # Shapes
    /// - `sum` and output: `[batch, seq, width]`
    /// - `fed`: `[1, rows, width]`
    pub(in crate::transformer) fn add_to(
        &self,
        sum: Activations,
        expert: usize,
        rows: &[usize],
        fed: Activations,
    ) -> Activations {
        match (&self.weights, sum) {
            (RoutingWeights::Host(weights), Activations::Host(mut sum)) => {
                let (width, experts) = (sum.width(), self.rows.len());
                let fed = fed.into_host().numbers;
                for (&row, fed) in rows.iter().zip(fed.chunks_exact(width)) {
                    let weight = weights[row * experts + expert];
                    let target = &mut sum.numbers[row * width..(row + 1) * width];
                    target.iter_mut().zip(fed).for_each(|(sum, x)| *sum += weight * x);
                }
                Activations::Host(sum)
            }
            (weights, sum) => {
                let (sum, fed) = (sum.into_tensor(), fed.into_tensor());
                let ([batch, seq, width], device) = (sum.dims(), sum.device());
                let weights = match weights {
                    RoutingWeights::Tensor(weights) => (**weights).clone(),
                    RoutingWeights::Host(weights) => {
                        let shape = [batch * seq, self.rows.len()];
                        Tensor::from_data(TensorData::new(weights.clone(), shape), (&device, DType::F32))
                    }
                };
                let index = index_tensor(rows, &device);
                let weights = weights.slice([0..batch * seq, expert..expert + 1]).select(0, index.clone());
                let fed: Tensor<2> = fed.reshape([rows.len(), width]);
                let fed = fed.clone() * weights.cast(fed.dtype());
                let sum: Tensor<2> = sum.reshape([batch * seq, width]);
                let sum = sum.select_assign(0, index, fed, IndexingUpdateOp::Add);
                sum.reshape([batch, seq, width]).into()
            }
        }
    }
}

fn softmax(numbers: &mut [f32]) {
    let largest = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in numbers.iter_mut() {
        *x = (*x - largest).exp();
    }
    let total: f32 = numbers.iter().sum();
    for x in numbers.iter_mut() {
        *x /= total;
    }
}

/// The indices of the highest numbers, the first of equal ones before the others.
fn highest(numbers: &[f32], count: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..numbers.len()).collect();
    indices.sort_by(|&a, &b| numbers[b].total_cmp(&numbers[a]));
    indices.truncate(count);
    indices
}

/// Nothing, in the shape of `x`.
pub(in crate::transformer) fn zeros_like(x: &Activations) -> Activations {
    match x {
        Activations::Host(x) => Activations::Host(x.with(vec![0.0; x.numbers.len()])),
        Activations::Tensor(x) => x.zeros_like().into(),
    }
}

/// Some positions, counted over the rows of the batch.
///
/// # Shapes
/// - `x`: `[batch, seq, width]`
/// - output: `[1, rows, width]`
pub(in crate::transformer) fn rows(x: &Activations, rows: &[usize]) -> Activations {
    match x {
        Activations::Host(x) => {
            let width = x.width();
            let numbers = rows.iter().flat_map(|row| &x.numbers[row * width..(row + 1) * width]).copied();
            Activations::Host(HostRows { numbers: numbers.collect(), batch: 1, seq: rows.len() })
        }
        Activations::Tensor(x) => {
            let ([batch, seq, width], index) = (x.dims(), index_tensor(rows, &x.device()));
            let x: Tensor<2> = (**x).clone().reshape([batch * seq, width]);
            x.select(0, index).unsqueeze_dim::<3>(0).into()
        }
    }
}

/// `sigmoid(gate) * x`, one number of `gate` for each position.
///
/// # Shapes
/// - `gate`: `[batch, seq, 1]`
/// - `x` and output: `[batch, seq, width]`
pub(in crate::transformer) fn gate_positions(gate: Activations, x: Activations) -> Activations {
    match (gate, x) {
        (Activations::Host(gate), Activations::Host(mut x)) => {
            let width = x.width();
            for (x, gate) in x.numbers.chunks_exact_mut(width).zip(gate.numbers) {
                let factor = 1.0 / (1.0 + (-gate).exp());
                for x in x {
                    *x *= factor;
                }
            }
            Activations::Host(x)
        }
        (gate, x) => (activation::sigmoid(gate.into_tensor()) * x.into_tensor()).into(),
    }
}
