//! The predictions of a teacher at some positions, and the divergence of logits from them.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData};
use ivl_core::tokens::token_tensor;
use ivl_kernels::TeacherRows;

/// A logit, or the logarithm of a probability, of what is impossible: far below all others, and still a number.
const IMPOSSIBLE: f32 = -1e9;

/// The predictions of a teacher at some positions, to be fitted at a temperature.
#[derive(Debug, Clone)]
pub struct TeacherTarget {
    /// What is known of its predictions.
    pub predictions: TeacherPredictions,
    /// Divides the logits of teacher and fused model; above 0.
    pub temperature: f64,
}

/// What is known of a teacher's predictions.
#[derive(Debug, Clone)]
pub enum TeacherPredictions {
    /// All logits, not divided by the temperature; shape `[n, vocab]`.
    Logits(Tensor<2>),
    /// The most probable tokens, at the temperature.
    TopTokens(TopTokens),
}

/// The most probable tokens of some distributions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopTokens {
    /// Each once in its row; shape `[n, k]`.
    pub ids: Vec<u32>,
    /// Their log-probabilities in nats; shape `[n, k]`.
    pub logprobs: Vec<f32>,
    /// The log-probability of all other tokens together; `n`.
    pub rest: Vec<f32>,
}

impl TeacherTarget {
    /// The same for a model of so many logits: ids that the teacher lacks are impossible to it.
    #[must_use]
    pub(crate) fn widened(self, vocab: usize) -> Self {
        let TeacherPredictions::Logits(logits) = self.predictions else { return self };
        let [n, size] = logits.dims();
        let logits = if size < vocab {
            let missing = Tensor::full([n, vocab - size], IMPOSSIBLE, (&logits.device(), DType::F32));
            Tensor::cat(vec![logits.cast(DType::F32), missing], 1)
        } else {
            logits
        };
        Self { predictions: TeacherPredictions::Logits(logits), ..self }
    }

    /// Calls `work` with the predictions as the kernel takes them.
    pub(crate) fn with_rows<T>(self, work: impl FnOnce(TeacherRows<'_>) -> T) -> T {
        match self.predictions {
            TeacherPredictions::Logits(logits) => {
                let logits = logits.cast(DType::F32).into_data();
                work(TeacherRows::Logits(logits.as_slice().expect("logits in f32")))
            }
            TeacherPredictions::TopTokens(TopTokens { ids, logprobs, rest }) => {
                work(TeacherRows::TopTokens { ids: &ids, logprobs: &logprobs, rest: &rest })
            }
        }
    }

    /// `T^2 KL` of [`Distillation::add_gradient`](ivl_kernels::Distillation::add_gradient) summed over the positions, and its
    /// derivative by the logits, by the operations of their device.
    ///
    /// # Shapes
    /// - `logits`: `[n, vocab]`
    /// - outputs: `[1]`, `[n, vocab]`
    pub(crate) fn compare(self, logits: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let temperature = self.temperature;
        let found = log_softmax(logits.cast(DType::F32) / temperature, 1);
        let (divergence, difference) = match self.predictions {
            TeacherPredictions::Logits(teacher) => {
                let wanted = log_softmax(teacher.cast(DType::F32) / temperature, 1);
                let probable = wanted.clone().exp();
                ((probable.clone() * (wanted - found.clone())).sum(), found.exp() - probable)
            }
            TeacherPredictions::TopTokens(top) => top.compare(found),
        };
        (divergence * temperature.powi(2), difference * temperature)
    }
}

impl TopTokens {
    /// The divergence of log-probabilities from these, summed, and its derivative by their logits.
    fn compare(self, found: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let (device, rows) = (found.device(), self.rest.len());
        let k = self.ids.len() / rows.max(1);
        let ids: Tensor<2, Int> = token_tensor(&self.ids, rows, &device);
        let wanted = floats(self.logprobs, [rows, k], &device);
        let rest = floats(self.rest, [rows, 1], &device);
        let kept = found.clone().gather(1, ids.clone());
        let hidden = Tensor::full([rows, k], IMPOSSIBLE, (&device, DType::F32));
        // Summed without the kept ones: the others' share may be far below the rounding error of the sum over all.
        let others = found.scatter(1, ids.clone(), hidden, IndexingUpdateOp::Add).exp();
        let mass = others.clone().sum_dim(1).clamp_min(f32::MIN_POSITIVE);
        let of_kept = wanted.clone().exp() * (wanted.clone() - kept.clone());
        let of_rest = rest.clone().exp() * (rest.clone() - mass.clone().log());
        let difference = others * (rest.exp() / mass - 1.0).neg();
        let difference = difference.scatter(1, ids, kept.exp() - wanted.exp(), IndexingUpdateOp::Add);
        (of_kept.sum() + of_rest.sum(), difference)
    }
}

/// Logarithms of probabilities as a tensor.
fn floats(logprobs: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let logprobs: Vec<f32> = logprobs.into_iter().map(|logprob| logprob.max(IMPOSSIBLE)).collect();
    Tensor::from_data(TensorData::new(logprobs, shape), (device, DType::F32))
}
