//! The plan of a study: values, bases, data and settings.

use std::path::PathBuf;

use ivl_models::{Connection, ValueCard};

use super::base::StudyBase;
use super::finetunes::Finetunes;
use super::questions::{Question, Rows};
use crate::error::{Error, Result};
use crate::model::{Attach, Join};
use crate::open_checkpoint::OpenCheckpoint;
use crate::open_options::OpenOptions;

/// Seed of the bootstrap, unless another is set.
const SEED: u64 = 42;

/// Values, bases, data and settings of a study.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StudyPlan {
    /// The value; several directories are the same value from other seeds.
    pub values: Vec<String>,
    /// The bases.
    pub bases: Vec<String>,
    /// Questions with their answers, in any format of demonstrations.
    pub data: PathBuf,
    /// The bases' own fine-tunings.
    pub finetunes: Finetunes,
    /// Weights of the value.
    pub alphas: Vec<f64>,
    /// For bases of another vocabulary: map files, or methods that need no corpus.
    pub maps: Vec<String>,
    /// Only the first questions.
    pub limit: Option<usize>,
    /// Whether answers are generated, not only read.
    pub answers: bool,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Device and type of the weights.
    pub options: OpenOptions,
}

/// The bases and their questions; no weights.
pub(super) struct OpenStudy {
    pub(super) bases: Vec<(StudyBase, Vec<Question>)>,
    pub(super) card: Option<ValueCard>,
    /// SHA-256 of the data.
    pub(super) data: String,
    /// Rows that were left out.
    pub(super) left_out: usize,
}

impl StudyPlan {
    /// A study of values on bases, by the questions of a file: alpha 0.5, 1 and 1.5, with generated answers.
    pub fn new(values: Vec<String>, bases: Vec<String>, data: impl Into<PathBuf>) -> Self {
        Self {
            values,
            bases,
            data: data.into(),
            finetunes: Finetunes::default(),
            alphas: vec![0.5, 1.0, 1.5],
            maps: vec!["hybrid".to_owned()],
            limit: None,
            answers: true,
            seed: SEED,
            options: OpenOptions::new(),
        }
    }

    /// The bases' own fine-tunings, to compare with.
    #[must_use]
    pub fn finetunes(mut self, finetunes: Finetunes) -> Self {
        self.finetunes = finetunes;
        self
    }

    /// Weights of the value.
    #[must_use]
    pub fn alphas(mut self, alphas: Vec<f64>) -> Self {
        self.alphas = alphas;
        self
    }

    /// For bases of another vocabulary: map files, or methods that need no corpus.
    #[must_use]
    pub fn maps(mut self, maps: Vec<String>) -> Self {
        self.maps = maps;
        self
    }

    /// Only the first questions.
    #[must_use]
    pub fn limit(mut self, limit: Option<usize>) -> Self {
        self.limit = limit;
        self
    }

    /// Whether answers are generated, not only read.
    #[must_use]
    pub fn answers(mut self, answers: bool) -> Self {
        self.answers = answers;
        self
    }

    /// Seed of the bootstrap.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Device and type of the weights.
    #[must_use]
    pub fn options(mut self, options: OpenOptions) -> Self {
        self.options = options;
        self
    }

    /// Finds out what is wrong before anything is trained or loaded.
    ///
    /// # Errors
    /// Names that cannot be resolved, data that cannot be read, bases that the value does not fit.
    pub fn check(&self) -> Result<()> {
        self.open().map(drop)
    }

    /// Opens everything but weights.
    pub(super) fn open(&self) -> Result<OpenStudy> {
        let first =
            self.values.first().ok_or_else(|| Error::Settings { reason: "no value is named".to_owned() })?;
        self.options.planner()?;
        let value = OpenCheckpoint::open(first)?;
        let rows = Rows::read(&self.data, self.limit)?;
        let card = ValueCard::read(&value.path)?;
        let connection = card.as_ref().map_or(Connection::Residual, |card| card.connection);
        let mut bases = Vec::with_capacity(self.bases.len());
        for name in &self.bases {
            let base =
                StudyBase::open(name, &value.path, &self.options.chat_template).map_err(Error::base(name))?;
            Join::new(&base.open.vocab, &value, connection, &self.attach())
                .map_err(|source| Error::NoMap { base: name.clone(), source: Box::new(source) })?;
            let questions: Vec<Question> =
                rows.rows.iter().map(|row| Question::new(row, &base)).collect::<Result<_>>()?;
            bases.push((base, questions));
        }
        let left_out = self.leave_out(&mut bases, value.max_positions())?;
        Ok(OpenStudy { bases, card, data: rows.fingerprint, left_out })
    }

    /// How a value is attached to each base.
    pub(super) fn attach(&self) -> Attach {
        Attach { maps: self.maps.clone(), ..Attach::new() }
    }

    /// Removes the questions that a base or the value cannot read whole; how many.
    fn leave_out(&self, bases: &mut [(StudyBase, Vec<Question>)], value_limit: usize) -> Result<usize> {
        let rows = bases.first().map_or(0, |(_, questions)| questions.len());
        let mut kept = vec![true; rows];
        for (base, questions) in &*bases {
            let limit = base.open.max_positions().min(value_limit);
            for (kept, question) in kept.iter_mut().zip(questions) {
                *kept &= question.fits(limit);
            }
        }
        let left_out = kept.iter().filter(|&&kept| !kept).count();
        if left_out == rows {
            let reason = format!(
                "holds {left_out} rows, none with an answer that every base and the value can read whole; are they longer \
                 than the models' contexts?"
            );
            return Err(Error::Content { path: self.data.clone(), reason });
        }
        for (_, questions) in bases {
            let mut kept = kept.iter();
            questions.retain(|_| *kept.next().expect("one mark for each question"));
        }
        Ok(left_out)
    }
}
