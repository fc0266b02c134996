//! Data parallelism: the micro-batches of a step on several devices, each with bases and a replica of the value of its own.
//!
//! ```text
//!            step t                                |  step t + 1
//! main:      micro-batches 0, 2, ..   sum, AdamW --+--> replicas ...
//! worker 1:  micro-batches 1, 3, ..   gradient ----^
//! ```
//!
//! The loss of a micro-batch is divided by the tokens of the whole step, so that gradients add up on whichever device they
//! were computed. There is one optimizer, on the main device; no other device holds its state.

use std::cell::OnceCell;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Device;
use ivl_core::fusion::VocabProjection;

use crate::Error;
use crate::bases::{FrozenBase, Teacher};
use crate::config::{Precision, RegularizationConfig, TrainConfig};
use crate::data::batch::Batch;
use crate::objective::perturbation::{Perturbation, base_weight};
use crate::step::forward::BaseTarget;
use crate::step::learner::{MicroBatchGradients, ValueLearner};
use crate::step::step_sums::StepSums;

/// Loads the bases of a worker, in its thread: models belong to one thread. The reason if it cannot.
pub type LoadBases = Box<dyn FnOnce() -> Result<Vec<FrozenBase>, String> + Send>;

/// A further device to compute micro-batches on.
pub struct Worker {
    /// The device, with autodiff.
    pub device: Device,
    /// The same bases in the same order as the main device has.
    pub bases: LoadBases,
}

/// The micro-batches of one step that one device computes.
struct WorkerBatch {
    learner: ValueLearner,
    /// With their numbers within the step.
    micro_batches: Vec<(usize, Batch)>,
    /// Bases that the step sees, and their weights.
    bases: Vec<(usize, f64)>,
    step: usize,
}

/// The summed gradient of some micro-batches, and their losses.
#[derive(Default)]
pub struct StepGradients {
    /// By the parameters of the value.
    pub gradients: GradientsParams,
    /// Sums of losses and tokens.
    pub sums: StepSums,
}

/// The main device and the workers.
pub struct Workers {
    main: DeviceBases,
    others: Vec<RemoteWorker>,
}

struct RemoteWorker {
    device: Device,
    batches: Option<SyncSender<WorkerBatch>>,
    results: Receiver<Result<StepGradients, Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Begins the workers' threads. `bases` are those of the main device, which is this thread's.
    pub fn new(
        bases: Vec<FrozenBase>,
        workers: Vec<Worker>,
        config: &TrainConfig,
        total_steps: usize,
    ) -> Self {
        let others =
            workers.into_iter().map(|worker| RemoteWorker::new(worker, config, total_steps)).collect();
        Self { main: DeviceBases::new(bases, config, total_steps), others }
    }

    /// Workers whose main device has a teacher. Other devices have none: a distilled value is trained on one device.
    #[must_use]
    pub fn with_teacher(mut self, teacher: Option<Teacher>) -> Self {
        self.main.teacher = teacher;
        self
    }

    /// The gradient of a step: micro-batch `i` is computed by device `i mod devices`, and the sums are added in that order.
    ///
    /// # Errors
    /// [`Error::Worker`], [`Error::NotCached`].
    pub fn gradients(
        &self,
        learner: &ValueLearner,
        micro_batches: Vec<Batch>,
        bases: &[(usize, f64)],
        step: usize,
    ) -> Result<StepGradients, Error> {
        let devices = self.others.len() + 1;
        let mut shares: Vec<Vec<(usize, Batch)>> = vec![Vec::new(); devices];
        for (index, batch) in micro_batches.into_iter().enumerate() {
            shares[index % devices].push((index, batch));
        }
        for (remote, share) in self.others.iter().zip(&mut shares[1..]) {
            let learner = learner.clone().fork(&remote.device);
            let micro_batches = std::mem::take(share);
            remote.send(WorkerBatch { learner, micro_batches, bases: bases.to_vec(), step })?;
        }
        let micro_batches = std::mem::take(&mut shares[0]);
        let batch = WorkerBatch { learner: learner.clone(), micro_batches, bases: bases.to_vec(), step };
        let mut sum = self.main.gradients(&batch)?;
        let main = learner.value.device();
        for remote in &self.others {
            let part = remote.receive()?;
            let gradients = match remote.device == main {
                true => part.gradients,
                false => part.gradients.to_device(&main.clone().inner(), learner),
            };
            sum.gradients = add(learner, sum.gradients, gradients);
            sum.sums.merge(&part.sums);
        }
        Ok(sum)
    }
}

