//! Clipping by the norm of the whole gradient, as `torch.nn.utils.clip_grad_norm_` does; Burn's own clips each tensor.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

/// Scales all gradients by `min(1, max_norm / (norm + 1e-6))` and returns the norm before; a `max_norm` of 0 only
/// measures.
pub fn clip_gradient_norm<M: Module>(module: &M, gradients: &mut GradientsParams, max_norm: f64) -> f64 {
    let mut norm = Norm { gradients, squares: 0.0 };
    module.visit(&mut norm);
    let norm = norm.squares.sqrt();
    let factor = max_norm / (norm + 1e-6);
    if max_norm > 0.0 && factor < 1.0 {
        module.visit(&mut Scale { gradients, factor });
    }
    norm
}

struct Norm<'a> {
    gradients: &'a mut GradientsParams,
    squares: f64,
}

impl ModuleVisitor for Norm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.squares += f64::from(gradient.cast(DType::F32).square().sum().into_scalar::<f32>());
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
