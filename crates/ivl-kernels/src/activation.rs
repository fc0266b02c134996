//! Non-linearities of the feed-forward layers.

use crate::cpu::{Kernel, LANES, Level, each, padded, run};
use crate::exp::exp;
use crate::parallel_rows::{GRAIN, for_row_groups, parallel_map};

/// A non-linearity of the form `x * sigmoid(g(x))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationFn {
    /// `g(x) = x`.
    Silu,
    /// The tanh approximation of GELU: `g(x) = 2 sqrt(2 / pi) (x + 0.044715 x^3)`.
    GeluTanh,
    /// `g(x) = 1.702 x`.
    QuickGelu,
}

impl ActivationFn {
    /// `act(x)`, in place.
    pub fn apply(self, x: &mut [f32]) {
        for_row_groups(x, LANES, |_, x| run(Activate { activation: self, x }));
    }

    /// `act(x) * up`, in place.
    ///
    /// # Panics
    /// If the slices are not of one length.
    pub fn apply_to(self, x: &mut [f32], up: &[f32]) {
        assert_eq!(x.len(), up.len(), "one number to multiply with each");
        for_row_groups(x, LANES, |first, x| {
            run(Activate { activation: self, x });
            x.iter_mut().zip(&up[first * LANES..]).for_each(|(x, up)| *x *= up);
        });
    }

    /// The derivatives of `d . (act(x) * up)` by `x` and `up`, in their places; without `up`, that of `d . act(x)`.
    ///
    /// # Panics
    /// If the slices are not of one length.
    pub fn gradient(self, x: &mut [f32], up: Option<&mut [f32]>, d: &[f32]) {
        assert!(
            x.len() == d.len() && up.as_ref().is_none_or(|up| up.len() == d.len()),
            "a derivative for each number"
        );
        let ups: Vec<_> = match up {
            Some(up) => up.chunks_mut(GRAIN).map(Some).collect(),
            None => d.chunks(GRAIN).map(|_| None).collect(),
        };
        let parts = x.chunks_mut(GRAIN).zip(ups).zip(d.chunks(GRAIN));
        parallel_map(
            parts.map(|((x, up), d)| ActivationGradient { activation: self, x, up, d }),
            |_, part| run(part),
        );
    }

    /// `g'(x)`.
    #[inline(always)]
    fn slope<L: Level>(self, x: f32) -> f32 {
        match self {
            Self::Silu => 1.0,
            Self::GeluTanh => L::fma_one(x * x, 3.0 * 0.071_354_814, 1.595_769),
            Self::QuickGelu => 1.702,
        }
    }

    /// `g(x)`.
    #[inline(always)]
    fn inner<L: Level>(self, x: f32) -> f32 {
        match self {
            Self::Silu => x,
            Self::GeluTanh => L::fma_one(x * x, 0.071_354_814 * x, 1.595_769 * x),
            Self::QuickGelu => 1.702 * x,
        }
    }
}

struct Activate<'a> {
    activation: ActivationFn,
    x: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let (chunks, rest) = self.x.as_chunks_mut::<LANES>();
        for chunk in chunks {
            *chunk = act::<L>(self.activation, *chunk);
        }
        let last = act::<L>(self.activation, padded(rest, 0.0));
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

#[inline(always)]
fn act<L: Level>(activation: ActivationFn, x: [f32; LANES]) -> [f32; LANES] {
    let negative = each(|lane| -activation.inner::<L>(x[lane]));
    let powers = exp::<L>(negative);
    each(|lane| x[lane] / (1.0 + powers[lane]))
}

struct ActivationGradient<'a> {
    activation: ActivationFn,
    x: &'a mut [f32],
    up: Option<&'a mut [f32]>,
    d: &'a [f32],
}

impl Kernel for &mut ActivationGradient<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        for start in (0..self.x.len()).step_by(LANES) {
            let end = self.x.len().min(start + LANES);
            let part = |numbers: &[f32]| match numbers[start..].first_chunk::<LANES>() {
                Some(whole) => *whole,
                None => padded(&numbers[start..], 0.0),
            };
            let (x, d) = (part(self.x), part(self.d));
            let up = self.up.as_deref().map(part);
            let powers = exp::<L>(each(|lane| -self.activation.inner::<L>(x[lane])));
            let sigmoid = each(|lane| 1.0 / (1.0 + powers[lane]));
            let by_x = each(|lane| {
                let (x, s) = (x[lane], sigmoid[lane]);
                let slope = s * L::fma_one(x * (1.0 - s), self.activation.slope::<L>(x), 1.0);
                d[lane] * slope * up.map_or(1.0, |up| up[lane])
            });
            if let Some(up) = &mut self.up {
                let by_up = each(|lane| d[lane] * x[lane] * sigmoid[lane]);
                up[start..end].copy_from_slice(&by_up[..end - start]);
            }
            self.x[start..end].copy_from_slice(&by_x[..end - start]);
        }
    }
}
