//! The measurements of a study, base after base.

use ivl_eval::transfer::{MeasuredBase, Transfer, TransferSource};

use super::base::short_names;
use super::base_study::{BaseStudy, StudyTarget};
use super::events::{StudyEvent, StudyReporter};
use super::plan::{OpenStudy, StudyPlan};
use super::questions::Question;
use super::study::Study;
use crate::error::Result;

impl StudyPlan {
    /// Measures everything.
    ///
    /// # Errors
    /// As [`check`](Self::check), and what the models refuse.
    pub fn measure(&self, on_event: impl FnMut(StudyEvent)) -> Result<Study> {
        let reporter = StudyReporter::new(on_event);
        let OpenStudy { bases, card, data, left_out } = self.open()?;
        let planner = self.options.planner()?;
        if left_out > 0 {
            reporter.report(StudyEvent::RowsLeftOut { rows: left_out });
        }
        let names = short_names(&self.bases);
        let mut measured: Vec<MeasuredBase> = Vec::with_capacity(bases.len());
        let mut heat_map = None;
        for (index, (base, questions)) in bases.iter().enumerate() {
            let home = base.is_home(card.as_ref());
            let target =
                StudyTarget { base, questions, name: &names[index], finetunes: self.finetunes.of(index) };
            let study = BaseStudy::begin(self, target, &planner, &reporter)?;
            measured.push(study.measure(home)?);
            // Of the last base that training did not see: what a value is for.
            if !home || heat_map.is_none() {
                heat_map = study.heat_map(&measured[index])?.or(heat_map);
            }
            reporter.report(StudyEvent::BaseMeasured);
        }
        let source = TransferSource {
            values: self.values.clone(),
            data: self.data.display().to_string(),
            alphas: self.alphas.clone(),
            tuned_seeds: measured.iter().map(|base| base.tuned.len()).max().unwrap_or(0),
        };
        let questions = bases
            .first()
            .map_or_else(Vec::new, |(_, questions)| questions.iter().map(Question::as_shown).collect());
        let transfer = Transfer::new(source, &measured, self.seed);
        Ok(Study { transfer, measured, questions, heat_map, data })
    }
}
