//! The measurements on one base.

use std::cell::Cell;

use ivl_core::fusion::BaseLm;
use ivl_core::score::explain;
use ivl_core::{CausalLm, VocabMap};
use ivl_eval::explanation::heat_map;
use ivl_eval::transfer::report::HeatMap;
use ivl_eval::transfer::{
    GradedAnswer, MapCoverage, Measured, MeasuredBase, Passage, QuestionPrompt, answer_greedily,
    answer_stats, tuned_answer_stats,
};
use ivl_models::TransformerLm;

use super::base::{StudyBase, load_finetuned};
use super::events::{StudyEvent, StudyReporter};
use super::plan::StudyPlan;
use super::questions::Question;
use crate::error::{Error, Result};
use crate::model::{AttachedValue, PlannedValue, fuse, place_models};
use crate::open_checkpoint::SharedWeights;
use crate::open_options::OpenOptions;
use crate::placement::Planner;

/// One base with its weights and its questions.
pub(super) struct BaseStudy<'a, 'r> {
    plan: &'a StudyPlan,
    base: &'a StudyBase,
    name: &'a str,
    /// The base's own fine-tunings.
    finetunes: &'a [String],
    lm: TransformerLm,
    values: Vec<AttachedValue>,
    passages: Vec<Passage>,
    /// `None` where answers are only read.
    prompts: Option<Vec<QuestionPrompt>>,
    end_tokens: Vec<u32>,
    /// Before any model was placed.
    planner: &'a Planner,
    /// Without progress: there is one report for all that is done with a base.
    options: OpenOptions,
    reporter: &'a StudyReporter<'r>,
    /// Questions read or answered so far, over all settings.
    done: Cell<usize>,
}

/// A base of the study, before its weights are read.
pub(super) struct StudyTarget<'a> {
    pub(super) base: &'a StudyBase,
    pub(super) questions: &'a [Question],
    /// Its short name.
    pub(super) name: &'a str,
    /// Its own fine-tunings.
    pub(super) finetunes: &'a [String],
}

impl<'a, 'r> BaseStudy<'a, 'r> {
    /// Loads the base and the values, and reports what is to be done.
    pub(super) fn begin(
        plan: &'a StudyPlan,
        target: StudyTarget<'a>,
        planner: &'a Planner,
        reporter: &'a StudyReporter<'r>,
    ) -> Result<Self> {
        let StudyTarget { base, questions, name, finetunes } = target;
        let prompts = questions.iter().map(|question| question.prompt.clone());
        let prompts: Option<Vec<QuestionPrompt>> = if plan.answers { prompts.collect() } else { None };
        let mut end_tokens = base.end_tokens.clone();
        end_tokens.extend(questions.iter().filter_map(|question| question.end));
        end_tokens.sort_unstable();
        end_tokens.dedup();
        let planned =
            plan.values.iter().map(|value| PlannedValue::new(value, &plan.attach(), &base.open.vocab));
        let planned: Vec<PlannedValue> = planned.collect::<Result<_>>()?;
        let (placement, value_placements) = place_models(&mut planner.clone(), &base.open, &planned)?;
        let lm = base.open.load(None, &placement, &plan.options)?;
        // Read once without and with every value, and once per fine-tuning; answered without a value, by every seed at every weight,
        // and by every fine-tuning.
        let answered = 1 + plan.values.len() * plan.alphas.len() + finetunes.len();
        let settings = 1 + finetunes.len() + if prompts.is_some() { answered } else { 0 };
        reporter.report(StudyEvent::Base { name: name.to_owned(), total: settings * questions.len() });
        let options = plan.options.quiet();
        let shared = SharedWeights { path: &base.open.path, net: lm.net(), placement: &placement };
        let values = planned.into_iter().zip(&value_placements);
        let values = values.map(|(value, placement)| value.load(&shared, placement, &options));
        let values = values.collect::<Result<_>>()?;
        Ok(Self {
            plan,
            base,
            name,
            finetunes,
            passages: questions.iter().map(|question| question.passage.clone()).collect(),
            lm,
            values,
            prompts,
            end_tokens,
            planner,
            options,
            reporter,
            done: Cell::new(0),
        })
    }

