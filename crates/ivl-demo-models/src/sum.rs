//! Arithmetic in words.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::sentence::capitalized;
use crate::words::NUMBERS;

/// The largest number that is added.
pub(crate) const LARGEST: usize = 12;

/// `The sum of seven and five is twelve.`
pub(crate) fn sum(left: usize, right: usize) -> String {
    format!("The sum of {} and {} is {}.", NUMBERS[left], NUMBERS[right], NUMBERS[left + right])
}

/// A text of sums and differences.
pub(crate) fn sums(rng: &mut ChaCha8Rng) -> String {
    let mut sentences = Vec::new();
    for _ in 0..6 {
        let (left, right) = (rng.random_range(1..=LARGEST), rng.random_range(1..=LARGEST));
        let text = match rng.random_range(0..4) {
            0 => format!("{} without {} is {}.", NUMBERS[left + right], NUMBERS[right], NUMBERS[left]),
            1 => format!("{} and {} make {}.", NUMBERS[left], NUMBERS[right], NUMBERS[left + right]),
            _ => sum(left, right),
        };
        sentences.push(capitalized(&text));
    }
    sentences.join(" ")
}
