//! The training loop: evaluate, accumulate gradients over the micro-batches of a step, clip, step, save.
//!
//! Checkpointers, optimizers, learning-rate schedulers and the interrupter are burn-train's; the loop is ours, since burn's
//! works in epochs and can neither resume inside one nor weight micro-batches by their tokens
//! (`docs/decisions/0002-training-loop.md`).

use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::train::Interrupter;
use ivl_models::Transformer;

use crate::Error;
use crate::bases::{FrozenBase, Teacher};
use crate::config::{ObjectiveKind, OptimizerConfig, ResultKind, TrainConfig};
use crate::data::batch::Batch;
use crate::data::examples::Examples;
use crate::data::plan::Plan;
use crate::objective::mixing::Mixing;
use crate::run::checkpoint_dir::{CheckpointDir, Restored};
use crate::run::checkpoint_writer::{CheckpointWriter, Training};
use crate::run::evaluate::evaluate;
use crate::run::identity::RunIdentity;
use crate::run::report::{Best, EvalReport, Event, StepReport};
use crate::run::run_state::RunState;
use crate::step::clip::clip_gradient_norm;
use crate::step::learner::{LearnerSettings, ValueLearner};
use crate::step::optimizer::optimizer;
use crate::step::schedule::Schedule;
use crate::step::workers::{StepGradients, Worker, Workers};

/// Everything that a run works on.
#[non_exhaustive]
pub struct Run {
    /// The frozen bases to train against. None trains the network by itself.
    pub bases: Vec<FrozenBase>,
    /// The teacher of `objective = "distill"`.
    pub teacher: Option<Teacher>,
    /// The network, on a device with autodiff.
    pub value: Transformer,
    /// Examples to train on.
    pub train: Examples,
    /// Held-out examples; may be empty.
    pub eval: Examples,
    /// Further bases to evaluate on; training never sees them.
    pub held_out: Vec<FrozenBase>,
    /// Further devices that share the micro-batches of each step; none for the value's device only.
    pub workers: Vec<Worker>,
    /// The parts of the run besides settings and examples, such as the weights of its models: a checkpoint of a run that
    /// differs in it is refused.
    pub identity: RunIdentity,
    /// Continues from the last checkpoint.
    pub resume: bool,
    /// Continues a run that had fewer steps than this one.
    pub extend: bool,
    /// Stops the run after the current step, with a checkpoint.
    pub interrupter: Interrupter,
}

impl Run {
    /// A new run on one device, without held-out examples.
    pub fn new(bases: Vec<FrozenBase>, value: Transformer, train: Examples) -> Self {
        Self {
            bases,
            teacher: None,
            value,
            train,
            eval: Examples::default(),
            held_out: Vec::new(),
            workers: Vec::new(),
            identity: RunIdentity::default(),
            resume: false,
            extend: false,
            interrupter: Interrupter::new(),
        }
    }
}

/// A finished or stopped run.
#[derive(Debug)]
pub struct Trained {
    /// The trained network, without autodiff: the best or the last, as `eval.result` says.
    pub value: Transformer,
    /// Steps done.
    pub steps: usize,
    /// Steps planned.
    pub total_steps: usize,
    /// The step that `value` was taken after.
    pub value_steps: usize,
    /// Trained tokens that `value` has seen, over the whole run.
    pub tokens: u64,
    /// The last step.
    pub last: Option<StepReport>,
    /// The held-out losses of `value`.
    pub evals: Vec<EvalReport>,
    /// Whether it was stopped before the end; a run whose patience ran out is at its end.
    pub interrupted: bool,
}

