//! How fast memory can be read.

use crate::cpu::{Kernel, LANES, Level, run, sum};
use crate::paged_buffer::PagedBuffer;
use crate::parallel_rows::parallel_map;
use crate::product::PANELS_AT_ONCE;

/// Places that are read side by side: a single one leaves the memory idle. As many as a product with one row reads.
const STREAMS: usize = PANELS_AT_ONCE;

/// Bytes of a unit of work.
const UNIT_BYTES: usize = 512 << 10;

/// PagedBuffer of the size of some weights, laid out like them.
///
/// [`read`](Self::read) adds up the numbers and does nothing else with them, so that its time is a floor for everything that
/// reads as much.
#[derive(Debug)]
pub struct MemoryProbe(PagedBuffer<[f32; LANES]>);

impl MemoryProbe {
    /// At least `bytes` of memory, filled with ones.
    ///
    /// # Panics
    /// If the system has no memory.
    pub fn new(bytes: usize) -> Self {
        let len = bytes.div_ceil(size_of::<[f32; LANES]>()).next_multiple_of(STREAMS);
        Self(PagedBuffer::filled(len, std::iter::repeat_n([1.0; LANES], len)))
    }

    /// How much memory it is.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.0[..])
    }

    /// Reads all of it once, on all threads; the sum of the numbers.
    pub fn read(&self) -> f64 {
        let units = self.0.chunks(UNIT_BYTES / size_of::<[f32; LANES]>()).map(|numbers| (numbers, 0.0));
        let sums = parallel_map(units, |_, (numbers, total)| run(SumStreams { numbers, total }));
        sums.into_iter().map(|(_, total)| f64::from(total)).sum()
    }
}

struct SumStreams<'a> {
    numbers: &'a [[f32; LANES]],
    total: &'a mut f32,
}

impl Kernel for SumStreams<'_> {
    #[inline(always)]
    fn run<L: Level>(self) {
        let len = self.numbers.len() / STREAMS;
        let mut streams = [&self.numbers[..0]; STREAMS];
        for stream in 0..STREAMS {
            streams[stream] = &self.numbers[stream * len..][..len];
        }
        let one = L::splat(1.0);
        let mut sums = [L::splat(0.0); STREAMS];
        for at in 0..len {
            for stream in 0..STREAMS {
                sums[stream] = L::fma(L::load(&streams[stream][at]), one, sums[stream]);
            }
        }
        let mut total = 0.0;
        for stream in 0..STREAMS {
            total += sum(L::store(sums[stream]));
        }
        *self.total = total;
    }
}
