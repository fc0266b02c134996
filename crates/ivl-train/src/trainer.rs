//! The training loop, as a learning strategy of burn-train: its learner, optimizer, checkpointers and metric store; our
//! steps. Burn-train's own loop works in epochs and can neither resume inside one nor weight accumulated passes by
//! their tokens (`docs/decisions/0002-training-loop.md`).

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::train::checkpoint::Checkpointer;
use burn::train::{
    Interrupter, Learner, SupervisedLearningStrategy, SupervisedTraining, SupervisedTrainingEventProcessor,
    TrainLoader, TrainOutput, TrainingComponents, TrainingStrategy, ValidLoader,
};
use ivl_models::Transformer;

use crate::Error;
use crate::bases::FrozenBase;
use crate::batch::Batch;
use crate::checkpointing::{CheckpointDir, Restored, WhenAsked};
use crate::clip::clip_gradient_norm;
use crate::config::{ResultKind, TrainConfig};
use crate::evaluate::evaluate;
use crate::examples::Examples;
use crate::learner::{Against, LearnerSettings, PassOutput, ValueLearner, optimizer};
use crate::mixing::Mixing;
use crate::perturbation::Perturbation;
use crate::plan::Plan;
use crate::report::{Best, EvalReport, Event, StepReport};
use crate::run_state::RunState;
use crate::schedule::Schedule;
use crate::silent::Silent;

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
        measured: run.bases.iter().cloned().chain(run.held_out).collect(),
        bases: run.bases,
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
    if let Some(step) = outcome.diverged {
        return Err(Error::Diverged { step });
    }
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
    diverged: Option<usize>,
    failed: Option<Error>,
}

/// Our loop.
struct Steps {
    bases: Vec<FrozenBase>,
    /// Those, and the ones that training never sees.
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

    /// A pass against the bases that its step sees.
    fn pass(
        &self,
        learner: &ValueLearner,
        batch: &Batch,
        bases: &[(usize, f64)],
        step: usize,
        pass: usize,
    ) -> TrainOutput<PassOutput> {
        if self.bases.is_empty() {
            return learner.pass(batch, Vec::new());
        }
        let positions = learner.base_positions(batch);
        let against = bases.iter().map(|&(index, weight)| {
            let base = &self.bases[index];
            Against {
                weight,
                logits: base.logits(batch, &positions),
                projection: &base.projection,
                perturbation: Perturbation::new(
                    &self.config.regularization,
                    self.config.seed.wrapping_add(index as u64),
                    step,
                    pass,
                ),
            }
        });
        learner.pass(batch, against.collect())
    }

    /// The weights of the bases where the run begins or goes on.
    fn mixing(&self) -> Mixing {
        let config = &self.config.mixing;
        let weights: Vec<f64> = self.bases.iter().map(|base| base.weight).collect();
        let mut mixing = Mixing::new(config.strategy, config.eta, self.config.seed, &weights);
        mixing.restore(&self.outcome.borrow().state.mixing);
        mixing
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
        let (mut step, total) = (starting - 1, self.plan.steps());
        let due = |every: usize, step: usize| every > 0 && step.is_multiple_of(every) && step < total;
        let mut saved = step;
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
        let fail = |error: Error| {
            interrupter.stop(Some("an error"));
            self.outcome.borrow_mut().failed = Some(error);
        };
        self.emit(Event::Start { done: step, total });
        for (path, reason) in self.torn.iter().cloned() {
            self.emit(Event::Torn { path, reason });
        }
        let evaluate = |learner: &Learner<ValueLearner>, step: usize| match self.evaluate(learner, step) {
            Ok(best) => best,
            Err(error) => {
                fail(error);
                false
            }
        };
        if step == 0 {
            evaluate(&learner, step);
        }
        let (mut gradients, mut seen) = (GradientsAccumulator::new(), Seen::default());
        let mut mixing = self.mixing();
        let mut began = Instant::now();
        let rest = self.plan.from_step(step);
        for batch in rest.batches() {
            if seen.tokens == 0 && (interrupter.should_stop() || self.patience_is_over()) {
                break;
            }
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    fail(error);
                    break;
                }
            };
            let ends_step = batch.ends_step;
            let pass = self.pass(&learner.model(), &batch, &mixing.bases(step), step, seen.passes);
            gradients.accumulate(&learner.model(), pass.grads);
            seen.add(&pass.item);
            if !ends_step {
                continue;
            }
            let mut grads = gradients.grads();
            let norm = clip_gradient_norm(&learner.model(), &mut grads, self.config.optimizer.max_grad_norm);
            if !(norm.is_finite() && seen.loss.is_finite()) {
                self.outcome.borrow_mut().diverged = Some(step + 1);
                interrupter.stop(Some("the loss is not finite"));
                break;
            }
            learner.lr_step();
            learner.optimizer_step(grads);
            step += 1;
            mixing.update(&seen.base_losses());
            let report = seen.report(step, norm, learner.lr_current().base(), began);
            {
                let state = &mut self.outcome.borrow_mut().state;
                state.mixing = mixing.weights().to_vec();
                state.tokens += report.tokens as u64;
                state.last = Some(report.clone());
            }
            self.emit(Event::Step(report));
            (seen, began) = (Seen::default(), Instant::now());
            let mut best = false;
            if due(self.config.eval.every, step) {
                best = evaluate(&learner, step) && self.config.eval.result == ResultKind::Best;
                began = Instant::now();
            }
            if best || due(self.config.checkpoint.every, step) {
                save(&learner, step);
            }
        }
        if step == total && !self.is_evaluated(step) {
            evaluate(&learner, step);
        }
        if self.outcome.borrow().diverged.is_none() {
            save(&learner, step);
        }
        if step < total && self.patience_is_over() {
            let best = self.outcome.borrow().state.watch.best.clone();
            self.emit(Event::StoppedEarly { step, best });
        }
        let ended = step == total || self.patience_is_over();
        let mut outcome = self.outcome.borrow_mut();
        (outcome.steps, outcome.ended) = (step, ended);
        // Waits until the checkpoint is on the disk.
        drop(checkpointer);
        (learner.model(), event_processor)
    }
}

/// Sums over the passes of a step.
#[derive(Default)]
struct Seen {
    loss: f64,
    norm: f64,
    kl: f64,
    by_base: Vec<f64>,
    tokens: usize,
    passes: usize,
}

impl Seen {
    fn add(&mut self, pass: &PassOutput) {
        self.by_base.resize(pass.terms.len(), 0.0);
        for ((terms, weight), by_base) in pass.terms.iter().zip(&pass.weights).zip(&mut self.by_base) {
            let [loss, norm, _, kl] = terms.read();
            self.loss += weight * loss;
            self.norm += weight * norm;
            self.kl += weight * kl;
            *by_base += loss;
        }
        self.tokens += pass.tokens;
        self.passes += 1;
    }

    /// Mean cross-entropy of a learnt token against each base.
    fn base_losses(&self) -> Vec<f64> {
        self.by_base.iter().map(|loss| loss / self.tokens.max(1) as f64).collect()
    }

    fn report(&self, step: usize, gradient_norm: f64, learning_rate: f64, began: Instant) -> StepReport {
        let tokens = self.tokens.max(1) as f64;
        StepReport {
            step,
            loss: self.loss / tokens,
            value_norm: self.norm / tokens,
            kl: self.kl / tokens,
            gradient_norm,
            learning_rate,
            tokens: self.tokens,
            tokens_per_second: tokens / began.elapsed().as_secs_f64().max(1e-9),
        }
    }
}