/// Trains a value against frozen bases, or a model by itself.
///
/// # Errors
/// [`Error::InvalidSetting`], [`Error::Diverged`], or what concerns checkpoints: [`Error::NoCheckpoint`],
/// [`Error::ForeignCheckpoint`], [`Error::OutputExists`], [`Error::Stopped`].
pub fn train(run: Run, config: &TrainConfig, on_event: impl FnMut(Event)) -> Result<Trained, Error> {
    config.validate()?;
    check_teacher(&run, config)?;
    let (checkpoints, restored) = open_checkpoints(&run, config)?;
    let plan = Plan::training(Arc::new(run.train), &config.steps, &config.data, config.seed);
    let rate = config.optimizer.learning_rate.unwrap_or_else(|| {
        let (adapters, has_base) = (config.value.lora.is_some(), !run.bases.is_empty());
        OptimizerConfig::default_learning_rate(adapters, has_base, run.value.num_params())
    });
    let mut training = Training {
        learner: ValueLearner::new(run.value, LearnerSettings::new(config)),
        optimizer: optimizer(&config.optimizer),
        schedule: ModuleLrScheduler::new(Schedule::new(&config.optimizer, rate, plan.steps())),
        adapters: config.value.lora.is_some(),
    };
    if restored.step > 0 {
        training = training.restore(&checkpoints, restored.step)?;
    }
    let weights: Vec<f64> = run.bases.iter().map(|base| base.weight).collect();
    let mut mixing = Mixing::new(config.mixing.strategy, config.mixing.eta, config.seed, &weights);
    mixing.restore(&restored.state.mixing);
    let settings = LearnerSettings::new(config);
    let mut trainer = Trainer {
        config,
        evaluated: run.bases.iter().cloned().chain(run.held_out).collect(),
        eval_plan: Plan::evaluation(Arc::new(run.eval), config.eval.batch_size),
        workers: Workers::new(run.bases, run.workers, config, plan.steps()).with_teacher(run.teacher.clone()),
        teacher: run.teacher,
        settings,
        plan,
        mixing,
        training,
        step: restored.step,
        state: restored.state,
        writer: CheckpointWriter::new(checkpoints.clone(), restored.step, &run.interrupter),
        interrupter: run.interrupter,
        on_event,
    };
    (trainer.on_event)(Event::Start { done: restored.step, total: trainer.plan.steps() });
    for (path, reason) in restored.corrupt {
        (trainer.on_event)(Event::CorruptCheckpoint { path, reason });
    }
    let done = trainer.run_steps();
    // Weights that diverged are not kept.
    if !matches!(done, Err(Error::Diverged { .. })) {
        trainer.save();
    }
    done?;
    trainer.finish(&checkpoints)
}

/// Refuses a teacher without its objective, and the objective without a teacher or with devices that have none.
fn check_teacher(run: &Run, config: &TrainConfig) -> Result<(), Error> {
    let invalid = |got: &str| {
        let expected = "a run with a teacher and no further devices, and no other run has a teacher";
        Err(Error::InvalidSetting { name: "objective", expected, got: got.to_owned() })
    };
    match (config.objective == ObjectiveKind::Distill, &run.teacher) {
        (true, None) => invalid("distill in a run without a teacher"),
        (false, Some(_)) => invalid("not distill in a run with a teacher"),
        (true, Some(_)) if !run.workers.is_empty() => invalid("distill in a run with further devices"),
        _ => Ok(()),
    }
}

/// The checkpoints of a run, and where it continues.
fn open_checkpoints(run: &Run, config: &TrainConfig) -> Result<(CheckpointDir, Restored), Error> {
    let root = config.output.join("checkpoints");
    let identity = run.identity.clone().with_run(config, &run.train, &run.eval);
    let checkpoints = CheckpointDir::new(root, identity, config.checkpoint.keep);
    let mut restored = match run.resume || run.extend {
        true => checkpoints.find(run.extend)?,
        false => checkpoints.begin().map(|()| Restored::default())?,
    };
    if run.extend {
        restored.state.early_stopping.reset_patience();
    }
    Ok((checkpoints, restored))
}

/// A run in progress.
struct Trainer<'a, F> {
    config: &'a TrainConfig,
    /// The bases, and those that training never sees.
    evaluated: Vec<FrozenBase>,
    teacher: Option<Teacher>,
    settings: LearnerSettings,
    eval_plan: Plan,
    workers: Workers,
    plan: Plan,
    mixing: Mixing,
    training: Training,
    /// Steps done.
    step: usize,
    state: RunState,
    writer: CheckpointWriter,
    interrupter: Interrupter,
    on_event: F,
}

