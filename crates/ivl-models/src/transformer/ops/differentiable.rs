//! The operations by kernels of the CPU as nodes of Burn's graph, forwards and backwards.
//!
//! Each is there for f32 on the CPU where activations are kept; elsewhere it returns `None`, and the caller composes the
//! same operation of Burn's.

use std::ops::Range;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ivl_kernels::{ActivationFn, DenseMatrix, GroupedQueryAttention, KeysAndValues, Normalization, multiply};

use super::params::{NormParams, attention_kernel, normalization};
use super::rotation::Rotation;
use crate::config::{AttentionConfig, NormConfig};
use crate::transformer::mask::Mask;

/// A tensor of the CPU backend.
type Host = FloatTensor<Flex>;
/// One in a graph.
type Node = FloatTensor<Autodiff<Flex>>;

/// A tensor as it stands in the graph, if its operations can be ours.
fn node<const D: usize>(tensor: &Tensor<D>) -> Option<Node> {
    let ours = tensor.dtype() == DType::F32 && tensor.device().is_autodiff();
    ours.then(|| tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok()).flatten()
}

fn guard(node: Node) -> NodeGuard {
    node.into_parts().1
}

/// Puts the output of an operation into the graph.
fn finish<O: Backward<Flex, N>, const N: usize, const D: usize>(
    operation: O,
    inputs: [NodeGuard; N],
    state: O::State,
    output: Host,
) -> Tensor<D> {
    let prepared = operation.prepare::<NoCheckpointing>(inputs);
    let output = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

/// Passes the derivative of an operation's output back: `by` computes the derivatives by the inputs from it and the kept
/// state, and each goes to its input if that is tracked.
fn pass_back<S, const N: usize>(
    ops: Ops<S, N>,
    gradients: &mut Gradients,
    by: impl FnOnce(Host, S) -> [Host; N],
) {
    let d = contiguous(&gradients.consume::<Flex>(&ops.node));
    for (input, gradient) in ops.parents.into_iter().zip(by(d, ops.state)) {
        if let Some(input) = input {
            gradients.register::<Flex>(input.id, gradient);
        }
    }
}

fn host(numbers: Vec<f32>, shape: impl Into<Vec<usize>>) -> Host {
    Host::from_data(TensorData::new(numbers, shape.into()))
}

/// The numbers of a tensor in the order of its shape.
fn contiguous(tensor: &Host) -> Host {
    tensor.to_contiguous()
}

/// # Panics
/// If the tensor is not contiguous, or not of f32.
fn slice(tensor: &Host) -> &[f32] {
    tensor.as_slice().expect("contiguous numbers in f32")
}

/// Changes the numbers of a tensor: no copy, if this is its only handle.
fn change(tensor: Host, change: impl FnOnce(&mut [f32])) -> Host {
    let mut data = tensor.into_data();
    change(data.as_mut_slice().expect("numbers in f32"));
    Host::from_data(data)
}

fn matrix(tensor: &Host) -> DenseMatrix<'_> {
    let shape = tensor.shape();
    DenseMatrix::new(slice(tensor), [shape[0], shape[1]])
}

/// `x W`, or `x W^T`.
///
/// # Shapes
/// - `x`: `[n, input]`
/// - `weight`: `[input, output]`, or `[output, input]` if it is transposed
/// - output: `[n, output]`
pub(super) fn product(x: &Tensor<2>, weight: &Tensor<2>, transposed: bool) -> Option<Tensor<2>> {
    let inputs = [node(x)?, node(weight)?];
    let [x, weight] = inputs.each_ref().map(|input| contiguous(input.primitive()));
    let output = multiplied(matrix(&x), turned(matrix(&weight), transposed));
    Some(finish(Product { transposed }, inputs.map(guard), [x, weight], output))
}

fn multiplied(a: DenseMatrix<'_>, b: DenseMatrix<'_>) -> Host {
    host(multiply(a, b), [a.shape()[0], b.shape()[1]])
}

