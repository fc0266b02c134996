//! The learned gate of a value: fitted to demonstrations, and written to the value's card.

use std::path::{Path, PathBuf};

use ivl_core::fusion::LearnedGate;
use ivl_eval::gate_fit::GateObservations;
use ivl_eval::transfer::{AnswerStats, Passage, answer_stats};
use ivl_models::{GateCard, GateLosses, ValueCard};
use ivl_train::{Dataset, SourceConfig};

use crate::error::{Error, Result};
use crate::model::{Attach, Model};
use crate::open_options::OpenOptions;

/// Of so many rows one is not fitted to: losses on such rows tell whether the gate helps.
const HELD_OUT: usize = 4;

/// How the [`LearnedGate`] of a value is fitted: on which base, to which demonstrations.
///
/// Nine numbers minimise the loss of the answers plus `penalty * mean (g - 1)^2`. Base and value read the demonstrations twice: for
/// the losses at a grid of constants, then with the gate.
///
/// ```no_run
/// let fit = ivl::GateFit::new("examples/first-value/small", "runs/first-value", "examples/first-value/held-out.jsonl");
/// let fitted = fit.fit(|_| {})?;
/// if fitted.helps() {
///     fitted.write()?; // who attaches the value now has the gate
/// }
/// # Ok::<(), ivl::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GateFit {
    /// The base: that which the value was trained on, or another.
    pub base: String,
    /// The value: a directory or GGUF file with a card.
    pub value: String,
    /// Demonstrations in any format that training reads.
    pub data: PathBuf,
    /// The weight of `mean (g - 1)^2` in the objective.
    pub penalty: f64,
    /// The weight of the value and its map. A gate in the value's card is not applied.
    pub attach: Attach,
    /// Device and type of the weights.
    pub options: OpenOptions,
}

/// How far a fit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateFitProgress {
    /// Rows read.
    pub done: usize,
    /// Rows to read, over both passes.
    pub total: usize,
}

/// A gate, and what it does on the rows that it was fitted on and on rows that it was not.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedGate {
    /// The gate, with its losses, as the card of a value holds it.
    pub card: GateCard,
    value: PathBuf,
}

impl GateFit {
    /// The weight of `mean (g - 1)^2`, unless another is set.
    pub const PENALTY: f64 = 0.01;

    /// A fit with the default penalty, [`PENALTY`](Self::PENALTY).
    pub fn new(base: impl Into<String>, value: impl Into<String>, data: impl Into<PathBuf>) -> Self {
        Self {
            base: base.into(),
            value: value.into(),
            data: data.into(),
            penalty: Self::PENALTY,
            attach: Attach::new(),
            options: OpenOptions::new(),
        }
    }

    /// The weight of `mean (g - 1)^2` in the objective.
    #[must_use]
    pub fn penalty(mut self, penalty: f64) -> Self {
        self.penalty = penalty;
        self
    }

    /// The weight of the value, which multiplies the gate, and its map.
    #[must_use]
    pub fn attach(mut self, attach: Attach) -> Self {
        self.attach = attach;
        self
    }

    /// Device and type of the weights.
    #[must_use]
    pub fn options(mut self, options: OpenOptions) -> Self {
        self.options = options;
        self
    }

    /// Fits the gate to three of every four rows, and measures it on all. Nothing is written.
    ///
    /// # Errors
    /// [`Error::NoCard`] for a value without a card, [`Error::LearnedGate`] for one that no gate can multiply, [`Error::Content`] for
    /// fewer than four rows, [`Error::Settings`] for a penalty below 0 or a weight of 0, and what opening the models and reading the
    /// rows refuse.
    pub fn fit(&self, mut on_progress: impl FnMut(GateFitProgress)) -> Result<FittedGate> {
        let (value, _) = local_card(&self.value)?;
        if !self.penalty.is_finite() || self.penalty < 0.0 {
            let reason = format!("the penalty is {}, expected a number of at least 0", self.penalty);
            return Err(Error::Settings { reason });
        }
        let data = Dataset::open(&[SourceConfig::new(&self.data)])?;
        // A gate of 1 is refused where no gate can be applied.
        let attach = self.attach.clone().gate(LearnedGate::ONE);
        let prepared =
            Model::builder(&self.base).options(self.options.clone()).attach(&self.value, attach).prepare()?;
        let texts = prepared.reader().masked_dataset(&data)?;
        let passages: Vec<Passage> =
            texts.into_iter().map(|text| Passage { ids: text.ids, loss_mask: text.mask }).collect();
        self.check_rows(&passages)?;
        let mut model = prepared.load()?;
        let alpha = model.values()[0].alpha();
        if alpha == 0.0 {
            let reason =
                "the weight of the value is 0, where no gate changes anything; expected another".to_owned();
            return Err(Error::Settings { reason });
        }
        model.set_learned_gate(None)?;
        let total = 2 * passages.len();
        let mut read = |done| on_progress(GateFitProgress { done, total });
        let all = GateObservations::read(model.lm(), alpha, &passages, &mut read)?;
        let [fitted, held_out] = [false, true].map(|side| all.of_passages(|row| is_held_out(row) == side));
        let gate = fitted.fit(self.penalty)?;
        let constant = fitted.best_constant();
        model.set_learned_gate(Some(gate))?;
        let mut read = |done| on_progress(GateFitProgress { done: passages.len() + done, total });
        let gated = answer_stats(model.lm(), &[vec![alpha]], &passages, &mut read)?.with.remove(0);
        let losses = |observations: &GateObservations, side: bool| {
            let rows = gated.iter().enumerate().filter(|(row, _)| is_held_out(*row) == side);
            let rows: Vec<&AnswerStats> = rows.map(|(_, stats)| stats).collect();
            GateLosses {
                rows: rows.len(),
                tokens: observations.tokens(),
                alone: observations.mean_loss(0.0),
                ungated: observations.mean_loss(1.0),
                constant: observations.mean_loss(constant),
                gated: rows.iter().map(|stats| stats.nll).sum::<f64>() / observations.tokens() as f64,
            }
        };
        let card = GateCard {
            weights: GateCard::named(&gate),
            bias: gate.bias(),
            alpha,
            penalty: self.penalty,
            base: model.base_card(),
            data: data.fingerprint,
            constant,
            fitted: losses(&fitted, false),
            held_out: losses(&held_out, true),
        };
        Ok(FittedGate { card, value })
    }

