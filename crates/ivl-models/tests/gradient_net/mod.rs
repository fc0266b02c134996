//! Gradients of a network in the place of its weights, which are saved under the names of the checkpoint and compared with PyTorch's.

use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use ivl_core::tokens::token_tensor;
use ivl_models::Transformer;
use ivl_models::transformer::with_gradient;
use safetensors::SafeTensors;

fn cosine(at: usize) -> f64 {
    (0.37 * at as f64).cos()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect()
}

/// The gradients of the logits of a text, weighted by cosines.
pub(crate) fn gradient_net(net: &Transformer, ids: &[u32]) -> Transformer {
    struct Replace<'a>(&'a Gradients);

    impl ModuleMapper for Replace<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let tensor = param.val();
            let gradient = tensor.grad(self.0);
            let gradient = gradient.unwrap_or_else(|| tensor.clone().inner().zeros_like());
            Param::initialized(param.id, Tensor::from_inner(gradient))
        }
    }
    let logits = net.forward(token_tensor(ids, 1, &net.device()), &mut net.new_cache(&[0]));
    let [rows, seq, vocab] = logits.dims();
    let weights: Vec<f32> = (0..rows * seq * vocab).map(|at| cosine(at) as f32).collect();
    let gradient =
        |logits: Tensor<3>| Tensor::from_data(TensorData::new(weights, [rows, seq, vocab]), &logits.device());
    let gradients = with_gradient(logits, gradient).backward();
    net.clone().map(&mut Replace(&gradients))
}

/// Compares the tensors of a file with what a fixture says of each, and counts them: the sum of its numbers, weighted by cosines, and
/// its length.
pub(crate) fn assert_gradients(file: &Path, expected: impl Fn(&str) -> Vec<u8>) -> usize {
    let saved = std::fs::read(file).expect("reads");
    let saved = SafeTensors::deserialize(&saved).expect("safetensors");
    for (tensor, view) in saved.iter() {
        let [expected_sum, expected_length] = floats(&expected(tensor))[..] else { panic!("{tensor}") };
        let got = floats(view.data());
        let sum: f64 = got.iter().enumerate().map(|(at, x)| f64::from(*x) * cosine(at)).sum();
        let length = got.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let tolerance = 2e-4 * f64::from(expected_length).max(1e-3);
        for (got, expected) in [(sum, expected_sum), (length, expected_length)] {
            assert!((got - f64::from(expected)).abs() < tolerance, "{tensor}: {got}, {expected}");
        }
    }
    saved.len()
}