impl<F: FnMut(Event)> Trainer<'_, F> {
    /// All steps that are left, with the evaluations and checkpoints that are due.
    fn run_steps(&mut self) -> Result<(), Error> {
        let (config, total) = (self.config, self.plan.steps());
        if self.step == 0 {
            self.evaluate()?;
        }
        let rest = self.plan.from_step(self.step);
        let mut batches = rest.batches();
        while !self.interrupter.should_stop() && !self.out_of_patience() {
            let began = Instant::now();
            let micro_batches = micro_batches_of_a_step(&mut batches)?;
            if micro_batches.is_empty() {
                break;
            }
            let bases = self.mixing.bases(self.step);
            let learner = self.training.learner.clone();
            let StepGradients { mut gradients, sums } =
                self.workers.gradients(&learner, micro_batches, &bases, self.step)?;
            let norm = clip_gradient_norm(&learner, &mut gradients, config.optimizer.max_grad_norm);
            if !(norm.is_finite() && sums.loss.is_finite()) {
                return Err(Error::Diverged { step: self.step + 1 });
            }
            let rate = self.training.schedule.step();
            self.training.learner = self.training.optimizer.step(rate.clone(), learner, gradients);
            self.step += 1;
            self.mixing.update(&sums.base_losses());
            let report = sums.report(self.step, norm, rate.base(), began);
            self.state.record(&report, self.mixing.weights());
            (self.on_event)(Event::Step(report));
            let is_best = is_due(config.eval.every, self.step, total) && self.evaluate()?;
            if is_best && config.eval.result == ResultKind::Best
                || is_due(config.checkpoint.every, self.step, total)
                || self.step < total && self.writer.is_due(config.checkpoint.minutes)
            {
                self.save();
            }
        }
        if self.step == total && !self.is_evaluated() {
            self.evaluate()?;
        }
        Ok(())
    }

    /// Computes the held-out losses. Returns whether the value is the best so far.
    fn evaluate(&mut self) -> Result<bool, Error> {
        if self.eval_plan.steps() == 0 {
            return Ok(false);
        }
        let value = self.training.learner.valid().value;
        let (teacher, settings) = (self.teacher.as_ref(), &self.settings);
        let reports = evaluate(&self.evaluated, teacher, &value, settings, &self.eval_plan, self.step)?;
        for report in &reports {
            (self.on_event)(Event::Eval(report.clone()));
        }
        self.state.evals = reports;
        let (evals, tokens) = (&self.state.evals, self.state.tokens);
        Ok(self.state.early_stopping.update(&self.config.eval, evals, self.step, tokens))
    }

    /// Whether the held-out losses of this step are known.
    fn is_evaluated(&self) -> bool {
        self.state.evals.first().is_some_and(|eval| eval.step == self.step)
    }

    fn out_of_patience(&self) -> bool {
        self.state.early_stopping.should_stop(&self.config.eval)
    }

    /// Saves a checkpoint of this step, unless there is one.
    fn save(&mut self) {
        if !self.writer.has(self.step) {
            (self.on_event)(Event::Checkpoint { step: self.step });
            self.writer.save(self.step, &self.state, &self.training);
        }
    }

    /// The result, once the last checkpoint is on the disk.
    fn finish(mut self, checkpoints: &CheckpointDir) -> Result<Trained, Error> {
        let total = self.plan.steps();
        let ended = self.step == total || self.out_of_patience();
        let best = self.state.early_stopping.best;
        if self.step < total && ended {
            (self.on_event)(Event::StoppedEarly { step: self.step, best: best.clone() });
        }
        drop(self.writer);
        if let Some(error) = checkpoints.take_failure() {
            return Err(error.into());
        }
        if let Some(error) = self.interrupter.error() {
            return Err(Error::Stopped { reason: error.to_string() });
        }
        let learner = self.training.learner.valid();
        let last = Trained {
            value: learner.value.clone(),
            steps: self.step,
            total_steps: total,
            value_steps: self.step,
            tokens: self.state.tokens,
            last: self.state.last,
            evals: self.state.evals,
            interrupted: !ended,
        };
        match best {
            Some(best) if self.config.eval.result == ResultKind::Best && ended && best.step < last.steps => {
                let [model, ..] = checkpoints.record_files();
                let Best { step: value_steps, tokens, evals, .. } = best;
                let value = self.training.with_record(learner, model.load(value_steps)?).value;
                Ok(Trained { value, value_steps, tokens, evals, ..last })
            }
            _ => Ok(last),
        }
    }
}

/// Whether an action with a period of some steps is due after this step; actions of the last step run anyway.
fn is_due(every: usize, step: usize, total: usize) -> bool {
    every > 0 && step.is_multiple_of(every) && step < total
}

/// The next micro-batches, up to the end of a step; none after the last.
fn micro_batches_of_a_step(
    batches: &mut impl Iterator<Item = Result<Batch, Error>>,
) -> Result<Vec<Batch>, Error> {
    let mut micro_batches = Vec::new();
    for batch in batches {
        let batch = batch?;
        let ends_step = batch.ends_step;
        micro_batches.push(batch);
        if ends_step {
            break;
        }
    }
    Ok(micro_batches)
}
