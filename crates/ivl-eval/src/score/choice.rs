//! Which of several answers a model finds the most likely.

/// How the likelihoods of answers of different lengths are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChoiceMetric {
    /// As they are: `acc`.
    Acc,
    /// Divided by the number of characters of the choice: `acc_norm`.
    AccNorm,
    /// Divided by the number of bytes of the choice: `acc_bytes`.
    AccBytes,
}

impl ChoiceMetric {
    /// Number of the choice that is the most likely by this measure; the first among equals.
    ///
    /// As lm-evaluation-harness has it: lengths are those of the choice without the delimiter before it.
    pub(crate) fn choose(self, loglikelihoods: &[f64], choices: &[String]) -> usize {
        let length = |choice: &String| match self {
            Self::Acc => 1.0,
            Self::AccNorm => choice.chars().count() as f64,
            Self::AccBytes => choice.len() as f64,
        };
        let compared: Vec<f64> =
            loglikelihoods.iter().zip(choices).map(|(sum, choice)| sum / length(choice)).collect();
        most_likely(&compared)
    }
}

/// Index of the largest number, the first among equals; a NaN counts as the largest, as in `numpy.argmax`.
fn most_likely(numbers: &[f64]) -> usize {
    let mut best = 0;
    for (index, &number) in numbers.iter().enumerate() {
        if numbers[best].is_nan() {
            break;
        }
        if number > numbers[best] || number.is_nan() {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_characters_or_bytes() {
        let choices = ["Ünü", "abcd"].map(str::to_owned);
        let choose = |metric: ChoiceMetric, sums: [f64; 2]| metric.choose(&sums, &choices);
        assert_eq!(choose(ChoiceMetric::Acc, [-3.0, -3.5]), 0);
        // Three characters against four, five bytes against four.
        assert_eq!(choose(ChoiceMetric::AccNorm, [-3.0, -3.5]), 1);
        assert_eq!(choose(ChoiceMetric::AccBytes, [-3.0, -3.5]), 0);
    }

    #[test]
    fn the_first_among_equals_and_nan_before_all() {
        assert_eq!(most_likely(&[-2.0, -1.0, -1.0]), 1);
        assert_eq!(most_likely(&[-2.0, f64::NAN, 3.0, f64::NAN]), 1);
        assert_eq!(most_likely(&[f64::NEG_INFINITY, f64::NEG_INFINITY]), 0);
    }
}