fn turned(matrix: DenseMatrix<'_>, turned: bool) -> DenseMatrix<'_> {
    if turned { matrix.transposed() } else { matrix }
}

#[derive(Debug)]
struct Product {
    transposed: bool,
}

impl Backward<Flex, 2> for Product {
    type State = [Host; 2];

    fn backward(self, ops: Ops<[Host; 2], 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let d = contiguous(&gradients.consume::<Flex>(&ops.node));
        let [x, weight] = &ops.state;
        let [by_x, by_weight] = ops.parents;
        if let Some(node) = by_x {
            let gradient = multiplied(matrix(&d), turned(matrix(weight), !self.transposed));
            gradients.register::<Flex>(node.id, gradient);
        }
        if let Some(node) = by_weight {
            let gradient = match self.transposed {
                true => multiplied(matrix(&d).transposed(), matrix(x)),
                false => multiplied(matrix(x).transposed(), matrix(&d)),
            };
            gradients.register::<Flex>(node.id, gradient);
        }
    }
}

/// `act(gate) * up`: see [`gate`](super::gate).
///
/// # Shapes
/// - inputs and output: the same
pub(super) fn gate<const D: usize>(
    activation: ActivationFn,
    gate: &Tensor<D>,
    up: &Tensor<D>,
) -> Option<Tensor<D>> {
    let inputs = [node(gate)?, node(up)?];
    let [gate, up] = inputs.each_ref().map(|input| contiguous(input.primitive()));
    let mut output = slice(&gate).to_vec();
    activation.apply_to(&mut output, slice(&up));
    let output = host(output, gate.shape());
    Some(finish(Gated(activation), inputs.map(guard), [gate, up], output))
}

/// `act(x)`.
///
/// # Shapes
/// - `x` and output: the same
pub(super) fn activate<const D: usize>(activation: ActivationFn, x: &Tensor<D>) -> Option<Tensor<D>> {
    let inputs = [node(x)?];
    let x = contiguous(inputs[0].primitive());
    let mut output = slice(&x).to_vec();
    activation.apply(&mut output);
    let output = host(output, x.shape());
    Some(finish(Gated(activation), inputs.map(guard), x, output))
}

#[derive(Debug)]
struct Gated(ActivationFn);

impl Backward<Flex, 2> for Gated {
    type State = [Host; 2];

    fn backward(self, ops: Ops<[Host; 2], 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        pass_back(ops, gradients, |d, state| {
            let mut by = state.map(Host::into_data);
            let [by_gate, by_up] = by.each_mut().map(|data| data.as_mut_slice().expect("numbers in f32"));
            self.0.gradient(by_gate, Some(by_up), slice(&d));
            by.map(Host::from_data)
        });
    }
}

impl Backward<Flex, 1> for Gated {
    type State = Host;

    fn backward(self, ops: Ops<Host, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        pass_back(ops, gradients, |d, x| [change(x, |x| self.0.gradient(x, None, slice(&d)))]);
    }
}

/// See [`norm`](super::norm).
///
/// # Shapes
/// - `x` and output: `[.., width]`
pub(super) fn norm<const D: usize>(params: NormParams<'_>, x: &Tensor<D>) -> Option<Tensor<D>> {
    let config = params.config;
    let [input, weight] = [node(x)?, node(&params.weight.val())?];
    let [x, numbers] = [&input, &weight].map(|input| contiguous(input.primitive()));
    let apply = |norm: Normalization<'_>| host(norm.apply(slice(&x), config.eps as f32), x.shape());
    Some(match params.bias {
        None => {
            let output = apply(normalization(config, slice(&numbers), &[]));
            finish(Normed(config), [input, weight].map(guard), [x, numbers], output)
        }
        Some(bias) => {
            let bias = node(&bias.val())?;
            let biases = contiguous(bias.primitive());
            let output = apply(normalization(config, slice(&numbers), slice(&biases)));
            finish(Normed(config), [input, weight, bias].map(guard), [x, numbers, biases], output)
        }
    })
}

#[derive(Debug)]
struct Normed(NormConfig);

impl Backward<Flex, 2> for Normed {
    type State = [Host; 2];

    fn backward(self, ops: Ops<[Host; 2], 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        pass_back(ops, gradients, |d, [x, weight]| {
            let norm = normalization(self.0, slice(&weight), &[]);
            let [by_x, by_weight, _] = slopes(norm, &x, d, self.0.eps as f32);
            [by_x, by_weight]
        });
    }
}

impl Backward<Flex, 3> for Normed {
    type State = [Host; 3];

    fn backward(self, ops: Ops<[Host; 3], 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        pass_back(ops, gradients, |d, [x, weight, bias]| {
            let norm = normalization(self.0, slice(&weight), slice(&bias));
            slopes(norm, &x, d, self.0.eps as f32)
        });
    }
}

fn slopes(norm: Normalization<'_>, x: &Host, d: Host, eps: f32) -> [Host; 3] {
    let mut others = [Vec::new(), Vec::new()];
    let by_x = change(d, |d| others = norm.gradient(slice(x), d, eps));
    let [by_weight, by_bias] = others.map(|numbers| {
        let width = numbers.len();
        host(numbers, [width])
    });
    [by_x, by_weight, by_bias]
}

/// See [`rotate`](super::rotate).
///
/// # Shapes
/// - `x` and output: `[batch, seq, heads, head_dim]`
pub(super) fn rotate(rotation: &Rotation, x: &Tensor<4>) -> Option<Tensor<4>> {
    let inputs = [node(x)?];
    let [_, _, heads, width] = x.dims();
    let x = contiguous(inputs[0].primitive());
    let mut output = slice(&x).to_vec();
    rotation.kernel(heads, width).rotate(&mut output);
    let output = host(output, x.shape());
    let back = Rotated { back: rotation.inverse(), heads, width };
    Some(finish(back, inputs.map(guard), (), output))
}

#[derive(Debug)]
struct Rotated {
    /// The derivative: a rotation by the negative angles.
    back: Rotation,
    heads: usize,
    width: usize,
}

impl Backward<Flex, 1> for Rotated {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let kernel = self.back.kernel(self.heads, self.width);
        pass_back(ops, gradients, |d, ()| [change(d, |d| kernel.rotate(d))]);
    }
}

