//! How many tokens to draft at once.

use std::time::Duration;

/// The factor by which each later round lowers the weight of a round.
const FADE: f64 = 0.9;

/// Plain steps after which a draft that did not pay is tried again.
const PAUSE: usize = 32;

/// Tokens that the first round drafts.
const FIRST: usize = 4;

/// A guess at the acceptance rate, worth this many judged tokens, before there are any.
const EXPECTED: (f64, f64) = (0.7, 2.0);

/// Chooses draft lengths from what rounds cost and how many of their tokens were accepted.
///
/// With acceptance rate `a`, `k` drafted tokens yield `(1 - a^(k+1)) / (1 - a)` tokens on average
/// ([Leviathan et al. 2023](https://arxiv.org/abs/2211.17192), equation 1), in the time of `k` drafts and a pass of the
/// target over `k + 1` tokens. The length with the most tokens a second is taken; it is 0 where drafts do not pay.
#[derive(Debug, Clone)]
pub struct Pace {
    most: usize,
    adapts: bool,
    /// Accepted and judged tokens.
    judged: (f64, f64),
    /// Seconds of a drafted token.
    draft: Mean,
    /// Seconds of a step without drafts.
    plain: Mean,
    /// Seconds of a pass over several tokens, by their number.
    pass: Line,
    since_draft: usize,
}

/// The outcome of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpeculativeRound {
    /// Tokens drafted.
    pub drafted: usize,
    /// How many of them the target chose too.
    pub accepted: usize,
    /// Drafted tokens that were judged; everything after the first rejection is unknown.
    pub judged: usize,
    /// Time of the drafts.
    pub drafting: Duration,
    /// Time of the target's pass.
    pub verifying: Duration,
}

impl Pace {
    /// At most `most` tokens; the number adapts to acceptance and timing.
    pub fn up_to(most: usize) -> Self {
        Self {
            most,
            adapts: true,
            judged: (EXPECTED.0 * EXPECTED.1, EXPECTED.1),
            draft: Mean::default(),
            plain: Mean::default(),
            pass: Line::default(),
            since_draft: 0,
        }
    }

    /// Always `length` tokens.
    pub fn fixed(length: usize) -> Self {
        Self { adapts: false, ..Self::up_to(length) }
    }

    /// The probability that a drafted token is accepted if those before it are.
    pub fn acceptance(&self) -> f64 {
        self.judged.0 / self.judged.1
    }

    /// Tokens to draft in the next round.
    pub fn length(&self) -> usize {
        if !self.adapts {
            return self.most;
        }
        let Some(plain) = self.plain.value() else {
            // The cost of a step without drafts must be known first.
            return 0;
        };
        let Some(line) = self.pass.fit(plain) else { return FIRST.min(self.most) };
        let draft = self.draft.value().unwrap_or(0.0);
        let speed = |length: usize| {
            let (rate, k) = (self.acceptance().min(0.999), length as f64);
            let tokens = (1.0 - rate.powf(k + 1.0)) / (1.0 - rate);
            let pass = if length == 0 { plain } else { line.0 + line.1 * (k + 1.0) };
            tokens / (k * draft + pass)
        };
        let best = (0..=self.most).max_by(|&a, &b| speed(a).total_cmp(&speed(b)).then(b.cmp(&a)));
        match best.unwrap_or(0) {
            0 if self.since_draft >= PAUSE => 1.min(self.most),
            length => length,
        }
    }

    /// Updates the estimates with a round.
    pub fn observe(&mut self, round: &SpeculativeRound) {
        let verifying = round.verifying.as_secs_f64();
        if round.drafted == 0 {
            self.since_draft += 1;
            self.plain.add(verifying);
            return;
        }
        self.since_draft = 0;
        self.judged.0 = FADE * self.judged.0 + round.accepted as f64;
        self.judged.1 = FADE * self.judged.1 + round.judged as f64;
        self.draft.add(round.drafting.as_secs_f64() / round.drafted as f64);
        self.pass.add((round.drafted + 1) as f64, verifying);
    }
}