    fn check_rows(&self, passages: &[Passage]) -> Result<()> {
        let answered = |side| {
            let rows = passages.iter().enumerate().filter(|(row, _)| is_held_out(*row) == side);
            rows.flat_map(|(_, passage)| passage.answer()).next().is_some()
        };
        if answered(false) && answered(true) {
            return Ok(());
        }
        let reason = format!(
            "holds {} rows, expected at least {HELD_OUT} with answers: one of each four is kept to measure the gate",
            passages.len()
        );
        Err(Error::Content { path: self.data.clone(), reason })
    }
}

/// Whether a row is kept to measure the gate: one of each four, at a place that looks random, since the rows of a file may take
/// turns, such as four questions about each person.
fn is_held_out(row: usize) -> bool {
    // Multiples of the golden ratio, in units of 2^-64 turns, are spread evenly without a period.
    let turn = ((row / HELD_OUT) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    row % HELD_OUT == (turn >> 62) as usize
}

impl FittedGate {
    /// Whether the loss of the rows that the gate was not fitted on is lower with it than without, and lower than at the constant
    /// weight that is best for the rows that it was fitted on.
    pub fn helps(&self) -> bool {
        let GateLosses { ungated, constant, gated, .. } = self.card.held_out;
        gated < ungated.min(constant)
    }

    /// Writes the gate to the value's card, in the place of an earlier one: it is applied wherever the value is attached.
    ///
    /// # Errors
    /// [`Error::NoCard`], and errors of the card's file.
    pub fn write(&self) -> Result<()> {
        let (path, mut card) = local_card(&self.value.to_string_lossy())?;
        card.set_gate(Some(self.card.clone()));
        Ok(card.write(&path)?)
    }
}

/// Takes the gate out of the card of a value, one that this version of ivl cannot apply as well; whether there was one.
///
/// # Errors
/// [`Error::NoCard`], and errors of the card's file.
pub fn remove_gate(value: &str) -> Result<bool> {
    let path = Path::new(value);
    let read = path.exists().then(|| ValueCard::read_without_gate(path)).transpose()?.flatten();
    let (card, gate) = read.ok_or_else(|| Error::NoCard { value: value.to_owned() })?;
    if gate.is_some() {
        card.write(path)?;
    }
    Ok(gate.is_some())
}

/// The place of a value on this machine, and its card. The cards of values from the hub are in a cache, which is left as it is.
fn local_card(value: &str) -> Result<(PathBuf, ValueCard)> {
    let path = Path::new(value);
    let card = path.exists().then(|| ValueCard::read(path)).transpose()?.flatten();
    let card = card.ok_or_else(|| Error::NoCard { value: value.to_owned() })?;
    Ok((path.to_owned(), card))
}

#[cfg(test)]
mod tests {
    use ivl_models::BaseCard;

    use super::*;

    #[test]
    fn a_gate_helps_where_neither_no_gate_nor_a_constant_does_as_well() {
        for (ungated, constant, gated, helps) in
            [(0.3, 0.3, 0.2, true), (0.3, 0.15, 0.2, false), (0.1, 0.3, 0.2, false), (0.2, 0.2, 0.2, false)]
        {
            let losses = GateLosses { rows: 8, tokens: 80, alone: 1.0, ungated, constant, gated };
            let base = BaseCard { name: String::new(), config: String::new(), tokenizer: String::new() };
            let card = GateCard {
                weights: GateCard::named(&LearnedGate::ONE),
                bias: 0.0,
                alpha: 1.0,
                penalty: 0.0,
                base,
                data: String::new(),
                constant: 0.5,
                fitted: losses,
                held_out: losses,
            };
            let fitted = FittedGate { card, value: PathBuf::new() };
            assert_eq!(fitted.helps(), helps, "{losses:?}");
        }
    }

    #[test]
    fn one_of_each_four_rows_is_held_out_at_changing_places() {
        let places: Vec<usize> = (0..400).filter(|&row| is_held_out(row)).map(|row| row % 4).collect();
        assert_eq!((places.len(), places[0]), (100, 0));
        for place in 0..4 {
            let count = places.iter().filter(|&&other| other == place).count();
            assert!((20..=30).contains(&count), "{count} at {place}");
        }
    }
}