fn add(learner: &ValueLearner, a: GradientsParams, b: GradientsParams) -> GradientsParams {
    let mut sum = GradientsAccumulator::new();
    sum.accumulate(learner, a);
    sum.accumulate(learner, b);
    sum.grads()
}

impl RemoteWorker {
    fn new(worker: Worker, config: &TrainConfig, total_steps: usize) -> Self {
        let (batches, received) = sync_channel::<WorkerBatch>(1);
        let (sender, results) = sync_channel(1);
        let (config, load, name) = (config.clone(), worker.bases, format!("{:?}", worker.device));
        let thread = std::thread::spawn(move || {
            let bases = load().map(|bases| DeviceBases::new(bases, &config, total_steps));
            for batch in received {
                let result = match &bases {
                    Ok(bases) => bases.gradients(&batch),
                    Err(reason) => Err(Error::Worker { device: name.clone(), reason: reason.clone() }),
                };
                if sender.send(result).is_err() {
                    return;
                }
            }
        });
        Self { device: worker.device, batches: Some(batches), results, thread: Some(thread) }
    }

    fn ended(&self) -> Error {
        Error::Worker { device: format!("{:?}", self.device), reason: "its thread has ended".to_owned() }
    }

    fn send(&self, batch: WorkerBatch) -> Result<(), Error> {
        self.batches.as_ref().and_then(|batches| batches.send(batch).ok()).ok_or_else(|| self.ended())
    }

    fn receive(&self) -> Result<StepGradients, Error> {
        self.results.recv().map_err(|_| self.ended())?
    }
}

impl Drop for RemoteWorker {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One device's bases, and how micro-batches are trained against them.
struct DeviceBases {
    bases: Vec<FrozenBase>,
    teacher: Option<Teacher>,
    /// Their maps, on the value's device; made at the first micro-batch.
    projections: OnceCell<Vec<VocabProjection>>,
    regularization: RegularizationConfig,
    /// Steps of the run, over a share of which the bases are faded in.
    total_steps: usize,
    seed: u64,
    precision: Precision,
}

impl DeviceBases {
    fn new(bases: Vec<FrozenBase>, config: &TrainConfig, total_steps: usize) -> Self {
        Self {
            bases,
            teacher: None,
            total_steps,
            projections: OnceCell::new(),
            regularization: config.regularization.clone(),
            seed: config.seed,
            precision: config.steps.precision,
        }
    }

    /// The summed gradient of a worker's micro-batches, one after the other.
    fn gradients(&self, batch: &WorkerBatch) -> Result<StepGradients, Error> {
        let (mut sum, mut sums) = (GradientsAccumulator::new(), StepSums::default());
        let working = self.precision.working_copy(batch.learner.clone());
        for (index, micro_batch) in &batch.micro_batches {
            let targets = self.targets(&working, batch, *index);
            let MicroBatchGradients { gradients, losses } =
                working.gradients(micro_batch, targets, self.teacher.as_ref())?;
            sum.accumulate(&batch.learner, self.precision.by_masters(&batch.learner, gradients));
            sums.add(&losses);
        }
        Ok(StepGradients { gradients: sum.grads(), sums })
    }

    /// The bases that a step sees, as one of its micro-batches sees them.
    fn targets(
        &self,
        learner: &ValueLearner,
        batch: &WorkerBatch,
        micro_batch: usize,
    ) -> Vec<BaseTarget<'_>> {
        if self.bases.is_empty() {
            return Vec::new();
        }
        let device = learner.value.device();
        let projections =
            self.projections.get_or_init(|| self.bases.iter().map(|base| base.map.on(&device)).collect());
        let base_weight = base_weight(self.regularization.base_fade_in, batch.step, self.total_steps);
        let target = |&(index, weight): &(usize, f64)| {
            let seed = self.seed.wrapping_add(index as u64);
            let perturbation =
                Perturbation::new(&self.regularization, base_weight, seed, batch.step, micro_batch);
            BaseTarget::new(&self.bases[index], weight, projections[index].clone()).perturbed(perturbation)
        };
        batch.bases.iter().map(target).collect()
    }
}
