//! The training loop, as a learning strategy of burn-train: its learner, optimizer, checkpointers and metric store; our
//! steps. Burn-train's own loop works in epochs and can neither resume inside one nor weight accumulated passes by
//! their tokens (`docs/decisions/0002-training-loop.md`).

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::train::checkpoint::Checkpointer;
use burn::train::{
    Interrupter, Learner, SupervisedLearningStrategy, SupervisedTraining, SupervisedTrainingEventProcessor,
    TrainLoader, TrainingComponents, TrainingStrategy, ValidLoader,
};
use ivl_models::Transformer;

use crate::Error;
use crate::bases::FrozenBase;
use crate::config::{ResultKind, TrainConfig};
use crate::data::batch::Batch;
use crate::data::examples::Examples;
use crate::data::plan::Plan;
use crate::objective::mixing::Mixing;
use crate::run::checkpointing::{CheckpointDir, Restored, WhenAsked};
use crate::run::evaluate::evaluate;
use crate::run::report::{Best, EvalReport, Event, StepReport};
use crate::run::run_state::RunState;
use crate::run::silent::Silent;
use crate::step::clip::clip_gradient_norm;
use crate::step::learner::{LearnerSettings, ValueLearner};
use crate::step::optimizer::optimizer;
use crate::step::parallel::{Gathered, Worker, Workers};
use crate::step::schedule::Schedule;

/// Everything that a run works on.
pub struct Run {
    /// The frozen bases to train against. None trains the network by itself.
    pub bases: Vec<FrozenBase>,
    /// The network, on a device with autodiff.
    pub value: Transformer,
    /// Examples to train on.
    pub train: Examples,
    /// Examples to hold out; may be empty.
    pub eval: Examples,
    /// Further bases to measure the held-out loss on; training never sees them.
    pub held_out: Vec<FrozenBase>,
    /// Further devices that share the passes of each step; none for the value's device alone.
    pub workers: Vec<Worker>,
    /// Fingerprint of data, models and settings: a checkpoint of another run is refused.
    pub fingerprint: String,
    /// Goes on from the last checkpoint.
    pub resume: bool,
    /// Stops the run after the current step, with a checkpoint.
    pub interrupter: Interrupter,
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
    /// Steps after which `value` was as it is.
    pub value_steps: usize,
    /// Learnt tokens that `value` has seen, over the whole run.
    pub tokens: u64,
    /// The last step.
    pub last: Option<StepReport>,
    /// The held-out losses of `value`.
    pub evals: Vec<EvalReport>,
    /// Whether it was stopped before the end; a run whose patience ended is at its end.
    pub interrupted: bool,
}

