//! What is measured: every base alone, with the value, and fine-tuned.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use indicatif::ProgressBar;
use ivl_core::CausalLm;
use ivl_core::score::explain;
use ivl_eval::heat_map;
use ivl_eval::transfer::report::{AnswerOf, Example, HeatMap};
use ivl_eval::transfer::{
    Answer, Coverage, Measured, MeasuredBase, Passage, Prompt, Transfer, TransferSource, answer, observe,
    observe_tuned,
};
use ivl_models::{Checkpoint, Transformer, ValueCard};

use super::base::{OpenBase, load_tuned, short_names};
use super::finetunes::Finetunes;
use super::plug::{Plug, map, together};
use super::questions::{Question, Rows};
use crate::args::Common;
use crate::compose::value_option;
use crate::device::device;
use crate::progress::bar;

/// Seed of the bootstrap, unless --seed is given.
const SEED: u64 = 42;

/// What to measure on what.
pub struct StudyPlan {
    /// Directories of the value, one a seed.
    pub values: Vec<String>,
    pub bases: Vec<String>,
    pub data: PathBuf,
    pub full: Finetunes,
    pub alphas: Vec<f64>,
    pub map: Vec<String>,
    pub limit: Option<usize>,
    /// Whether answers are written, not only read.
    pub answers: bool,
}

/// What was measured.
pub struct Study {
    pub transfer: Transfer,
    pub measured: Vec<MeasuredBase>,
    /// The prompts as the first base reads them, and the answers of the data.
    pub questions: Vec<(String, String)>,
    /// What the value changed in one answer.
    pub heat_map: Option<HeatMap>,
    /// SHA-256 of the data.
    pub data: String,
}

impl Study {
    /// The first questions with what every base answers, at the recommended alpha.
    pub fn examples(&self, count: usize) -> Vec<Example> {
        let alpha =
            self.transfer.source.alphas.iter().position(|&alpha| alpha == self.transfer.verdict.alpha);
        let of = |base: &MeasuredBase, question: usize| -> Option<AnswerOf> {
            let answer = |measured: &Measured| {
                let answer = &measured.answers.as_ref()?[question];
                Some((answer.text.clone(), answer.correct))
            };
            let with = base.with.get(alpha?)?.first()?;
            Some(AnswerOf { base: base.name.clone(), alone: answer(&base.alone)?, with: answer(with)? })
        };
        let example = |(index, (question, reference)): (usize, &(String, String))| Example {
            question: question.clone(),
            reference: reference.clone(),
            answers: self.measured.iter().filter_map(|base| of(base, index)).collect(),
        };
        let examples = self.questions.iter().enumerate().take(count).map(example);
        examples.filter(|example| !example.answers.is_empty()).collect()
    }
}

/// The bases and their questions; nothing heavy.
struct Opened {
    bases: Vec<(OpenBase, Vec<Question>)>,
    card: Option<ValueCard>,
    data: String,
    dropped: usize,
}

impl StudyPlan {
    /// Finds out what is wrong before anything is trained or loaded.
    pub fn check(&self) -> Result<()> {
        self.open().map(drop)
    }

    fn open(&self) -> Result<Opened> {
        let first = value_option(self.values.first().context("no value")?)?.dir;
        let rows = Rows::read(&self.data, self.limit)?;
        let value = Checkpoint::open(&first)?;
        let vocab = value.vocab(&value.tokenizer()?)?;
        let mut bases = Vec::with_capacity(self.bases.len());
        for name in &self.bases {
            let base = OpenBase::open(name, &first).with_context(|| format!("the base `{name}`"))?;
            map(&base, &vocab, &self.map)?;
            let questions = rows.rows.iter().map(|row| Question::new(row, &base));
            let questions: Vec<Question> = questions.collect::<Result<_>>()?;
            bases.push((base, questions));
        }
        let value_limit = value.config().max_positions;
        let fits = |row: usize| {
            bases.iter().all(|(base, questions): &(OpenBase, Vec<Question>)| {
                questions[row].fits(base.checkpoint.config().max_positions.min(value_limit))
            })
        };
        let kept: Vec<bool> = (0..rows.rows.len()).map(fits).collect();
        let dropped = kept.iter().filter(|&&kept| !kept).count();
        if dropped == kept.len() {
            bail!(
                "none of the {dropped} rows of `{}` has an answer that every base and the value can read whole; are they \
                 longer than the models' contexts?",
                self.data.display()
            );
        }
        for (_, questions) in &mut bases {
            let mut kept = kept.iter();
            questions.retain(|_| kept.next().copied().unwrap_or(false));
        }
        Ok(Opened { bases, card: ValueCard::read(&first)?, data: rows.fingerprint, dropped })
    }

