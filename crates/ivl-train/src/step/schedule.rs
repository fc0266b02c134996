//! The learning rate over the steps.

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};

use crate::config::{OptimizerConfig, ScheduleKind};

/// Warm-up, then a fall to zero. With `w` warm-up steps of `n`, step `k` (from 0) has the factor
///
/// - `(k + 1) / w` for `k < w`,
/// - `(1 + cos(pi p)) / 2` (cosine), `1 - p` (linear) or `1` (constant) after, with `p = (k - w) / (n - w)`.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    peak: f64,
    kind: ScheduleKind,
    warmup: usize,
    total: usize,
    step: usize,
}

impl Schedule {
    /// The schedule of a run of `total` steps with this peak rate.
    pub(crate) fn new(config: &OptimizerConfig, peak: f64, total: usize) -> Self {
        let warmup = (config.warmup_ratio * total as f64).ceil() as usize;
        Self { peak, kind: config.schedule, warmup, total, step: 0 }
    }

    /// The rate of step `k`, counted from 0.
    pub(crate) fn rate(&self, k: usize) -> f64 {
        if k < self.warmup {
            return self.peak * (k + 1) as f64 / self.warmup as f64;
        }
        let progress = (k - self.warmup) as f64 / (self.total - self.warmup).max(1) as f64;
        self.peak
            * match self.kind {
                ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
                ScheduleKind::Linear => 1.0 - progress,
                ScheduleKind::Constant => 1.0,
            }
    }
}

impl LrScheduler for Schedule {
    fn step(&mut self) -> f64 {
        self.step += 1;
        self.rate(self.step - 1)
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("step", self.step as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        self.step = record.scalar::<u64>("step").unwrap_or_default() as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_formula() {
        let config = OptimizerConfig { warmup_ratio: 0.2, ..Default::default() };
        let cosine = Schedule::new(&config, 2.0, 10);
        assert_eq!([cosine.rate(0), cosine.rate(1), cosine.rate(2)], [1.0, 2.0, 2.0]);
        assert!((cosine.rate(6) - 1.0).abs() < 1e-12);
        let linear =
            Schedule::new(&OptimizerConfig { schedule: ScheduleKind::Linear, ..config.clone() }, 2.0, 10);
        assert!((linear.rate(4) - 1.5).abs() < 1e-12);
        let constant =
            Schedule::new(&OptimizerConfig { schedule: ScheduleKind::Constant, ..config }, 2.0, 10);
        assert!((constant.rate(9) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_record_continues_where_it_was_taken() {
        let mut first = Schedule::new(&OptimizerConfig::default(), 1e-4, 100);
        (0..7).for_each(|_| {
            first.step();
        });
        let mut second = Schedule::new(&OptimizerConfig::default(), 1e-4, 100);
        second.load_record(first.to_record());
        assert!((first.step() - second.step()).abs() < 1e-18);
    }
}
