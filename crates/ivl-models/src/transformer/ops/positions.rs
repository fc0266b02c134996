//! Parts of activations, and products of them.

use std::ops::Range;

use burn::tensor::{Tensor, activation};

use super::activations::{Activations, HostRows};

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
