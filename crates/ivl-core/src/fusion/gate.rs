//! Conditions on which values are consulted.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::distribution::Uncertainty;
use crate::error::Error;

/// Where the values of a base are consulted; elsewhere the logits are the base's. See [`GatedLm`](crate::fusion::GatedLm).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// Where the base's entropy is above a threshold, in nats.
    Entropy {
        /// The threshold.
        above: f64,
    },
    /// Where the base's two largest probabilities differ by less than a threshold.
    Margin {
        /// The threshold.
        below: f64,
    },
    /// At the first of every `tokens` tokens.
    Every {
        /// The period.
        tokens: usize,
    },
    /// At the first `tokens` tokens.
    First {
        /// The number of tokens.
        tokens: usize,
    },
}

const EXPECTED: &str = "entropy>NATS, margin<PROBABILITY, every=TOKENS or first=TOKENS";

impl Gate {
    /// Whether it opens, from the base's logits at a position and the index of the token that they predict. Schedules count
    /// indices, thresholds read logits.
    pub fn opens(self, logits: &[f32], predicted: usize) -> bool {
        match self {
            Self::Entropy { above } => Uncertainty::of(logits).entropy > above,
            Self::Margin { below } => Uncertainty::of(logits).margin < below,
            Self::Every { tokens } => predicted.is_multiple_of(tokens.max(1)),
            Self::First { tokens } => predicted < tokens,
        }
    }

    /// Whether it reads logits.
    pub(crate) fn is_threshold(self) -> bool {
        matches!(self, Self::Entropy { .. } | Self::Margin { .. })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entropy { above } => write!(f, "entropy>{above}"),
            Self::Margin { below } => write!(f, "margin<{below}"),
            Self::Every { tokens } => write!(f, "every={tokens}"),
            Self::First { tokens } => write!(f, "first={tokens}"),
        }
    }
}

/// As it is displayed; `=` may stand for `>` and `<`, which a shell would interpret.
impl FromStr for Gate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text.split_once(['=', '>', '<']).and_then(|(kind, number)| {
            let sign = &text[kind.len()..=kind.len()];
            let threshold = || number.trim().parse().ok().filter(|x: &f64| !x.is_nan());
            let tokens = || number.trim().parse().ok();
            match (kind.trim(), sign) {
                ("entropy", "=" | ">") => Some(Self::Entropy { above: threshold()? }),
                ("margin", "=" | "<") => Some(Self::Margin { below: threshold()? }),
                ("every", "=") => Some(Self::Every { tokens: tokens().filter(|&tokens| tokens > 0)? }),
                ("first", "=") => Some(Self::First { tokens: tokens()? }),
                _ => None,
            }
        });
        parsed.ok_or_else(|| Error::InvalidSetting {
            name: "gate",
            expected: EXPECTED,
            got: format!("`{text}`"),
        })
    }
}

/// Counts of a gate so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateCounts {
    /// Positions of texts, without padding, whose logits were computed.
    pub positions: usize,
    /// Those at which the values were consulted.
    pub consulted: usize,
    /// Passes of the base.
    pub base_passes: usize,
    /// Passes of each value: without a gate as many as of the base.
    pub value_passes: usize,
}

/// The counts of a gate, shared by the model and its observers.
#[derive(Debug, Default)]
pub struct GateLog(Mutex<GateCounts>);

impl GateLog {
    /// The counts so far.
    pub fn counts(&self) -> GateCounts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut GateCounts)) {
        count(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_as_they_are_written() {
        for text in ["entropy>1.5", "margin<0.2", "every=4", "first=32"] {
            assert_eq!(text.parse::<Gate>().expect("a gate").to_string(), text);
        }
        assert_eq!("entropy=1.5".parse::<Gate>().expect("a gate"), Gate::Entropy { above: 1.5 });
        for wrong in
            ["", "entropy", "entropy<1", "margin>1", "every=0", "every=x", "first=-1", "entropy>NaN", "€=1"]
        {
            let error = wrong.parse::<Gate>().expect_err("no gate").to_string();
            assert!(error.contains("entropy>NATS") && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn gates_open_by_their_definitions() {
        // Probabilities 1/2, 1/4, 1/4: 1.04 nats, a margin of 1/4.
        let logits = [0.5_f32, 0.25, 0.25].map(f32::ln);
        let opens = |gate: &str, predicted| gate.parse::<Gate>().expect("a gate").opens(&logits, predicted);
        assert!(opens("entropy>1.03", 0) && !opens("entropy>1.05", 0));
        assert!(opens("margin<0.26", 0) && !opens("margin<0.24", 0));
        let open = |gate: &str| (0..6).filter(|&predicted| opens(gate, predicted)).collect::<Vec<_>>();
        assert_eq!(open("every=3"), [0, 3]);
        assert_eq!(open("first=2"), [0, 1]);
    }
}
