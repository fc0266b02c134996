//! Clipping by the norm of the whole gradient, as `torch.nn.utils.clip_grad_norm_` does; Burn's own clips each tensor.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

/// Scales all gradients by `min(1, max_norm / (norm + 1e-6))` and returns the norm before; a `max_norm` of 0 only
/// measures.
pub fn clip_gradient_norm<M: Module>(module: &M, gradients: &mut GradientsParams, max_norm: f64) -> f64 {
    let mut squares = Squares { gradients, sums: Vec::new() };
    module.visit(&mut squares);
    let norm = squares.total().sqrt();
    let factor = max_norm / (norm + 1e-6);
    if max_norm > 0.0 && factor < 1.0 {
        module.visit(&mut Scale { gradients, factor });
    }
    norm
}

/// The sum of the squares of each gradient. They are read together: a device that works ahead would be waited for at each.
struct Squares<'a> {
    gradients: &'a mut GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl Squares<'_> {
    fn total(self) -> f64 {
        if self.sums.is_empty() {
            return 0.0;
        }
        Tensor::cat(self.sums, 0).into_data().iter::<f64>().sum()
    }
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sums.push(gradient.cast(DType::F32).square().sum());
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register::<D>(param.id, gradient.mul_scalar(self.factor));
        }
    }
}
