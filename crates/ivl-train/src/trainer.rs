//! The training loop, as a learning strategy of burn-train: its learner, optimizer, checkpointers and metric store; our
//! steps. Burn-train's own loop works in epochs and can neither resume inside one nor weight accumulated passes by
//! their tokens (`docs/decisions/0002-training-loop.md`).

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use burn::optim::GradientsAccumulator;
use burn::train::metric::LossMetric;
use burn::train::{
    EventProcessorTraining, Interrupter, Learner, LearnerEvent, SupervisedLearningStrategy,
    SupervisedTraining, SupervisedTrainingEventProcessor, TrainLoader, TrainOutput, TrainingComponents,
    TrainingItem, TrainingStrategy, ValidLoader,
};
use ivl_models::Transformer;

use crate::Error;
use crate::bases::FrozenBase;
use crate::batch::Batch;
use crate::checkpointing::{CheckpointDir, KeepLast};
use crate::clip::clip_gradient_norm;
use crate::config::TrainConfig;
use crate::evaluate::evaluate;
use crate::examples::Examples;
use crate::learner::{Against, LearnerSettings, PassOutput, ValueLearner, optimizer};
use crate::mixing::Mixing;
use crate::perturbation::Perturbation;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::silent::Silent;

/// What a run reports while it goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run begins, or goes on after `done` steps.
    Start {
        /// Steps done before.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// An optimizer step.
    Step(StepReport),
    /// Held-out loss.
    Eval(EvalReport),
    /// A checkpoint was written.
    Checkpoint {
        /// After how many steps.
        step: usize,
    },
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StepReport {
    /// Counted from 1.
    pub step: usize,
    /// Mean cross-entropy of a learnt token.
    pub loss: f64,
    /// Mean `|v|_1 / vocab`.
    pub value_norm: f64,
    /// Mean `KL(fused, base)`; 0 where it has no weight.
    pub kl: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Learnt tokens.
    pub tokens: usize,
    /// Learnt tokens a second.
    pub tokens_per_second: f64,
}

/// Held-out loss on one base.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct EvalReport {
    /// After how many steps.
    pub step: usize,
    /// Which base; none if the model is trained by itself.
    pub base: Option<String>,
    /// Mean cross-entropy of the base alone.
    pub base_loss: Option<f64>,
    /// Mean cross-entropy with the value.
    pub loss: f64,
    /// Mean `KL(fused, base)`.
    pub kl: Option<f64>,
    /// Held-out tokens.
    pub tokens: usize,
}

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
    /// The trained network, without autodiff.
    pub value: Transformer,
    /// Steps done.
    pub steps: usize,
    /// Steps planned.
    pub total_steps: usize,
    /// Learnt tokens seen by this process.
    pub tokens: u64,
    /// The last step.
    pub last: Option<StepReport>,
    /// The last held-out losses.
    pub evals: Vec<EvalReport>,
    /// Whether it was stopped before the end.
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
    let checkpoints = CheckpointDir::new(config.output.join("checkpoints"), run.fingerprint.clone());
    let done = match run.resume {
        true => Some(checkpoints.latest()?),
        false if checkpoints.is_empty() => None,
        false => return Err(Error::OutputExists { path: config.output.clone(), what: "checkpoints" }),
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
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let strategy = Steps {
        measured: run.bases.iter().cloned().chain(run.held_out).collect(),
        bases: run.bases,
        plan: plan.clone(),
        evaluation: evaluation.clone(),
        config: config.clone(),
        on_event: RefCell::new(Box::new(on_event)),
        outcome: outcome.clone(),
    };
    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "burn-train asks for an `Arc`; the run stays on this thread"
    )]
    let strategy = Arc::new(strategy);
    let mut training = SupervisedTraining::new(&config.output, Arc::new(plan.clone()), Arc::new(evaluation))
        .with_training_strategy(TrainingStrategy::Custom(strategy))
        .with_custom_checkpointers(
            checkpoints.part("model"),
            checkpoints.part("optimizer"),
            checkpoints.part("schedule"),
        )
        .with_checkpointing_strategy(KeepLast::new(config.checkpoint.keep))
        .with_metric_logger(burn::train::logger::FileMetricLogger::new(metric_dir(&config.output)))
        .with_application_logger(None)
        .with_interrupter(run.interrupter)
        .renderer(Box::new(Silent))
        .metric_train_numeric(LossMetric::new());
    if let Some(step) = done {
        training = training.checkpoint(step);
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
    Ok(Trained {
        value: result.model.value,
        steps: outcome.steps,
        total_steps: plan.steps(),
        tokens: outcome.tokens,
        last: outcome.last,
        evals: outcome.evals,
        interrupted: result.interrupted.is_some(),
    })
}

