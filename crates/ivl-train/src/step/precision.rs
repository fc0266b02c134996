//! Mixed precision: passes in bf16, weights and their optimizer in f32.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

use crate::config::Precision;

impl Precision {
    /// The weights to compute a step with: leaves of their own, with the identities of the masters.
    pub(crate) fn working_copy<M: Module>(self, masters: M) -> M {
        match self {
            Self::F32 => masters,
            Self::Bf16 => masters.map(&mut Cast(DType::BF16)),
        }
    }

    /// Gradients by a working copy as those by the masters.
    pub(crate) fn by_masters<M: Module>(self, masters: &M, gradients: GradientsParams) -> GradientsParams {
        match self {
            Self::F32 => gradients,
            Self::Bf16 => {
                let mut widened = Widen { from: gradients, to: GradientsParams::new() };
                masters.visit(&mut widened);
                widened.to
            }
        }
    }
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, master, mapper) = param.consume();
        let learns = master.is_require_grad();
        let copy = master.detach().cast(self.0).detach().set_require_grad(learns);
        Param::from_mapped_value(id, copy, mapper)
    }
}

struct Widen {
    from: GradientsParams,
    to: GradientsParams,
}

impl ModuleVisitor for Widen {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.from.remove::<D>(param.id) {
            self.to.register::<D>(param.id, gradient.cast(DType::F32));
        }
    }
}
