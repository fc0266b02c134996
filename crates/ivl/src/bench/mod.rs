//! The speed of a model against the limits of memory and arithmetic, measured in the same minutes.

mod ceiling;
mod config;
mod costs;
mod measure;
mod row;
mod shape;
mod training;

use burn::tensor::DType;
use ivl_core::{CausalLm, FusedLm, Value};
use ivl_models::{TransformerLm, Weights};
use ivl_train::Precision;

use self::ceiling::Ceiling;
pub use self::config::{BenchConfig, Measure};
use self::costs::Costs;
use self::measure::{DecodingBatch, prefill, scoring};
pub use self::row::{BenchRow, Bound};
use self::shape::BenchModel;
use self::training::{ROWS, TrainingStep};
use crate::device::Placement;
use crate::error::{Error, Result};

/// Threads that the CPU kernels compute on.
pub fn threads() -> usize {
    ivl_kernels::threads()
}

/// Texts that are scored together.
const TEXTS: usize = 8;

/// Models in memory, ready to be measured.
pub struct Bench<'a> {
    config: &'a BenchConfig,
    placement: Placement,
    name: String,
    base: TransformerLm,
    fused: Option<FusedLm>,
    /// The value's name, to be loaded again for training.
    value: Option<&'a str>,
    costs: Vec<Costs>,
    /// The networks, whose experts that were read are counted.
    nets: Vec<TransformerLm>,
    ceiling: Ceiling,
}

impl<'a> Bench<'a> {
    /// Opens a model and a value of the same vocabulary. Each is a directory, a hub name, or one of the Llama shapes 24m, 134m,
    /// 1b and 7b, which get random weights.
    ///
    /// # Errors
    /// Names that cannot be resolved and models that cannot be loaded.
    pub fn open(model: &str, value: Option<&'a str>, config: &'a BenchConfig) -> Result<Self> {
        let placement = config.options.one_device()?;
        let model = BenchModel::open(model, &placement, config)?;
        let value_model = value.map(|name| BenchModel::open(name, &placement, config)).transpose()?;
        let mut costs = vec![Costs::of(&model)];
        costs.extend(value_model.as_ref().map(Costs::of));
        let bytes = costs.iter().map(|costs| costs.bytes as usize).sum();
        let ceiling = Ceiling::new(bytes, &placement)?;
        let mut name = model.name.clone();
        let base = TransformerLm::new(model.net, model.vocab, &model.name);
        let (mut fused, mut nets) = (None, vec![base.clone()]);
        if let Some(value) = value_model {
            name += &format!(" + {}", value.name);
            let lm = TransformerLm::new(value.net, value.vocab, &value.name);
            nets.push(lm.clone());
            fused = Some(FusedLm::new(Box::new(base.clone()), vec![Value::new(Box::new(lm), 1.0)])?);
        }
        Ok(Self { config, placement, name, base, fused, value, costs, nets, ceiling })
    }

    /// The names of the models.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the weights' type; of several, the names of all.
    pub fn dtype_name(&self) -> String {
        let mut names: Vec<_> = self
            .nets
            .iter()
            .flat_map(|lm| lm.net().formats())
            .map(|format| Weights::from(format).name())
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { self.placement.dtype_name().to_owned() } else { names.join(" and ") }
    }

    /// Measures, and hands out each row as soon as it is there.
    ///
    /// # Errors
    /// [`Error::Settings`] for a training step without a value; [`Error::Output`] from `on_row`, which ends the measurements.
    pub fn run(&self, on_row: &mut dyn FnMut(&BenchRow) -> std::io::Result<()>) -> Result<()> {
        let mut show = |row: BenchRow| on_row(&row).map_err(Error::Output);
        match &self.fused {
            None => self.measure(&self.base, self.costs[0], &mut show)?,
            Some(fused) => {
                if self.config.measures_any(Measure::Fused) {
                    show(self.fused_decoding(fused)?)?;
                }
                self.measure(fused, self.costs[0].plus(self.costs[1]), &mut show)?;
            }
        }
        if self.config.measures_any(Measure::Train) {
            show(self.training_step()?)?;
        }
        Ok(())
    }

