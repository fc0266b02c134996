//! Data parallelism: the passes of a step on several devices, each with bases and a replica of the value of its own.
//!
//! ```text
//!            step t                         |  step t + 1
//! main:      passes 0, 2, ..   sum, AdamW --+--> replicas ...
//! worker 1:  passes 1, 3, ..   gradient ----^
//! ```
//!
//! The loss of a pass is divided by the tokens of the whole step, so that gradients add up, whoever computed them. There is
//! one optimizer, on the main device; its state is nowhere twice.

use std::cell::OnceCell;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use burn::train::TrainOutput;

use ivl_core::causal_lm::SelectedLogits;
use ivl_core::fusion::VocabProjection;

use crate::Error;
use crate::bases::rewriting::Rewritten;
use crate::bases::{FrozenBase, Split};
use crate::config::{RegularizationConfig, TrainConfig};
use crate::data::batch::Batch;
use crate::objective::perturbation::Perturbation;
use crate::step::learner::{Against, PassOutput, ValueLearner};
use crate::step::precision::Precision;
use crate::step::seen::Seen;

/// Loads the bases of a worker, in its thread: models belong to one thread. The reason if it cannot.
pub type LoadBases = Box<dyn FnOnce() -> Result<Vec<FrozenBase>, String> + Send>;

/// A further device to compute passes on.
pub struct Worker {
    /// The device, with autodiff.
    pub device: Device,
    /// The same bases in the same order as the main device has.
    pub bases: LoadBases,
}

/// Passes of one step that one device computes.
struct Share {
    learner: ValueLearner,
    /// With their numbers within the step.
    batches: Vec<(usize, Batch)>,
    /// Bases that the step sees, and their weights.
    bases: Vec<(usize, f64)>,
    step: usize,
}

/// The summed gradient of some passes, and what they saw.
#[derive(Default)]
pub struct Gathered {
    /// By the parameters of the value.
    pub gradients: GradientsParams,
    /// Sums of losses and tokens.
    pub seen: Seen,
}

/// The main device and the workers.
pub struct Workers {
    here: Passes,
    others: Vec<Remote>,
}

struct Remote {
    device: Device,
    shares: Option<SyncSender<Share>>,
    results: Receiver<Result<Gathered, Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Begins the workers' threads. `bases` are those of the main device, which is this thread's.
    pub fn new(bases: Vec<FrozenBase>, workers: Vec<Worker>, config: &TrainConfig) -> Self {
        let others = workers.into_iter().map(|worker| Remote::new(worker, config)).collect();
        Self { here: Passes::new(bases, config), others }
    }

    /// The gradient of a step: pass `i` is computed by device `i mod devices`, and the sums are added in that order.
    ///
    /// # Errors
    /// [`Error::Worker`].
    pub fn gradient(
        &self,
        learner: &ValueLearner,
        batches: Vec<Batch>,
        bases: &[(usize, f64)],
        step: usize,
    ) -> Result<Gathered, Error> {
        let devices = self.others.len() + 1;
        let mut shares: Vec<Vec<(usize, Batch)>> = vec![Vec::new(); devices];
        for (index, batch) in batches.into_iter().enumerate() {
            shares[index % devices].push((index, batch));
        }
        let mut shares = shares.into_iter();
        let first = shares.next().unwrap_or_default();
        for (remote, batches) in self.others.iter().zip(shares) {
            let learner = learner.clone().fork(&remote.device);
            remote.send(Share { learner, batches, bases: bases.to_vec(), step })?;
        }
        let mut sum =
            self.here.run(&Share { learner: learner.clone(), batches: first, bases: bases.to_vec(), step });
        let main = learner.value.device();
        for remote in &self.others {
            let part = remote.receive()?;
            let gradients = match remote.device == main {
                true => part.gradients,
                false => part.gradients.to_device(&main.clone().inner(), learner),
            };
            sum.gradients = add(learner, sum.gradients, gradients);
            sum.seen.merge(&part.seen);
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

impl Remote {
    fn new(worker: Worker, config: &TrainConfig) -> Self {
        let (shares, received) = sync_channel::<Share>(1);
        let (sender, results) = sync_channel(1);
        let (config, load, name) = (config.clone(), worker.bases, format!("{:?}", worker.device));
        let thread = std::thread::spawn(move || {
            let passes = load().map(|bases| Passes::new(bases, &config));
            for share in received {
                let result = match &passes {
                    Ok(passes) => Ok(passes.run(&share)),
                    Err(reason) => Err(Error::Worker { device: name.clone(), reason: reason.clone() }),
                };
                if sender.send(result).is_err() {
                    return;
                }
            }
        });
        Self { device: worker.device, shares: Some(shares), results, thread: Some(thread) }
    }

    fn ended(&self) -> Error {
        Error::Worker { device: format!("{:?}", self.device), reason: "its thread has ended".to_owned() }
    }

    fn send(&self, share: Share) -> Result<(), Error> {
        self.shares.as_ref().and_then(|shares| shares.send(share).ok()).ok_or_else(|| self.ended())
    }

    fn receive(&self) -> Result<Gathered, Error> {
        self.results.recv().map_err(|_| self.ended())?
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shares = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One device's bases, and how passes go against them.
struct Passes {
    bases: Vec<FrozenBase>,
    /// Their maps, where the value is; made at the first pass.
    projections: OnceCell<Vec<VocabProjection>>,
    regularization: RegularizationConfig,
    seed: u64,
    precision: Precision,
}

impl Passes {
    fn new(bases: Vec<FrozenBase>, config: &TrainConfig) -> Self {
        Self {
            bases,
            projections: OnceCell::new(),
            regularization: config.regularization.clone(),
            seed: config.seed,
            precision: config.steps.precision,
        }
    }

    /// The passes of a share, one after the other.
    fn run(&self, share: &Share) -> Gathered {
        let (mut gradients, mut seen) = (GradientsAccumulator::new(), Seen::default());
        let working = self.precision.working_copy(share.learner.clone());
        for (index, batch) in &share.batches {
            let pass = self.pass(&working, batch, &share.bases, share.step, *index);
            gradients.accumulate(&share.learner, self.precision.by_masters(&share.learner, pass.grads));
            seen.add(&pass.item);
        }
        Gathered { gradients: gradients.grads(), seen }
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
        let device = learner.value.device();
        let make = || self.bases.iter().map(|base| base.map.on(&device)).collect();
        let projections: &Vec<VocabProjection> = self.projections.get_or_init(make);
        let positions = learner.base_positions(batch);
        let against = bases.iter().filter_map(|&(index, weight)| {
            let base = &self.bases[index];
            let rewritten = base.other_tokens.as_ref().map(|tokens| tokens.rewrite(batch));
            let logits = match &rewritten {
                // Nothing will be asked of it.
                Some(rewritten) if rewritten.is_empty() => {
                    SelectedLogits::new(Tensor::zeros([0, 0], &Device::default()))
                }
                Some(Rewritten { batch, .. }) => base.logits(batch, &batch.positions, Split::Train)?,
                None => base.logits(batch, &positions, Split::Train)?,
            };
            Some(Against {
                weight,
                logits,
                rewritten,
                projection: projections[index].clone(),
                perturbation: Perturbation::new(
                    &self.regularization,
                    self.seed.wrapping_add(index as u64),
                    step,
                    pass,
                ),
            })
        });
        learner.pass(batch, against.collect())
    }
}
