//! The sum of all numbers: as fast as memory can be read.

use std::sync::Mutex;

use crate::cpu::{Kernel, LANES, Level, run, sum};
use crate::parallel;

/// Numbers of a unit of work, half a megabyte.
const UNIT: usize = 1 << 17;

/// Adds up `numbers` on all threads. It does nothing else with them, so that its time is that of reading memory: a floor for
/// everything that reads as much.
pub fn total(numbers: &[f32]) -> f64 {
    let all = Mutex::new(0.0);
    let units: Vec<&[f32]> = numbers.chunks(UNIT).collect();
    parallel(units.len(), |unit| {
        let mut total = 0.0;
        run(Sum { numbers: units[unit], total: &mut total });
        *all.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += f64::from(total);
    });
    all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Sum<'a> {
    numbers: &'a [f32],
    total: &'a mut f32,
}

impl Kernel for Sum<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let (chunks, rest) = self.numbers.as_chunks::<LANES>();
        let (pairs, last) = chunks.as_chunks::<4>();
        let one = L::splat(1.0);
        let mut sums = [L::splat(0.0); 4];
        for pair in pairs {
            for part in 0..4 {
                sums[part] = L::fma(L::load(&pair[part]), one, sums[part]);
            }
        }
        let rest = rest.iter().sum::<f32>() + last.as_flattened().iter().sum::<f32>();
        *self.total = sums.map(|sums| sum(L::store(sums))).iter().sum::<f32>() + rest;
    }
}
