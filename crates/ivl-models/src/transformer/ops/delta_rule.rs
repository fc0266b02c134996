//! The gated delta rule: chunk by chunk for prompts and training, one position at a time for decoding.

use burn::tensor::{DType, Device, Tensor, activation};
use ivl_kernels::{DeltaInputs, GatedDeltaRule};

use super::activations::{Activations, HostRows};
use super::numbers::{Numbers, host_tensor};
use super::params::DecayParams;
use crate::config::DeltaNetConfig;
use crate::transformer::ages::Ages;

/// Positions that are computed together.
const CHUNK: usize = 64;

/// Added to the squared length of queries and keys before they are divided by it.
const EPS: f64 = 1e-6;

/// See [`DeltaNet`](crate::transformer::delta_net::DeltaNet) for the formula. `inputs` are queries, keys and values in one, `W_a x` and
/// `W_b x`. Computed in f32 whatever their type; `memory` is brought up to date.
///
/// # Shapes
/// - `inputs`: `[batch, seq, channels]` and twice `[batch, seq, value_heads]`
/// - `memory`: `[batch, value_heads, key_dim, value_dim]`, nothing before the first position
/// - output: `[batch, seq, value_heads * value_dim]`
pub(in crate::transformer) fn delta_rule(
    config: DeltaNetConfig,
    decay: DecayParams<'_>,
    inputs: [Activations; 3],
    ages: &Ages,
    memory: &mut Option<Tensor<4>>,
) -> Activations {
    match (inputs, decay.packed) {
        (
            [Activations::Host(mixed), Activations::Host(forget), Activations::Host(strength)],
            Some(packed),
        ) => Activations::Host(on_host(config, packed, [&mixed, &forget, &strength], ages, memory)),
        (inputs, _) => {
            let [mixed, forget, strength] = inputs.map(Activations::into_tensor);
            let dtype = mixed.dtype();
            let heads = Heads::new(config, decay, [mixed, forget, strength], ages);
            heads.read(ages, memory).cast(dtype).into()
        }
    }
}

/// By the kernel of the CPU.
fn on_host(
    config: DeltaNetConfig,
    [rate, bias]: &[Vec<f32>; 2],
    [mixed, forget, strength]: [&HostRows; 3],
    ages: &Ages,
    memory: &mut Option<Tensor<4>>,
) -> HostRows {
    let DeltaNetConfig { key_heads, value_heads, key_dim, value_dim, .. } = config;
    let softplus = |x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let heads = rate.iter().zip(bias).cycle();
    let decay = forget.numbers.iter().zip(heads);
    let decay: Vec<f32> = decay.map(|(x, (rate, bias))| (-rate.exp() * softplus(x + bias)).exp()).collect();
    let strength: Vec<f32> = strength.numbers.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
    let shape = [mixed.batch, value_heads, key_dim, value_dim];
    let mut state = match memory.take() {
        Some(memory) => Numbers::new(memory).into_vec(),
        None => vec![0.0; shape.iter().product()],
    };
    let inputs =
        DeltaInputs { mixed: &mixed.numbers, decay: &decay, strength: &strength, ages: &ages.of_positions };
    let rule = GatedDeltaRule { key_heads, value_heads, key_dim, value_dim };
    let output = rule.run(inputs, mixed.batch, &mut state);
    *memory = Some(host_tensor(state, shape, &Device::flex()));
    mixed.with(output)
}

/// The inputs of the rule by head, in f32.
struct Heads {
    /// Of length `key_dim^-1/2`, shape `[batch, value_heads, seq, key_dim]`.
    query: Tensor<4>,
    /// Of length 1, shape `[batch, value_heads, seq, key_dim]`.
    key: Tensor<4>,
    /// Shape `[batch, value_heads, seq, value_dim]`.
    value: Tensor<4>,
    /// The logarithm of the decay; 0 in padding. Shape `[batch, value_heads, seq, 1]`.
    decay: Tensor<4>,
    /// 0 in padding. Shape `[batch, value_heads, seq, 1]`.
    strength: Tensor<4>,
}

impl Heads {
    fn new(config: DeltaNetConfig, decay: DecayParams<'_>, inputs: [Tensor<3>; 3], ages: &Ages) -> Self {
        let DeltaNetConfig { key_heads, value_heads, key_dim, value_dim, .. } = config;
        let [mixed, forget, strength] = inputs.map(|x| x.cast(DType::F32));
        let ([batch, seq, _], device) = (mixed.dims(), mixed.device());
        let part = |from: usize, heads: usize, width: usize| -> Tensor<4> {
            let part = mixed.clone().slice([0..batch, 0..seq, from..from + heads * width]);
            part.reshape([batch, seq, heads, width]).swap_dims(1, 2)
        };
        let unit = |x: Tensor<4>| {
            let length = (x.clone().square().sum_dim(3) + EPS).sqrt();
            let x: Tensor<5> = (x / length).unsqueeze_dim(2);
            let shared = x.repeat_dim(2, value_heads / key_heads);
            shared.reshape([batch, value_heads, seq, key_dim])
        };
        let by_head = |x: Tensor<3>| x.swap_dims(1, 2).unsqueeze_dim::<4>(3);
        let number = |param: &burn::module::Param<Tensor<1>>| -> Tensor<3> {
            param.val().cast(DType::F32).unsqueeze()
        };
        let mut decay =
            by_head(activation::softplus(forget + number(decay.bias), 1.0) * number(decay.rate).exp().neg());
        let mut strength = by_head(activation::sigmoid(strength));
        if ages.of_positions.iter().any(Option::is_none) {
            let text = ages.mask(|_, age| age.is_some(), &device).reshape([batch, 1, seq, 1]);
            (decay, strength) = (decay * text.clone(), strength * text);
        }
        Self {
            query: unit(part(0, key_heads, key_dim)) * (key_dim as f64).powf(-0.5),
            key: unit(part(key_heads * key_dim, key_heads, key_dim)),
            value: part(2 * key_heads * key_dim, value_heads, value_dim),
            decay,
            strength,
        }
    }

