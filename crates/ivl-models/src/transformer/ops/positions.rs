//! Parts of activations, and products of them.

use std::ops::Range;

use burn::module::Param;
use burn::tensor::{DType, Tensor, activation};
use half::{bf16, f16};

use super::activations::{Activations, HostRows};
use super::numbers::Numbers;

/// Some positions of every row.
///
/// # Shapes
/// - `x`: `[batch, seq, width]`
/// - output: `[batch, positions, width]`
pub(in crate::transformer) fn positions(x: &Activations, positions: Range<usize>) -> Activations {
    match x {
        Activations::Host(x) if positions == (0..x.seq) => Activations::Host(x.clone()),
        Activations::Host(x) => {
            let width = x.width();
            let rows = x.numbers.chunks(x.seq * width);
            let part = positions.start * width..positions.end * width;
            let numbers = rows.flat_map(|row| &row[part.clone()]).copied().collect();
            Activations::Host(HostRows { numbers, batch: x.batch, seq: positions.len() })
        }
        Activations::Tensor(x) => {
            let [batch, seq, width] = x.dims();
            let x = (**x).clone();
            if positions == (0..seq) { x.into() } else { x.slice([0..batch, positions, 0..width]).into() }
        }
    }
}

/// Some of the numbers at each position.
///
/// # Shapes
/// - `x`: `[batch, seq, width]`
/// - output: `[batch, seq, columns]`
pub(in crate::transformer) fn columns(x: &Activations, columns: Range<usize>) -> Activations {
    match x {
        Activations::Host(x) => {
            let rows = x.numbers.chunks(x.width());
            Activations::Host(x.with(rows.flat_map(|row| &row[columns.clone()]).copied().collect()))
        }
        Activations::Tensor(x) => {
            let [batch, seq, _] = x.dims();
            (**x).clone().slice([0..batch, 0..seq, columns]).into()
        }
    }
}

/// `factor * x` with a number that is not trained.
///
/// # Shapes
/// - `factor`: `[1]`
/// - `x` and output: `[batch, seq, width]`
pub(in crate::transformer) fn scale_by(factor: &Param<Tensor<1>>, x: Activations) -> Activations {
    match x {
        Activations::Host(_) => x.scaled(Some(f64::from(Numbers::of(factor).as_slice()[0]))),
        Activations::Tensor(x) => (*x * factor.val().detach().reshape([1, 1, 1])).into(),
    }
}

/// `factor * x`, with the factor in the type of `x`: to the checkpoints' own code it is a tensor of the model's type.
pub(in crate::transformer) fn scaled_tensor<const D: usize>(x: Tensor<D>, factor: f64) -> Tensor<D> {
    let factor = match x.dtype() {
        DType::BF16 => bf16::from_f64(factor).to_f64(),
        DType::F16 => f16::from_f64(factor).to_f64(),
        _ => factor,
    };
    x * factor
}

/// Positions of every row, and then others.
///
/// # Shapes
/// - inputs: `[batch, seq, width]`
/// - output: `[batch, sum of seq, width]`
pub(in crate::transformer) fn one_after_the_other(first: Activations, second: Activations) -> Activations {
    match (first, second) {
        (Activations::Host(first), Activations::Host(second)) => {
            let (width, batch, seq) = (first.width(), first.batch, first.seq + second.seq);
            let rows = first.numbers.chunks(first.seq * width).zip(second.numbers.chunks(second.seq * width));
            let numbers = rows.flat_map(|(first, second)| first.iter().chain(second)).copied().collect();
            Activations::Host(HostRows { numbers, batch, seq })
        }
        (first, second) => Tensor::cat(vec![first.into_tensor(), second.into_tensor()], 1).into(),
    }
}

/// Equal parts of each of several groups of neighbours: the first parts of all groups, the second ones, and so on.
///
/// # Shapes
/// - `x`: `[batch, seq, groups * PARTS * width]`
/// - output: for each part `[batch, seq, groups * width]`
pub(in crate::transformer) fn parts<const PARTS: usize>(
    x: &Activations,
    groups: usize,
) -> [Activations; PARTS] {
    std::array::from_fn(|part| match x {
        Activations::Host(x) => {
            let width = x.width() / (groups * PARTS);
            let numbers = x.numbers.chunks(width).skip(part).step_by(PARTS).flatten().copied().collect();
            Activations::Host(x.with(numbers))
        }
        Activations::Tensor(x) => {
            let [batch, seq, all] = x.dims();
            let width = all / (groups * PARTS);
            let split: Tensor<4> = (**x).clone().reshape([batch, seq, groups, PARTS * width]);
            let part = split.slice([0..batch, 0..seq, 0..groups, part * width..(part + 1) * width]);
            part.reshape([batch, seq, groups * width]).into()
        }
    })
}

/// `a * b`.
///
/// # Shapes
/// - inputs and output: `[batch, seq, width]`
pub(in crate::transformer) fn multiply(a: Activations, b: Activations) -> Activations {
    match (a, b) {
        (Activations::Host(mut a), Activations::Host(b)) => {
            a.numbers.iter_mut().zip(b.numbers).for_each(|(a, b)| *a *= b);
            Activations::Host(a)
        }
        (a, b) => (a.into_tensor() * b.into_tensor()).into(),
    }
}

/// `sigmoid(gate) * x`.
///
/// # Shapes
/// - inputs and output: `[batch, seq, width]`
pub(in crate::transformer) fn sigmoid_gate(gate: Activations, x: Activations) -> Activations {
    match (gate, x) {
        (Activations::Host(gate), Activations::Host(mut x)) => {
            x.numbers.iter_mut().zip(gate.numbers).for_each(|(x, gate)| *x *= 1.0 / (1.0 + (-gate).exp()));
            Activations::Host(x)
        }
        (gate, x) => (activation::sigmoid(gate.into_tensor()) * x.into_tensor()).into(),
    }
}
