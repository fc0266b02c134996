//! Non-linearities of the feed-forward layers.

use crate::cpu::{Kernel, LANES, Level, each, run};
use crate::exp::exp;
use crate::rows::by_rows;

/// A non-linearity of the form `x * sigmoid(g(x))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `g(x) = x`.
    Silu,
    /// The tanh approximation of GELU: `g(x) = 2 sqrt(2 / pi) (x + 0.044715 x^3)`.
    GeluTanh,
    /// `g(x) = 1.702 x`.
    QuickGelu,
}

impl Gate {
    /// `act(x)`, in place.
    pub fn apply(self, x: &mut [f32]) {
        by_rows(x, LANES, |_, x| run(Numbers { gate: self, x }));
    }

    /// `act(x) * up`, in place.
    ///
    /// # Panics
    /// If the slices are not of one length.
    pub fn apply_to(self, x: &mut [f32], up: &[f32]) {
        assert_eq!(x.len(), up.len(), "one gate for each number");
        by_rows(x, LANES, |first, x| {
            run(Numbers { gate: self, x });
            x.iter_mut().zip(&up[first * LANES..]).for_each(|(x, up)| *x *= up);
        });
    }

    #[inline(always)]
    fn inner<L: Level>(self, x: f32) -> f32 {
        match self {
            Self::Silu => x,
            Self::GeluTanh => L::fma_one(x * x, 0.071_354_814 * x, 1.595_769 * x),
            Self::QuickGelu => 1.702 * x,
        }
    }
}

struct Numbers<'a> {
    gate: Gate,
    x: &'a mut [f32],
}

impl Kernel for Numbers<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let (chunks, rest) = self.x.as_chunks_mut::<LANES>();
        for chunk in chunks {
            *chunk = act::<L>(self.gate, *chunk);
        }
        let mut padded = [0.0; LANES];
        padded[..rest.len()].copy_from_slice(rest);
        rest.copy_from_slice(&act::<L>(self.gate, padded)[..rest.len()]);
    }
}

#[inline(always)]
fn act<L: Level>(gate: Gate, x: [f32; LANES]) -> [f32; LANES] {
    let negative = each(|lane| -gate.inner::<L>(x[lane]));
    let powers = exp::<L>(negative);
    each(|lane| x[lane] / (1.0 + powers[lane]))
}