    /// Measures everything.
    pub fn measure(&self, common: &Common) -> Result<Study> {
        let device = device(common)?;
        let Opened { bases, card, data, dropped } = self.open()?;
        if dropped > 0 && !common.quiet {
            eprintln!(
                "{dropped} rows of `{}` were left out: no answer, or longer than a model's context",
                self.data.display()
            );
        }
        let names = short_names(&self.bases);
        let mut measured: Vec<MeasuredBase> = Vec::with_capacity(bases.len());
        let mut heat_map = None;
        for (index, (base, questions)) in bases.iter().enumerate() {
            let home = base.is_home(card.as_ref())?;
            let bench = Bench::new(
                base,
                questions,
                &names[index],
                (&device, common, self),
                self.full.of(index).len(),
            )?;
            measured.push(bench.measure(home, self, index)?);
            // Of the last base that training did not see: what a value is for.
            if !home || heat_map.is_none() {
                heat_map = bench.heat_map(self, &measured[index])?.or(heat_map);
            }
            bench.bar.finish_and_clear();
        }
        let source = TransferSource {
            values: self.values.clone(),
            data: self.data.display().to_string(),
            alphas: self.alphas.clone(),
            tuned_seeds: measured.iter().map(|base| base.tuned.len()).max().unwrap_or(0),
        };
        let readable = |question: &Question| {
            let reference = question.prompt.as_ref().map_or("", |prompt| prompt.reference.trim());
            (question.asked.clone(), reference.to_owned())
        };
        let questions = bases.first().map(|(_, questions)| questions.iter().map(readable).collect());
        Ok(Study {
            transfer: Transfer::new(source, &measured, common.seed.unwrap_or(SEED)),
            measured,
            questions: questions.unwrap_or_default(),
            heat_map,
            data,
        })
    }
}

/// One base at work.
struct Bench<'a> {
    base: &'a OpenBase,
    name: &'a str,
    net: Transformer,
    passages: Vec<Passage>,
    /// None where answers are only read.
    prompts: Option<Vec<Prompt>>,
    end_tokens: Vec<u32>,
    device: &'a Device,
    /// Says nothing: there is one bar for all that is done with a base.
    common: Common,
    bar: ProgressBar,
}

impl<'a> Bench<'a> {
    fn new(
        base: &'a OpenBase,
        questions: &'a [Question],
        name: &'a str,
        (device, common, plan): (&'a Device, &'a Common, &StudyPlan),
        tuned: usize,
    ) -> Result<Self> {
        let prompts = questions.iter().map(|question| question.prompt.clone());
        let prompts: Option<Vec<Prompt>> = if plan.answers { prompts.collect() } else { None };
        let mut end_tokens = base.end_tokens.clone();
        end_tokens.extend(questions.iter().filter_map(|question| question.end));
        end_tokens.sort_unstable();
        end_tokens.dedup();
        let net = base.load(device, common)?;
        // Read once alone and with every value, and once for each fine-tuning; answered alone, by every seed at every weight,
        // and by every fine-tuning.
        let answered = 1 + plan.values.len() * plan.alphas.len() + tuned;
        let parts = 1 + tuned + if prompts.is_some() { answered } else { 0 };
        let bar = bar(common, (parts * questions.len()) as u64, "{prefix:14} {bar:30} {percent:>3}%  {msg}");
        bar.set_prefix(name.to_owned());
        Ok(Self {
            net,
            passages: questions.iter().map(|question| question.passage.clone()).collect(),
            base,
            name,
            prompts,
            end_tokens,
            device,
            common: Common { quiet: true, ..common.clone() },
            bar,
        })
    }

