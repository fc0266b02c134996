//! The buffers of a cache in the memory of the host.

use burn::tensor::{DType, Device, Element, Tensor, TensorData};
use half::f16;
use ivl_core::cache::KvBuffer;
use ivl_kernels::{CacheNumber, CodedVectors, GroupedQueryAttention, KeysAndValues};

/// The keys, or the values, of a layer as kernels read and write them. The format is that of the layer that has put them there, which
/// may be another than the one that reads them.
pub(super) enum HostBuffer {
    F32(TensorData),
    F16(TensorData),
    Int8 { codes: TensorData, scales: TensorData },
}

impl HostBuffer {
    pub(super) fn new(buffer: KvBuffer) -> Self {
        match buffer {
            KvBuffer::Floats(numbers) if numbers.dtype() == DType::F16 => Self::F16(numbers.into_data()),
            KvBuffer::Floats(numbers) => Self::F32(numbers.into_data()),
            KvBuffer::Int8 { codes, scales } => {
                Self::Int8 { codes: codes.into_data(), scales: scales.into_data() }
            }
        }
    }

    pub(super) fn into_tensors(self, device: &Device) -> KvBuffer {
        let floats = |data, dtype| Tensor::from_data(data, (device, dtype));
        match self {
            Self::F32(numbers) => KvBuffer::Floats(floats(numbers, DType::F32)),
            Self::F16(numbers) => KvBuffer::Floats(floats(numbers, DType::F16)),
            Self::Int8 { codes, scales } => KvBuffer::Int8 {
                codes: Tensor::from_data(codes, (device, DType::I8)),
                scales: floats(scales, DType::F16),
            },
        }
    }

    /// Writes new keys or values after the first `len` of each of `batch` rows.
    pub(super) fn append(
        &mut self,
        kernel: &GroupedQueryAttention<'_>,
        batch: usize,
        len: usize,
        new: &[f32],
    ) {
        match self {
            Self::F32(numbers) => append_floats::<f32>(kernel, numbers, batch, len, new),
            Self::F16(numbers) => append_floats::<f16>(kernel, numbers, batch, len, new),
            Self::Int8 { codes, scales } => {
                kernel.append_codes(numbers_mut(codes), numbers_mut(scales), batch, len, new);
            }
        }
    }
}

/// Keys and values for the kernel of attention.
///
/// # Panics
/// If they have different formats: a layer keeps both in one.
pub(super) fn keys_and_values<'a>(keys: &'a HostBuffer, values: &'a HostBuffer) -> KeysAndValues<'a> {
    match (keys, values) {
        (HostBuffer::F32(keys), HostBuffer::F32(values)) => {
            KeysAndValues::F32(numbers(keys), numbers(values))
        }
        (HostBuffer::F16(keys), HostBuffer::F16(values)) => {
            KeysAndValues::F16(numbers(keys), numbers(values))
        }
        (
            HostBuffer::Int8 { codes, scales },
            HostBuffer::Int8 { codes: value_codes, scales: value_scales },
        ) => {
            let vectors = |codes, scales| CodedVectors { codes: numbers(codes), scales: numbers(scales) };
            KeysAndValues::Int8(vectors(codes, scales), vectors(value_codes, value_scales))
        }
        _ => panic!("keys and values in one format"),
    }
}

fn append_floats<T: CacheNumber + Element>(
    kernel: &GroupedQueryAttention<'_>,
    buffer: &mut TensorData,
    batch: usize,
    len: usize,
    new: &[f32],
) {
    kernel.append(numbers_mut::<T>(buffer), batch, len, new);
}

/// The numbers of a buffer of a cache.
///
/// # Panics
/// If they are of another type.
fn numbers<T: Element>(data: &TensorData) -> &[T] {
    data.as_slice().expect("the type of the cache")
}

/// See [`numbers`].
fn numbers_mut<T: Element>(data: &mut TensorData) -> &mut [T] {
    data.as_mut_slice().expect("the type of the cache")
}