    /// Decoding, prefill and scoring of one model.
    fn measure(
        &self,
        lm: &dyn CausalLm,
        costs: Costs,
        show: &mut dyn FnMut(BenchRow) -> Result<()>,
    ) -> Result<()> {
        let (config, ceiling) = (self.config, &self.ceiling);
        if config.measures_any(Measure::Decode) {
            for &rows in &config.rows {
                let mut decoding = DecodingBatch::new(lm, rows, config.context)?;
                show(self.row("decode", Bound::Read, [rows, config.tokens], || {
                    let before = self.expert_bytes();
                    let step = decoding.step(config.tokens)?;
                    // Rows choose different experts: those that were read count.
                    let more = (self.expert_bytes() - before) / config.tokens as f64;
                    let ceiling = costs.read(more, ceiling)?;
                    Ok((rows as f64 / step, rows as f64 / ceiling))
                })?)?;
            }
        }
        let len = config.prompt;
        if config.measures_any(Measure::Prefill) {
            show(self.row("prefill", Bound::Multiply, [1, len], || {
                Ok((len as f64 / prefill(lm, len)?, len as f64 / costs.multiply(len, 1, ceiling)?))
            })?)?;
        }
        let tokens = TEXTS * len;
        if config.measures_any(Measure::Score) {
            show(self.row("score", Bound::Multiply, [TEXTS, tokens], || {
                let ceiling = costs.multiply(tokens, tokens, ceiling)?;
                Ok((tokens as f64 / scoring(lm, TEXTS, len)?, tokens as f64 / ceiling))
            })?)?;
        }
        Ok(())
    }

    /// Bytes of experts that all passes so far have read.
    fn expert_bytes(&self) -> f64 {
        let read = |lm: &TransformerLm| lm.net().expert_reads() as f64 * lm.net().bytes_of_expert() as f64;
        self.nets.iter().map(read).sum()
    }

    /// Base and value, where the ceiling is the base's own speed and the share of the weights that are its own.
    fn fused_decoding(&self, fused: &FusedLm) -> Result<BenchRow> {
        let share = self.costs[0].bytes / (self.costs[0].bytes + self.costs[1].bytes);
        let (context, tokens) = (self.config.context, self.config.tokens);
        let mut base = DecodingBatch::new(&self.base, 1, context)?;
        let mut fused = DecodingBatch::new(fused, 1, context)?;
        self.row("fused decode", Bound::Read, [1, tokens], || {
            Ok((1.0 / fused.step(tokens)?, share / base.step(tokens)?))
        })
    }

    /// A training step. Its ceiling is a forward pass of the base, and three times that of the value.
    fn training_step(&self) -> Result<BenchRow> {
        let Some(name) = self.value else {
            return Err(Error::Settings {
                reason: "a training step needs a value, which is trained".to_owned(),
            });
        };
        let device = self.placement.device.clone().autodiff();
        let value = BenchModel::for_training(name, &device, self.config)?;
        let precision = match self.placement.weights {
            Weights::Tensors(DType::BF16) => Precision::Bf16,
            _ => Precision::F32,
        };
        let mut training = TrainingStep::new(&self.base, value, self.config.context, precision)?;
        let tokens = ROWS * self.config.context;
        let [base, value] = [self.costs[0], self.costs[1]];
        let passes = base.plus(value.plus(value).plus(value));
        self.row("training step", Bound::Multiply, [ROWS, tokens], || {
            let ceiling = passes.multiply(tokens, tokens, &self.ceiling)?;
            Ok((tokens as f64 / training.seconds()?, tokens as f64 / ceiling))
        })
    }

    fn row(
        &self,
        measure: &'static str,
        bound: Bound,
        [rows, tokens]: [usize; 2],
        round: impl FnMut() -> Result<(f64, f64)>,
    ) -> Result<BenchRow> {
        let empty = BenchRow { measure, rows, tokens, bound, ..BenchRow::empty(&self.placement.device) };
        empty.measured(self.config.rounds, &self.placement.device, round)
    }
}