    fn measure(&self, home: bool, plan: &StudyPlan, index: usize) -> Result<MeasuredBase> {
        let lm = self.base.lm(&self.net);
        let placed = (self.device, &self.common);
        let plugs =
            plan.values.iter().map(|value| Plug::load(value, self.base, &self.net, &plan.map, placed));
        let plugs: Vec<Plug<'_>> = plugs.collect::<Result<_>>()?;
        let first = plugs.first().context("no value")?;
        let coverage = Coverage::new(&first.map, &self.base.vocab, first.vocab(), &self.passages);
        // One value at a time, at every weight.
        let weights = (0..plugs.len()).flat_map(|seed| {
            plan.alphas.iter().map(move |&alpha| {
                let mut weights = vec![0.0; plan.values.len()];
                weights[seed] = alpha;
                weights
            })
        });
        let weights: Vec<Vec<f64>> = weights.collect();
        let all = together(&plugs)?;
        let seen = self.step("reading", |progress| observe(&all, &weights, &self.passages, progress))?;
        let answers = self.answers(&lm, &self.end_tokens, "answering alone")?;
        let alone = Measured { observed: seen.alone, answers };
        let mut with: Vec<Vec<Measured>> = vec![Vec::new(); plan.alphas.len()];
        let mut observed = seen.with.into_iter();
        for plug in &plugs {
            for ((&alpha, with), observed) in plan.alphas.iter().zip(&mut with).zip(&mut observed) {
                let what = format!("answering, alpha {alpha}");
                with.push(Measured {
                    observed,
                    answers: self.answers(&plug.at(alpha)?, &self.end_tokens, &what)?,
                });
            }
        }
        let mut tuned = Vec::new();
        for name in plan.full.of(index) {
            let (full, own_end) = load_tuned(name, self.device, &self.common)?;
            let observed = self
                .step("reading, fine-tuned", |progress| observe_tuned(&lm, &full, &self.passages, progress));
            let observed =
                observed.with_context(|| format!("`{name}`, the fine-tuning of `{}`", self.name))?;
            let end_tokens = [self.end_tokens.clone(), own_end].concat();
            tuned.push(Measured {
                observed,
                answers: self.answers(&full, &end_tokens, "answering, fine-tuned")?,
            });
        }
        Ok(MeasuredBase { name: self.name.to_owned(), home, coverage, alone, with, tuned })
    }

    /// What the value changes in an answer that is right with it and wrong without, or else in the first.
    fn heat_map(&self, plan: &StudyPlan, measured: &MeasuredBase) -> Result<Option<HeatMap>> {
        let near = |alpha: &&f64| (**alpha - 1.0).abs();
        let closest = plan.alphas.iter().min_by(|a, b| near(a).total_cmp(&near(b)));
        let Some((&alpha, value)) = closest.zip(plan.values.first()) else { return Ok(None) };
        let with =
            plan.alphas.iter().position(|&other| other == alpha).and_then(|at| measured.with[at].first());
        let right = |measured: &Measured, index: usize| {
            measured.answers.as_ref().is_some_and(|answers| answers[index].correct)
        };
        let turned =
            |&index: &usize| with.is_some_and(|with| right(with, index)) && !right(&measured.alone, index);
        let index = (0..self.passages.len()).find(turned).unwrap_or(0);
        let Some(passage) = self.passages.get(index) else { return Ok(None) };
        let plug = Plug::load(value, self.base, &self.net, &plan.map, (self.device, &self.common))?;
        let mut explained = explain(&plug.at(alpha)?, &passage.ids)?;
        for (explained, _) in explained.iter_mut().zip(&passage.learnt).filter(|(_, learnt)| !**learnt) {
            *explained = None;
        }
        let html = heat_map(&self.base.vocab, &passage.ids, &explained, &[format!("value, alpha {alpha}")]);
        Ok(Some(HeatMap { base: self.name.to_owned(), html }))
    }

    fn answers(&self, lm: &dyn CausalLm, end_tokens: &[u32], what: &str) -> Result<Option<Vec<Answer>>> {
        let Some(prompts) = &self.prompts else { return Ok(None) };
        Ok(Some(self.step(what, |progress| answer(lm, prompts, end_tokens, progress))?))
    }

    /// Does a part of the work under the bar.
    fn step<T>(
        &self,
        what: &str,
        work: impl FnOnce(&mut dyn FnMut(usize)) -> std::result::Result<T, ivl_core::Error>,
    ) -> Result<T> {
        self.bar.set_message(what.to_owned());
        let start = self.bar.position();
        let done = work(&mut |done| self.bar.set_position(start + done as u64));
        done.with_context(|| format!("`{}`, {what}", self.name))
    }
}