fn metric_dir(output: &Path) -> std::path::PathBuf {
    output.join("metrics")
}

#[derive(Default)]
struct Outcome {
    steps: usize,
    tokens: u64,
    last: Option<StepReport>,
    evals: Vec<EvalReport>,
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

    fn evaluate(&self, learner: &Learner<ValueLearner>, step: usize) -> Result<(), Error> {
        if self.evaluation.steps() == 0 {
            return Ok(());
        }
        let value = burn::module::Module::valid(&learner.model()).value;
        let connection = self.config.value.connection;
        let reports = evaluate(&self.measured, &value, connection, &self.evaluation, step)?;
        self.outcome.borrow_mut().evals.clone_from(&reports);
        for report in reports {
            self.emit(Event::Eval(report));
        }
        Ok(())
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
        let TrainingComponents { mut checkpointer, interrupter, mut event_processor, event_store, .. } =
            parts;
        let (mut step, total) = (starting - 1, self.plan.steps());
        let due = |every: usize, step: usize| every > 0 && step.is_multiple_of(every) && step < total;
        let mut save = |learner: &Learner<ValueLearner>, step: usize| {
            if let Some(checkpointer) = &mut checkpointer {
                checkpointer.checkpoint(learner, step, &event_store);
                self.emit(Event::Checkpoint { step });
            }
        };
        let fail = |error: Error| {
            interrupter.stop(Some("an error"));
            self.outcome.borrow_mut().failed = Some(error);
        };
        self.emit(Event::Start { done: step, total });
        self.evaluate(&learner, step).unwrap_or_else(fail);
        let (mut gradients, mut seen) = (GradientsAccumulator::new(), Seen::default());
        let mixing = &self.config.mixing;
        let weights: Vec<f64> = self.bases.iter().map(|base| base.weight).collect();
        let mut mixing = Mixing::new(mixing.strategy, mixing.eta, self.config.seed, &weights);
        let mut began = Instant::now();
        let rest = self.plan.from_step(step);
        for batch in rest.batches() {
            if interrupter.should_stop() && seen.tokens == 0 {
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
            let progress = burn::data::dataloader::Progress::new(step, total, None);
            let item = TrainingItem::new(pass.item, progress, Some(step), Some(learner.lr_current()));
            interrupter.fail_on_error(event_processor.process_train(LearnerEvent::ProcessedItem(item)));
            {
                let mut outcome = self.outcome.borrow_mut();
                outcome.tokens += report.tokens as u64;
                outcome.last = Some(report.clone());
            }
            self.emit(Event::Step(report));
            (seen, began) = (Seen::default(), Instant::now());
            if due(self.config.eval.every, step) {
                self.evaluate(&learner, step).unwrap_or_else(fail);
                began = Instant::now();
            }
            if due(self.config.checkpoint.every, step) {
                save(&learner, step);
            }
        }
        self.outcome.borrow_mut().steps = step;
        if self.outcome.borrow().diverged.is_none() {
            save(&learner, step);
            if step == total {
                self.evaluate(&learner, step).unwrap_or_else(fail);
            }
        }
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
