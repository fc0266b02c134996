//! Products with weights in blocks, at every level of instructions that the processor has.

mod precise;

use ivl_kernels::{BlockFormat, Matrix, PackedFormat, products};
use precise::{has_fused_multiply_add, numbers};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes of `count` blocks, of which every half-precision number is finite and of middling size.
fn blocks(format: BlockFormat, count: usize, mut random: impl FnMut() -> u8) -> Vec<u8> {
    let halves: &[usize] = match format {
        BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => &[0, 2],
        BlockFormat::Q2K => &[80, 82],
        BlockFormat::Q3K => &[108],
        BlockFormat::Q6K => &[208],
        BlockFormat::Mxfp4 => &[],
        _ => &[0],
    };
    let mut bytes: Vec<u8> = (0..count * format.bytes()).map(|_| random()).collect();
    for block in bytes.chunks_exact_mut(format.bytes()) {
        for &place in halves {
            block[place + 1] = block[place + 1] & 0x83 | 0x28;
        }
        if format == BlockFormat::Mxfp4 {
            block[0] = 120 + block[0] % 10;
        }
    }
    bytes
}

/// Bytes of a linear congruential generator.
fn generator(mut state: u32) -> impl FnMut() -> u8 {
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }
}

/// A row as a product sees it: signed bytes with a scale for each 32.
fn rounded(x: &[f32]) -> Vec<f64> {
    let group = |x: &[f32]| -> Vec<f64> {
        let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        if most == 0.0 {
            return vec![0.0; x.len()];
        }
        let inverse = 127.0 / most;
        x.iter().map(|x| f64::from((x * inverse).round_ties_even()) * f64::from(most / 127.0)).collect()
    };
    x.chunks(32).flat_map(group).collect()
}

/// The products of rounded rows, and the sums of the magnitudes that they add up.
fn expected(x: &[f32], weights: &[Vec<f32>]) -> Vec<[f64; 2]> {
    let row = |x: &[f32]| {
        let x = rounded(x);
        let sums = |weights: &Vec<f32>| {
            let terms = || x.iter().zip(weights).map(|(x, weight)| x * f64::from(*weight));
            [terms().sum(), terms().map(f64::abs).sum()]
        };
        weights.iter().map(sums).collect::<Vec<[f64; 2]>>()
    };
    x.chunks(weights[0].len()).flat_map(row).collect()
}

fn weights(matrix: &Matrix) -> Vec<Vec<f32>> {
    (0..matrix.shape()[1]).map(|output| matrix.output(output)).collect()
}

