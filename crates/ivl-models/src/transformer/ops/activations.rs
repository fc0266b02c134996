//! Activations on their way through the blocks.

use std::ops::Add;

use burn::tensor::{Device, Tensor};

use super::numbers::{Numbers, host_tensor};

/// Activations `[batch, seq, width]`: a tensor on a device or, in a network whose weights are packed, plain numbers on the
/// host. For a small model, making tensors from the numbers of one token takes as long as some of its products.
#[derive(Debug, Clone)]
pub(in crate::transformer) enum Activations {
    /// On a device. Boxed, since a handle has hundreds of bytes, which would be copied wherever rows on the host are moved.
    Tensor(Box<Tensor<3>>),
    /// On the host.
    Host(HostRows),
}

impl Activations {
    /// Activations on the host if the layers that read them are packed, else the tensor.
    pub(in crate::transformer) fn new(x: Tensor<3>, packed: bool) -> Self {
        if packed { Self::Host(HostRows::new(x)) } else { x.into() }
    }

    /// The numbers, whatever holds them.
    pub(super) fn into_host(self) -> HostRows {
        match self {
            Self::Tensor(x) => HostRows::new(*x),
            Self::Host(rows) => rows,
        }
    }

    pub(in crate::transformer) fn into_tensor(self) -> Tensor<3> {
        match self {
            Self::Tensor(x) => *x,
            Self::Host(rows) => rows.into_tensor(),
        }
    }
}

impl Activations {
    /// Multiplied by a number, if there is one.
    pub(in crate::transformer) fn scaled(self, factor: Option<f64>) -> Self {
        match (self, factor) {
            (x, None) => x,
            (Self::Host(mut rows), Some(factor)) => {
                rows.numbers.iter_mut().for_each(|x| *x *= factor as f32);
                Self::Host(rows)
            }
            (Self::Tensor(x), Some(factor)) => (*x * factor).into(),
        }
    }
}

impl From<Tensor<3>> for Activations {
    fn from(x: Tensor<3>) -> Self {
        Self::Tensor(Box::new(x))
    }
}

impl Add for Activations {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::Host(mut rows), Self::Host(others)) => {
                rows.add(&others.numbers);
                Self::Host(rows)
            }
            (one, other) => (one.into_tensor() + other.into_tensor()).into(),
        }
    }
}

/// Activations in the memory of the host, `[batch, seq, width]`.
#[derive(Debug, Clone)]
pub(in crate::transformer) struct HostRows {
    pub(super) numbers: Vec<f32>,
    pub(super) batch: usize,
    pub(super) seq: usize,
}

impl HostRows {
    pub(super) fn new(x: Tensor<3>) -> Self {
        let [batch, seq, _] = x.dims();
        Self { numbers: Numbers::new(x).into_vec(), batch, seq }
    }

    /// Other numbers at the same positions.
    pub(super) fn with(&self, numbers: Vec<f32>) -> Self {
        Self { numbers, batch: self.batch, seq: self.seq }
    }

    pub(super) fn add(&mut self, others: &[f32]) {
        self.numbers.iter_mut().zip(others).for_each(|(x, other)| *x += other);
    }

    pub(super) fn to_tensor(&self) -> Tensor<3> {
        self.clone().into_tensor()
    }

    /// Numbers at one position.
    pub(super) fn width(&self) -> usize {
        self.numbers.len() / (self.batch * self.seq).max(1)
    }

    pub(super) fn into_tensor(self) -> Tensor<3> {
        let width = self.width();
        host_tensor(self.numbers, [self.batch, self.seq, width], &Device::flex())
    }
}
