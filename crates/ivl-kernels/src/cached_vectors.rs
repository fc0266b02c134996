//! Keys and values as a cache keeps them.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::integer::GROUP;

/// Keys and values, `[batch, kv_heads, capacity, dim]`, in one of the types of a cache.
#[derive(Debug, Clone, Copy)]
pub enum KeysAndValues<'a> {
    /// In single precision.
    F32(&'a [f32], &'a [f32]),
    /// In half precision.
    F16(&'a [f16], &'a [f16]),
    /// As codes of eight bits.
    Int8(CodedVectors<'a>, CodedVectors<'a>),
}

/// Vectors of a cache as codes of eight bits: a number is its code times the scale of its group of 32 neighbours. The last group
/// of a vector may be shorter.
#[derive(Debug, Clone, Copy)]
pub struct CodedVectors<'a> {
    /// Shape `[batch, kv_heads, capacity, dim]`.
    pub codes: &'a [i8],
    /// Shape `[batch, kv_heads, groups, capacity]`.
    pub scales: &'a [f16],
}

impl CodedVectors<'_> {
    /// Neighbouring numbers that share a scale.
    pub const GROUP: usize = GROUP;

    /// Groups of a vector of `dim` numbers.
    pub const fn groups(dim: usize) -> usize {
        dim.div_ceil(GROUP)
    }
}

/// A number of a cache.
pub trait CacheNumber: bytemuck::Pod {
    /// Writes numbers in this type.
    fn write(numbers: &[f32], to: &mut [Self]);
}

impl CacheNumber for f32 {
    fn write(numbers: &[f32], to: &mut [f32]) {
        to.copy_from_slice(numbers);
    }
}

impl CacheNumber for f16 {
    fn write(numbers: &[f32], to: &mut [f16]) {
        to.convert_from_f32_slice(numbers);
    }
}
