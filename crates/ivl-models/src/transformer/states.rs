//! Hidden states on their way through the blocks.

use std::ops::Add;

use burn::tensor::Tensor;

use super::host::Rows;

/// Hidden states `[batch, seq, hidden]`: on a device or, in a network whose weights are packed, as numbers for kernels. A small
/// model spends as long on making tensors of a token's numbers as on some of its products.
#[derive(Debug, Clone)]
pub(super) enum States {
    Device(Tensor<3>),
    Host(Rows),
}

impl States {
    pub(super) fn new(x: Tensor<3>, packed: bool) -> Self {
        if packed { Self::Host(Rows::of(x)) } else { Self::Device(x) }
    }

    pub(super) fn into_tensor(self) -> Tensor<3> {
        match self {
            Self::Device(x) => x,
            Self::Host(rows) => rows.into_tensor(),
        }
    }
}

impl Add for States {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::Host(mut rows), Self::Host(others)) => {
                rows.numbers.iter_mut().zip(others.numbers).for_each(|(x, other)| *x += other);
                Self::Host(rows)
            }
            (one, other) => Self::Device(one.into_tensor() + other.into_tensor()),
        }
    }
}