/// Trains a value against a frozen base, or a model by itself.
///
/// # Errors
/// [`Error::InvalidSetting`], [`Error::Diverged`], or what concerns checkpoints: [`Error::NoCheckpoint`],
/// [`Error::ForeignCheckpoint`], [`Error::OutputExists`], [`Error::Stopped`].
pub fn train(
    run: Run,
    config: &TrainConfig,
    on_event: impl FnMut(Event) + 'static,
) -> Result<Trained, Error> {
    config.validate()?;
    let checkpoints = CheckpointDir::new(
        config.output.join("checkpoints"),
        run.fingerprint.clone(),
        config.checkpoint.keep,
    );
    let restored = match run.resume {
        true => checkpoints.restore()?,
        false => checkpoints.begin().map(|()| Restored::default())?,
    };
    let plan = Plan::training(Arc::new(run.train), &config.steps, &config.data, config.seed);
    let evaluation = Plan::evaluation(Arc::new(run.eval), config.eval.batch_size);
    let schedule = Schedule::new(&config.optimizer, plan.steps());
    let settings = LearnerSettings {
        connection: config.value.connection,
        regularization: config.regularization.clone(),
        head_rows: config.steps.head_rows,
    };
    let learner = ValueLearner::new(run.value, settings);
    let learner = Learner::new(
        learner,
        optimizer(&config.optimizer),
        burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler::new(schedule),
    );
    let outcome = Rc::new(RefCell::new(Outcome { state: restored.state, ..Outcome::default() }));
    let strategy = Steps {
        weights: run.bases.iter().map(|base| base.weight).collect(),
        measured: run.bases.iter().cloned().chain(run.held_out).collect(),
        workers: Workers::new(run.bases, run.workers, config),
        plan: plan.clone(),
        evaluation: evaluation.clone(),
        config: config.clone(),
        checkpoints: checkpoints.clone(),
        torn: restored.torn,
        on_event: RefCell::new(Box::new(on_event)),
        outcome: outcome.clone(),
    };
    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "burn-train asks for an `Arc`; the run stays on this thread"
    )]
    let strategy = Arc::new(strategy);
    let [model, optimizer_part, schedule_part] = checkpoints.parts();
    let mut training = SupervisedTraining::new(&config.output, Arc::new(plan.clone()), Arc::new(evaluation))
        .with_training_strategy(TrainingStrategy::Custom(strategy))
        .with_custom_checkpointers(model.clone(), optimizer_part, schedule_part)
        .with_checkpointing_strategy(WhenAsked)
        .with_application_logger(None)
        .with_interrupter(run.interrupter)
        .renderer(Box::new(Silent));
    if restored.step > 0 {
        training = training.checkpoint(restored.step);
    }
    let result = training.launch(learner);
    let outcome = outcome.take();
    if let Some(error) = outcome.failed {
        return Err(error);
    }
    if let Some(error) = result.error {
        return Err(Error::Stopped { reason: error.to_string() });
    }
    let interrupted = result.interrupted.is_some() && !outcome.ended;
    let last = Trained {
        value: result.model.value.clone(),
        steps: outcome.steps,
        total_steps: plan.steps(),
        value_steps: outcome.steps,
        tokens: outcome.state.tokens,
        last: outcome.state.last,
        evals: outcome.state.evals,
        interrupted,
    };
    match outcome.state.watch.best {
        Some(best) if config.eval.result == ResultKind::Best && !interrupted && best.step < last.steps => {
            let record = Checkpointer::restore(&model, best.step)
                .map_err(|error| Error::Stopped { reason: format!("cannot load the best value: {error}") })?;
            let Best { step: value_steps, tokens, evals, .. } = best;
            Ok(Trained { value: result.model.load_record(record).value, value_steps, tokens, evals, ..last })
        }
        _ => Ok(last),
    }
}

#[derive(Default)]
struct Outcome {
    steps: usize,
    /// Whether the last step was reached, or patience ended.
    ended: bool,
    state: RunState,
    failed: Option<Error>,
}

impl Outcome {
    fn step(&mut self, report: &StepReport, mixing: &[f64]) {
        self.steps = report.step;
        self.state.tokens += report.tokens as u64;
        self.state.mixing = mixing.to_vec();
        self.state.last = Some(report.clone());
    }
}

/// Our loop.
struct Steps {
    workers: Workers,
    /// Weights of the bases.
    weights: Vec<f64>,
    /// The bases, and the ones that training never sees.
    measured: Vec<FrozenBase>,
    plan: Plan,
    evaluation: Plan,
    config: TrainConfig,
    checkpoints: CheckpointDir,
    torn: Vec<(PathBuf, String)>,
    on_event: RefCell<Box<dyn FnMut(Event)>>,
    outcome: Rc<RefCell<Outcome>>,
}

impl Steps {
    fn emit(&self, event: Event) {
        self.on_event.borrow_mut()(event);
    }

    /// Measures the held-out losses, and tells whether the value is the best so far.
    fn evaluate(&self, learner: &Learner<ValueLearner>, step: usize) -> Result<bool, Error> {
        if self.evaluation.steps() == 0 {
            return Ok(false);
        }
        let value = learner.model().valid().value;
        let connection = self.config.value.connection;
        let reports = evaluate(&self.measured, &value, connection, &self.evaluation, step)?;
        for report in &reports {
            self.emit(Event::Eval(report.clone()));
        }
        let state = &mut self.outcome.borrow_mut().state;
        state.evals = reports;
        Ok(state.watch.see(&self.config.eval, &state.evals, step, state.tokens))
    }