/// A mean in which older numbers fade.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, number: f64) {
        (self.sum, self.weight) = (FADE * self.sum + number, FADE * self.weight + 1.0);
    }

    fn value(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// A least-squares line through points, in which older ones fade.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Line {
    fn add(&mut self, x: f64, y: f64) {
        let fade = |sum: f64, new: f64| FADE * sum + new;
        self.weight = fade(self.weight, 1.0);
        (self.x, self.y) = (fade(self.x, x), fade(self.y, y));
        (self.xx, self.xy) = (fade(self.xx, x * x), fade(self.xy, x * y));
    }

    /// Intercept and slope of the time of a pass; if all points are at one place, the slope leads to a pass over one token,
    /// which takes `single`.
    fn fit(self, single: f64) -> Option<(f64, f64)> {
        if self.weight == 0.0 {
            return None;
        }
        let (x, y) = (self.x / self.weight, self.y / self.weight);
        let spread = self.xx / self.weight - x * x;
        let slope =
            if spread > 0.1 { (self.xy / self.weight - x * y) / spread } else { (y - single) / (x - 1.0) };
        let slope = slope.max(0.0);
        Some((y - slope * x, slope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds on a machine where a draft takes `draft` and a pass over `n` tokens `pass(n)` milliseconds; every round accepts
    /// the share `rate` of what it can. The lengths of the last rounds.
    fn settle(most: usize, rate: f64, draft: f64, pass: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut pace = Pace::up_to(most);
        let seconds = |milliseconds: f64| Duration::from_secs_f64(milliseconds / 1000.0);
        let mut luck = 0.0;
        let mut lengths = Vec::new();
        for _ in 0..400 {
            let drafted = pace.length();
            // As many tokens in a row as bring the share nearest to the rate.
            let mut accepted = 0;
            while accepted < drafted {
                luck += rate;
                if luck < 1.0 {
                    break;
                }
                luck -= 1.0;
                accepted += 1;
            }
            let judged = (accepted + 1).min(drafted);
            let (drafting, verifying) = (seconds(draft * drafted as f64), seconds(pass(drafted + 1)));
            pace.observe(&SpeculativeRound { drafted, accepted, judged, drafting, verifying });
            lengths.push(drafted);
        }
        lengths.split_off(300)
    }

    fn mean(lengths: &[usize]) -> f64 {
        lengths.iter().sum::<usize>() as f64 / lengths.len() as f64
    }

    #[test]
    fn cheap_good_drafts_are_long_and_poor_ones_short() {
        let flat = |_| 100.0;
        assert!(mean(&settle(16, 0.95, 5.0, flat)) > 8.0);
        let short = mean(&settle(16, 0.4, 5.0, flat));
        assert!((0.9..4.0).contains(&short), "{short}");
        assert!(mean(&settle(3, 0.95, 1.0, flat)) <= 3.0);
    }

    #[test]
    fn drafts_that_do_not_pay_are_left_out_and_tried_again_now_and_then() {
        // Every token of a pass costs as much as a step: nothing can be won.
        let dear = settle(16, 0.8, 10.0, |tokens| 100.0 * tokens as f64);
        assert!(mean(&dear) < 0.1, "{dear:?}");
        assert!(dear.contains(&1), "{dear:?}");
        assert!(mean(&settle(16, 0.05, 40.0, |_| 100.0)) < 0.2);
    }

    #[test]
    fn a_fixed_length_does_not_adapt() {
        let mut pace = Pace::fixed(3);
        let none = Duration::ZERO;
        pace.observe(&SpeculativeRound {
            drafted: 3,
            accepted: 0,
            judged: 1,
            drafting: none,
            verifying: none,
        });
        assert_eq!(pace.length(), 3);
    }
}
