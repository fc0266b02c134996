//! The training loop, as a learning strategy of burn-train: its learner, optimizer, checkpointers and metric store; our
//! steps. Burn-train's own loop works in epochs and can neither resume inside one nor weight accumulated passes by
//! their tokens (`docs/decisions/0002-training-loop.md`).

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use burn::optim::GradientsAccumulator;
use burn::tensor::DType;
use burn::train::metric::LossMetric;
use burn::train::{
    EventProcessorTraining, Interrupter, Learner, LearnerEvent, SupervisedLearningStrategy,
    SupervisedTraining, SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents, TrainingItem,
    TrainingStrategy, ValidLoader,
};
use ivl_core::{CausalLm, VocabMap};
use ivl_models::Transformer;

use crate::Error;
use crate::batch::{Batch, Plan};
use crate::checkpointing::{CheckpointDir, KeepLast};
use crate::clip::clip_gradient_norm;
use crate::config::TrainConfig;
use crate::evaluate::{HeldOut, evaluate};
use crate::example::Example;
use crate::learner::{ValueLearner, optimizer};
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
    /// Held-out tokens.
    pub tokens: usize,
}

/// Everything that a run works on.
pub struct Run {
    /// The frozen base, on a device without autodiff. None trains the network by itself.
    pub base: Option<Rc<dyn CausalLm>>,
    /// The network, on a device with autodiff.
    pub value: Transformer,
    /// From the value's vocabulary to the base's.
    pub map: Option<VocabMap>,
    /// Examples to train on.
    pub train: Vec<Example>,
    /// Examples to hold out; may be empty.
    pub eval: Vec<Example>,
    /// Further bases to measure the held-out loss on.
    pub held_out: Vec<HeldOut>,
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
    let device = run.value.device();
    let plan = Plan::training(Arc::new(run.train), &config.steps, config.seed);
    let evaluation = Plan::evaluation(Arc::new(run.eval), config.eval.batch_size);
    let schedule = Schedule::new(&config.optimizer, plan.steps());
    let projection = run.map.as_ref().map(|map| map.on(&device));
    let l1 = if run.base.is_some() { config.regularization.l1 } else { 0.0 };
    let learner = ValueLearner::new(run.value, l1, projection);
    let learner = Learner::new(
        learner,
        optimizer(&config.optimizer),
        burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler::new(schedule),
    );
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let strategy = Steps {
        base: run.base,
        plan: plan.clone(),
        evaluation: evaluation.clone(),
        held_out: run.held_out,
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
}

/// Our loop.
struct Steps {
    base: Option<Rc<dyn CausalLm>>,
    plan: Plan,
    evaluation: Plan,
    held_out: Vec<HeldOut>,
    config: TrainConfig,
    on_event: RefCell<Box<dyn FnMut(Event)>>,
    outcome: Rc<RefCell<Outcome>>,
}

impl Steps {
    fn emit(&self, event: Event) {
        self.on_event.borrow_mut()(event);
    }

    /// Joins the frozen base's logits to a batch. They are computed without autodiff.
    fn with_base(&self, mut batch: Batch) -> Batch {
        batch.base = self.base.as_ref().map(|base| batch.logits(&**base));
        batch
    }

    fn evaluate(&self, learner: &Learner<ValueLearner>, step: usize) {
        if self.evaluation.steps() == 0 {
            return;
        }
        let value = burn::module::Module::valid(&learner.model()).value;
        let reports = evaluate(self.base.as_ref(), &value, &self.held_out, &self.evaluation, step);
        self.outcome.borrow_mut().evals.clone_from(&reports);
        for report in reports {
            self.emit(Event::Eval(report));
        }
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
        self.emit(Event::Start { done: step, total });
        self.evaluate(&learner, step);
        let (mut gradients, mut seen) = (GradientsAccumulator::new(), Seen::default());
        let mut began = Instant::now();
        let rest = self.plan.from_step(step);
        for batch in rest.batches() {
            if interrupter.should_stop() && seen.tokens == 0 {
                break;
            }
            let ends_step = batch.ends_step;
            let pass = learner.train_step(self.with_base(batch));
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
                self.evaluate(&learner, step);
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
                self.evaluate(&learner, step);
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
    tokens: usize,
}

impl Seen {
    fn add(&mut self, pass: &crate::learner::PassOutput) {
        let number = |tensor: &burn::tensor::Tensor<1>| {
            f64::from(tensor.clone().cast(DType::F32).into_scalar::<f32>())
        };
        self.loss += number(&pass.cross_entropy) * pass.tokens as f64;
        self.norm += number(&pass.norm) * pass.tokens as f64;
        self.tokens += pass.tokens;
    }

    fn report(&self, step: usize, gradient_norm: f64, learning_rate: f64, began: Instant) -> StepReport {
        let tokens = self.tokens.max(1) as f64;
        StepReport {
            step,
            loss: self.loss / tokens,
            value_norm: self.norm / tokens,
            gradient_norm,
            learning_rate,
            tokens: self.tokens,
            tokens_per_second: tokens / began.elapsed().as_secs_f64().max(1e-9),
        }
    }
}
