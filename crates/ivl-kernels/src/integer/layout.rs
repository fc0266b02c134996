//! The coding and the scaling of each block format.

use super::coding::{Bytes, Coding, FiveBits, Iq4Indices, Mxfp4Indices, Nibbles, SixBits};
use super::scaling::{ByteScales, HalfScales, PowerScales, Scaling};
use crate::blocks::BlockFormat;

/// Something to do with the coding and the scaling of a format.
pub(super) trait LayoutTask {
    /// What it gives.
    type Output;

    /// Has to be `#[inline(always)]` if it is to be compiled for a level.
    fn run<C: Coding, S: Scaling>(self) -> Self::Output;
}

/// Does the task with the types of the format.
#[inline(always)]
pub(super) fn with_layout<T: LayoutTask>(format: BlockFormat, task: T) -> T::Output {
    match format {
        BlockFormat::Q4_0 => task.run::<Nibbles<8>, HalfScales<false>>(),
        BlockFormat::Q4_1 => task.run::<Nibbles<0>, HalfScales<true>>(),
        BlockFormat::Q5_0 => task.run::<FiveBits<16>, HalfScales<false>>(),
        BlockFormat::Q5_1 => task.run::<FiveBits<0>, HalfScales<true>>(),
        BlockFormat::Q8_0 => task.run::<Bytes, HalfScales<false>>(),
        BlockFormat::Q2K => task.run::<Nibbles<0>, ByteScales<2, true>>(),
        BlockFormat::Q3K => task.run::<Nibbles<4>, ByteScales<2, false>>(),
        BlockFormat::Q4K => task.run::<Nibbles<0>, ByteScales<1, true>>(),
        BlockFormat::Q5K => task.run::<FiveBits<0>, ByteScales<1, true>>(),
        BlockFormat::Q6K => task.run::<SixBits<32>, ByteScales<2, false>>(),
        BlockFormat::Iq4Nl => task.run::<Iq4Indices, HalfScales<false>>(),
        BlockFormat::Iq4Xs => task.run::<Iq4Indices, ByteScales<1, false>>(),
        BlockFormat::Mxfp4 => task.run::<Mxfp4Indices, PowerScales>(),
    }
}