/// See [`attend`](super::attend); keys and values are as the cache keeps them.
///
/// # Shapes
/// - `query` and output: `[batch, seq, heads * head_dim]`
/// - `keys`, `values`: `[batch, kv_heads, keys, head_dim]`
pub(super) fn attend(
    config: &AttentionConfig,
    scale: f64,
    query: &Tensor<3>,
    [keys, values]: [&Tensor<4>; 2],
    mask: &Mask,
) -> Option<Tensor<3>> {
    let inputs = [node(query)?, node(keys)?, node(values)?];
    let [batch, ..] = query.dims();
    let attended =
        Attended { kernel: attention_kernel(config, scale), batch, seen: mask.seen(batch).into_owned() };
    let state = inputs.each_ref().map(|input| contiguous(input.primitive()));
    let [query, keys, values] = state.each_ref().map(slice);
    let mixed = attended.kernel.attend(query, KeysAndValues::F32(keys, values), batch, &attended.seen);
    let output = host(mixed, state[0].shape());
    Some(finish(attended, inputs.map(guard), state, output))
}

#[derive(Debug)]
struct Attended {
    kernel: GroupedQueryAttention<'static>,
    batch: usize,
    /// The keys that each query sees.
    seen: Vec<Range<usize>>,
}

impl Backward<Flex, 3> for Attended {
    type State = [Host; 3];

    fn backward(self, ops: Ops<[Host; 3], 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        pass_back(ops, gradients, |d, inputs| {
            let [query, keys, values] = inputs.each_ref().map(slice);
            let found = self.kernel.gradient(query, [keys, values], slice(&d), self.batch, &self.seen);
            let mut shapes = inputs.iter().map(Host::shape);
            found.map(|numbers| host(numbers, shapes.next().expect("a shape for each input")))
        });
    }
}

/// A constant to compute with on a device under autodiff. Activations are kept or recomputed as on the device.
///
/// # Shapes
/// - `inner` and output: the same
pub fn constant<const D: usize>(inner: Tensor<D>, device: &Device) -> Tensor<D> {
    let constant = Tensor::from_inner(inner);
    match device.gradient_checkpointing_strategy() {
        Some(strategy) => constant.with_gradient_checkpointing_strategy(strategy),
        None => constant,
    }
}

/// A number whose derivative by `tensor` is what `gradient` computes from its numbers. The number itself is arbitrary.
///
/// Backpropagation from it continues a derivative that is known in closed form. On the CPU, a tensor with one handle is passed
/// on without a copy, and its memory can become that of the gradient.
///
/// # Shapes
/// - `tensor` and gradient: the same, the gradient without autodiff
/// - output: `[1]`
///
/// # Panics
/// If the gradient is on another device than the numbers, or under autodiff.
pub fn with_gradient<const D: usize>(
    tensor: Tensor<D>,
    gradient: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Tensor<1> {
    let Some(found) = node(&tensor) else {
        let gradient = gradient(tensor.clone().inner()).cast(DType::F32);
        let gradient = constant(gradient, &tensor.device());
        return (tensor.cast(DType::F32) * gradient).sum();
    };
    drop(tensor);
    let (numbers, guard) = found.into_parts();
    let gradient = gradient(Tensor::from_primitive::<Flex>(numbers)).cast(DType::F32);
    let gradient = gradient.try_into_primitive::<Flex>().expect("a gradient on the CPU, without autodiff");
    finish(Known, [guard], contiguous(&gradient), host(vec![0.0], [1]))
}

#[derive(Debug)]
struct Known;

impl Backward<Flex, 1> for Known {
    type State = Host;

    fn backward(self, ops: Ops<Host, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        pass_back(ops, gradients, |d, gradient| match slice(&d)[0] {
            1.0 => [gradient],
            factor => [change(gradient, |numbers| numbers.iter_mut().for_each(|number| *number *= factor))],
        });
    }
}