    /// The steps that are left after `step`.
    fn run(
        &self,
        learner: &mut Learner<ValueLearner>,
        interrupter: &Interrupter,
        mut step: usize,
        save: &mut dyn FnMut(&Learner<ValueLearner>, usize),
    ) -> Result<(), Error> {
        let (total, config) = (self.plan.steps(), &self.config);
        let due = |every: usize, step: usize| every > 0 && step.is_multiple_of(every) && step < total;
        self.outcome.borrow_mut().steps = step;
        self.emit(Event::Start { done: step, total });
        for (path, reason) in self.torn.iter().cloned() {
            self.emit(Event::Torn { path, reason });
        }
        if step == 0 {
            self.evaluate(learner, step)?;
        }
        let mut mixing = Mixing::new(config.mixing.strategy, config.mixing.eta, config.seed, &self.weights);
        mixing.restore(&self.outcome.borrow().state.mixing);
        let rest = self.plan.from_step(step);
        let mut batches = rest.batches();
        while !interrupter.should_stop() && !self.patience_is_over() {
            let began = Instant::now();
            let passes = passes_of_a_step(&mut batches)?;
            if passes.is_empty() {
                break;
            }
            let Gathered { mut gradients, seen } =
                self.workers.gradient(&learner.model(), passes, &mixing.bases(step), step)?;
            let norm = clip_gradient_norm(&learner.model(), &mut gradients, config.optimizer.max_grad_norm);
            if !(norm.is_finite() && seen.loss.is_finite()) {
                return Err(Error::Diverged { step: step + 1 });
            }
            learner.lr_step();
            learner.optimizer_step(gradients);
            step += 1;
            mixing.update(&seen.base_losses());
            let report = seen.report(step, norm, learner.lr_current().base(), began);
            self.outcome.borrow_mut().step(&report, mixing.weights());
            self.emit(Event::Step(report));
            let best = due(config.eval.every, step) && self.evaluate(learner, step)?;
            if best && config.eval.result == ResultKind::Best || due(config.checkpoint.every, step) {
                save(learner, step);
            }
        }
        if step == total && !self.is_evaluated(step) {
            self.evaluate(learner, step)?;
        }
        save(learner, step);
        if step < total && self.patience_is_over() {
            let best = self.outcome.borrow().state.watch.best.clone();
            self.emit(Event::StoppedEarly { step, best });
        }
        self.outcome.borrow_mut().ended = step == total || self.patience_is_over();
        Ok(())
    }

    /// Whether the held-out losses of this step are known.
    fn is_evaluated(&self, step: usize) -> bool {
        self.outcome.borrow().state.evals.first().is_some_and(|eval| eval.step == step)
    }

    fn patience_is_over(&self) -> bool {
        self.outcome.borrow().state.watch.is_over(&self.config.eval)
    }
}

type Processor = SupervisedTrainingEventProcessor<ValueLearner>;

impl SupervisedLearningStrategy<ValueLearner> for Steps {
    fn fit(
        &self,
        parts: TrainingComponents<ValueLearner>,
        mut learner: Learner<ValueLearner>,
        _: TrainLoader<ValueLearner>,
        _: ValidLoader<ValueLearner>,
        starting: usize,
    ) -> (ValueLearner, Processor) {
        let TrainingComponents { mut checkpointer, interrupter, event_processor, event_store, .. } = parts;
        let mut saved = starting - 1;
        let mut save = |learner: &Learner<ValueLearner>, step: usize| {
            if let Some(checkpointer) = &mut checkpointer
                && saved < step
            {
                self.emit(Event::Checkpoint { step });
                self.checkpoints.announce(step, self.outcome.borrow().state.clone());
                checkpointer.checkpoint(learner, step, &event_store);
                saved = step;
            }
        };
        if let Err(error) = self.run(&mut learner, &interrupter, starting - 1, &mut save) {
            // What was learnt is kept, unless it is what diverged.
            let steps = self.outcome.borrow().steps;
            if !matches!(error, Error::Diverged { .. }) {
                save(&learner, steps);
            }
            self.outcome.borrow_mut().failed = Some(error);
        }
        // Waits until the checkpoint is on the disk.
        drop(checkpointer);
        (learner.model(), event_processor)
    }
}

/// The next passes, up to the end of a step; none after the last.
fn passes_of_a_step(batches: &mut impl Iterator<Item = Result<Batch, Error>>) -> Result<Vec<Batch>, Error> {
    let mut passes = Vec::new();
    for batch in batches {
        let batch = batch?;
        let ends = batch.ends_step;
        passes.push(batch);
        if ends {
            break;
        }
    }
    Ok(passes)
}