    /// Reads all positions in order.
    ///
    /// # Shapes
    /// - output: `[batch, seq, value_heads * value_dim]`
    fn read(self, ages: &Ages, memory: &mut Option<Tensor<4>>) -> Tensor<3> {
        let [batch, heads, seq, width] = self.value.dims();
        let mut read = Vec::with_capacity(seq.div_ceil(CHUNK));
        for start in (0..seq).step_by(CHUNK) {
            let positions = start..(start + CHUNK).min(seq);
            let own = |x: &Tensor<4>| {
                let [batch, heads, _, width] = x.dims();
                x.clone().slice([0..batch, 0..heads, positions.clone(), 0..width])
            };
            let chunk = Self {
                query: own(&self.query),
                key: own(&self.key),
                value: own(&self.value),
                decay: own(&self.decay),
                strength: own(&self.strength),
            };
            let (output, state) = chunk.read_chunk(&ages.at(positions.clone()), memory.take());
            *memory = Some(state);
            read.push(output);
        }
        Tensor::cat(read, 2).swap_dims(1, 2).reshape([batch, seq, heads * width])
    }

    /// Reads a chunk. With `D[i, j]` the decay between positions, the corrections `u` of all positions solve a triangular system,
    ///
    /// ```text
    /// (I + strict(b k k^T * D)) u = b v - b decay k S
    /// ```
    ///
    /// and the outputs are `decay q S + (q k^T * D) u`, as in Flash Linear Attention.
    ///
    /// # Shapes
    /// - `state`: `[batch, heads, key_dim, value_dim]`
    /// - output: `[batch, heads, chunk, value_dim]`, and the state after it
    fn read_chunk(self, ages: &Ages, state: Option<Tensor<4>>) -> (Tensor<4>, Tensor<4>) {
        let Self { query, key, value, decay, strength } = self;
        let ([batch, heads, len, _], device) = (value.dims(), value.device());
        let state = state
            .filter(|_| !ages.of_positions.iter().enumerate().all(|(at, age)| begins_inside(at % len, *age)));
        let decay = decay.cumsum(2);
        let pairs = ages.pairs(&device);
        let apart = pairs.equal_elem(0.0).expand([batch, heads, len, len]);
        let between = decay.clone() - decay.clone().swap_dims(2, 3);
        // A finite number, whose derivative is no NaN.
        let between = between.mask_fill(apart, -1e30).exp();
        let weighted = key.clone() * strength.clone();
        let system = weighted.clone().matmul(key.clone().swap_dims(2, 3)) * between.clone();
        let solve = inverse(system, &device);
        let seen = query.clone().matmul(key.clone().swap_dims(2, 3)) * between.clone();
        let mut corrections = solve.clone().matmul(value * strength);
        let to_end = between.slice([0..batch, 0..heads, len - 1..len, 0..len]).swap_dims(2, 3);
        let Some(state) = state else {
            let next = (key * to_end).swap_dims(2, 3).matmul(corrections.clone());
            return (seen.matmul(corrections), next);
        };
        let mut since = decay.exp();
        if !ages.go_on() || ages.of_positions.contains(&Some(0)) {
            let earlier = ages.mask(|at, age| age.is_some() && !begins_inside(at, age), &device);
            since = since * earlier.reshape([batch, 1, len, 1]);
        }
        corrections = corrections - solve.matmul(weighted * since.clone()).matmul(state.clone());
        let output = (query * since.clone()).matmul(state.clone()) + seen.matmul(corrections.clone());
        let kept = since.slice([0..batch, 0..heads, len - 1..len, 0..1]);
        (output, state * kept + (key * to_end).swap_dims(2, 3).matmul(corrections))
    }
}

/// Whether the text of a position begins in the chunk, so that nothing before the chunk counts. Padding has no text.
fn begins_inside(at: usize, age: Option<usize>) -> bool {
    age.is_none_or(|age| age <= at)
}

/// `(I + L)^-1`, where `L` is what a matrix has below its diagonal, by halves: of a matrix in blocks,
///
/// ```text
/// [A 0; C B]^-1 = [A^-1 0; -B^-1 C A^-1 B^-1]
/// ```
///
/// # Shapes
/// - `matrix` and output: `[batch, heads, n, n]`
fn inverse(matrix: Tensor<4>, device: &Device) -> Tensor<4> {
    let [batch, heads, len, _] = matrix.dims();
    let constant = |holds: &dyn Fn(usize, usize) -> bool| -> Tensor<4> {
        let places = (0..len * len).map(|at| f32::from(u8::from(holds(at / len, at % len)))).collect();
        host_tensor(places, [1, 1, len, len], device)
    };
    let identity = constant(&|row, column| row == column).expand([batch, heads, len, len]);
    if len == 1 {
        return identity;
    }
    // Blocks of one row: their inverses are 1.
    let below = |width: usize| {
        constant(&|row, column| {
            row / (2 * width) == column / (2 * width)
                && row / width % 2 == 1
                && (column / width).is_multiple_of(2)
        })
    };
    let mut solved = identity - matrix.clone() * below(1);
    let mut width = 2;
    while width < len {
        let corner = matrix.clone() * below(width);
        solved = solved.clone() - solved.clone().matmul(corner).matmul(solved);
        width *= 2;
    }
    solved
}