    pub(super) fn measure(&self, home: bool) -> Result<MeasuredBase> {
        let coverage = self.coverage()?;
        let every_value: Vec<(&AttachedValue, f64)> = self.values.iter().map(|value| (value, 0.0)).collect();
        let all = fuse(&self.lm, &every_value)?;
        let weights = self.weights();
        let seen = self.step("reading", |progress| answer_stats(&all, &weights, &self.passages, progress))?;
        let answers = self.answers(&self.lm, &self.end_tokens, "answering without a value")?;
        let alone = Measured { observed: seen.alone, answers };
        let mut with: Vec<Vec<Measured>> = vec![Vec::new(); self.plan.alphas.len()];
        let mut observed = seen.with.into_iter();
        for value in &self.values {
            for ((&alpha, with), observed) in self.plan.alphas.iter().zip(&mut with).zip(&mut observed) {
                let what = format!("answering, alpha {alpha}");
                let answers = self.answers(&self.with(value, alpha)?, &self.end_tokens, &what)?;
                with.push(Measured { observed, answers });
            }
        }
        let tuned = self.finetunes.iter().map(|name| self.finetuned(name)).collect::<Result<_>>()?;
        Ok(MeasuredBase { name: self.name.to_owned(), home, coverage, alone, with, tuned })
    }

    /// The share of the base's vocabulary that the value has logits for.
    fn coverage(&self) -> Result<MapCoverage> {
        let first = &self.values[0];
        let (base, value) = (&self.base.open.vocab, first.lm.vocab());
        let map = match first.map() {
            Some(map) => map.clone(),
            None => VocabMap::same_ids(base, value)?,
        };
        Ok(MapCoverage::new(&map, base, value, &self.passages))
    }

    /// One value at a time, at every weight.
    fn weights(&self) -> Vec<Vec<f64>> {
        let mut all = Vec::new();
        for seed in 0..self.values.len() {
            for &alpha in &self.plan.alphas {
                let mut weights = vec![0.0; self.values.len()];
                weights[seed] = alpha;
                all.push(weights);
            }
        }
        all
    }

    /// The base with one value at a weight.
    fn with(&self, value: &AttachedValue, alpha: f64) -> Result<BaseLm> {
        fuse(&self.lm, &[(value, alpha)])
    }

    /// The results of a fine-tuning of the base.
    fn finetuned(&self, name: &str) -> Result<Measured> {
        let (tuned, own_end) = load_finetuned(name, self.planner, &self.options)?;
        let observed = self.step("reading, fine-tuned", |progress| {
            tuned_answer_stats(&self.lm, &tuned, &self.passages, progress)
        });
        let observed = observed.map_err(Error::base(name))?;
        let end_tokens = [self.end_tokens.clone(), own_end].concat();
        Ok(Measured { observed, answers: self.answers(&tuned, &end_tokens, "answering, fine-tuned")? })
    }

    /// The explanation of an answer that is right with the value and wrong without it, or else of the first answer.
    pub(super) fn heat_map(&self, measured: &MeasuredBase) -> Result<Option<HeatMap>> {
        let alphas = self.plan.alphas.iter().copied().enumerate();
        let closest = alphas.min_by(|(_, a), (_, b)| (a - 1.0).abs().total_cmp(&(b - 1.0).abs()));
        let Some((at, alpha)) = closest else { return Ok(None) };
        let with = measured.with[at].first();
        let right = |measured: &Measured, index: usize| {
            measured.answers.as_ref().is_some_and(|answers| answers[index].correct)
        };
        let turned =
            |&index: &usize| with.is_some_and(|with| right(with, index)) && !right(&measured.alone, index);
        let index = (0..self.passages.len()).find(turned).unwrap_or(0);
        let Some(passage) = self.passages.get(index) else { return Ok(None) };
        let mut explained = explain(&self.with(&self.values[0], alpha)?, &passage.ids)?;
        for (explained, _) in
            explained.iter_mut().zip(&passage.loss_mask).filter(|(_, is_answer)| !**is_answer)
        {
            *explained = None;
        }
        let names = [format!("value, alpha {alpha}")];
        let html = heat_map(&self.base.open.vocab, &passage.ids, &explained, &names);
        Ok(Some(HeatMap { base: self.name.to_owned(), html }))
    }

    fn answers(
        &self,
        lm: &dyn CausalLm,
        end_tokens: &[u32],
        what: &str,
    ) -> Result<Option<Vec<GradedAnswer>>> {
        let Some(prompts) = &self.prompts else { return Ok(None) };
        Ok(Some(self.step(what, |progress| answer_greedily(lm, prompts, end_tokens, progress))?))
    }

    /// Does a part of the work and reports how far it has come.
    fn step<T>(
        &self,
        what: &str,
        work: impl FnOnce(&mut dyn FnMut(usize)) -> Result<T, ivl_core::Error>,
    ) -> Result<T> {
        let start = self.done.get();
        let report = |done: usize| {
            self.done.set(start + done);
            self.reporter.report(StudyEvent::Progress { what: what.to_owned(), done: start + done });
        };
        report(0);
        let done = work(&mut |done| report(done));
        done.map_err(|error| Error::Base {
            name: format!("{}, {what}", self.name),
            source: Box::new(error.into()),
        })
    }
}