#[test]
fn a_matrix_of_blocks_has_exactly_their_numbers() {
    for format in BlockFormat::ALL {
        let (inputs, outputs) = (768, 37);
        let bytes = blocks(format, inputs * outputs / format.elements(), generator(format.bytes() as u32));
        let matrix = Matrix::from_blocks(format, [inputs, outputs], &bytes).expect("blocks");
        let mut numbers = vec![0.0; inputs * outputs];
        format.dequantize(&bytes, &mut numbers).expect("blocks");
        assert!(weights(&matrix).concat() == numbers, "{}", format.name());
        assert_eq!(matrix.format(), PackedFormat::Blocks(format));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_with_blocks_are_sums_of_rounded_rows(
        (x, outputs, seed) in (1usize..30, 1usize..4, 1usize..70, any::<u32>())
            .prop_flat_map(|(rows, supers, outputs, seed)| (vec(numbers(256 * supers), rows), Just(outputs), Just(seed))),
    ) {
        let inputs = x[0].len();
        let x = x.concat();
        for format in BlockFormat::ALL {
            let bytes = blocks(format, inputs * outputs / format.elements(), generator(seed));
            let matrix = Matrix::from_blocks(format, [inputs, outputs], &bytes).expect("blocks");
            let [y] = products(&x, [&matrix]);
            for (got, [sum, magnitude]) in y.iter().zip(expected(&x, &weights(&matrix))) {
                // The codes are from zero on, and the minimum takes off what is too much: the terms are larger than their sum.
                let error = (f64::from(*got) - sum).abs();
                prop_assert!(error <= 4e-6 * magnitude + 1e-6, "{}: {got}, not {sum}", format.name());
            }
            for (row, y) in x.chunks(inputs).zip(y.chunks(outputs)) {
                let [one, again] = products(row, [&matrix, &matrix]);
                prop_assert!(one == y && again == y, "{}: a row alone gives other bits", format.name());
            }
        }
    }

    #[test]
    fn packed_weights_and_rounded_rows_are_near_the_originals(
        (x, w, inputs, outputs) in (1usize..20, 1usize..150, 1usize..60).prop_flat_map(|(rows, inputs, outputs)| {
            (numbers(rows * inputs), numbers(inputs * outputs), Just(inputs), Just(outputs))
        }),
    ) {
        // Relative to the largest number of a group: half a step of the weights' code, and the rounding of its scale.
        for (format, step) in [(PackedFormat::INT8, 0.57 / 127.0), (PackedFormat::INT4, 0.2)] {
            let matrix = Matrix::new(format, [inputs, outputs], |input, output| w[input * outputs + output]);
            for (output, weights) in weights(&matrix).iter().enumerate() {
                for (input, weight) in weights.iter().enumerate() {
                    prop_assert!((weight - w[input * outputs + output]).abs() <= 2.0 * step, "{format:?}");
                }
            }
            let [y] = products(&x, [&matrix]);
            for (got, [sum, magnitude]) in y.iter().zip(expected(&x, &weights(&matrix))) {
                prop_assert!((f64::from(*got) - sum).abs() <= 4e-6 * magnitude + 1e-6, "{format:?}: {got}, not {sum}");
            }
        }
    }
}

/// A row alone reads panels that lie far from each other; among others it reads them one after the other.
#[test]
fn a_row_alone_has_the_bits_that_it_has_among_others_whatever_the_width() {
    let inputs = 512;
    let mut random = generator(7);
    let x: Vec<f32> = (0..4 * inputs).map(|_| f32::from(random()) / 64.0 - 2.0).collect();
    for format in BlockFormat::ALL {
        for outputs in [700, 16 * 61 + 5] {
            let bytes = blocks(format, inputs * outputs / format.elements(), &mut random);
            let matrix = Matrix::from_blocks(format, [inputs, outputs], &bytes).expect("blocks");
            ivl_kernels::expect(&[&matrix]);
            let [y] = products(&x, [&matrix]);
            for (row, y) in x.chunks(inputs).zip(y.chunks(outputs)) {
                let [one, again] = products(row, [&matrix, &matrix]);
                assert!(one == y && again == y, "{}", format.name());
            }
        }
    }
}

#[test]
fn a_number_that_is_not_finite_shows_in_its_row_and_its_output_only() {
    let (inputs, outputs, rows) = (64, 20, 3);
    for format in [PackedFormat::INT8, PackedFormat::INT4, PackedFormat::Blocks(BlockFormat::Q4_1)] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let matrix = Matrix::new(format, [inputs, outputs], |input, output| {
                if (input, output) == (40, 7) { bad } else { input as f32 - 20.0 }
            });
            let mut x = vec![0.5; inputs * rows];
            x[inputs + 3] = bad;
            let [y] = products(&x, [&matrix]);
            for (index, y) in y.iter().enumerate() {
                assert_eq!(
                    y.is_finite(),
                    index / outputs != 1 && index % outputs != 7,
                    "{format:?}, {index}: {y}"
                );
            }
        }
    }
}

#[test]
fn bytes_that_are_not_those_of_the_matrix_are_refused() {
    let matrix = |shape, bytes: &[u8]| Matrix::from_blocks(BlockFormat::Q8_0, shape, bytes).map(|_| ());
    assert!(matrix([32, 2], &[0; 68]).is_ok());
    for (shape, len) in [([32, 2], 67), ([32, 2], 102), ([33, 2], 68), ([usize::MAX / 32 * 32, 40], 68)] {
        matrix(shape, &vec![0; len]).expect_err("no such matrix");
    }
}

/// Levels of x86-64 with fused multiply-add and 64-bit ARM give one checksum of bits.
#[test]
fn processors_with_fused_multiply_add_give_the_same_bits() {
    if !has_fused_multiply_add() {
        return;
    }
    let (rows, inputs, outputs) = (17, 512, 77);
    let mut random = generator(5);
    let x: Vec<f32> =
        (0..rows * inputs).map(|_| f32::from(random()) / 64.0 - 2.0 + f32::from(random()) / 4096.0).collect();
    let checksum = |format: BlockFormat| {
        let bytes = blocks(format, inputs * outputs / format.elements(), generator(7));
        let matrix = Matrix::from_blocks(format, [inputs, outputs], &bytes).expect("blocks");
        let [y] = products(&x, [&matrix]);
        // FNV-1a.
        y.iter()
            .flat_map(|y| y.to_bits().to_le_bytes())
            .fold(0x811C_9DC5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    };
    let expected = [
        1_968_206_311,
        468_392_119,
        256_241_111,
        2_478_865_048,
        939_071_939,
        3_041_802_944,
        798_793_895,
        2_872_447_136,
        1_184_427_763,
        2_610_226_939,
        1_684_884_500,
        3_906_591_825,
        212_943_860,
    ];
    assert_eq!(BlockFormat::ALL.map(checksum), expected);
}

/// Elsewhere there are none.
#[cfg(target_arch = "x86_64")]
#[test]
fn lower_levels_pass_the_same_tests() {
    precise::pass_at_lower_levels();
}
