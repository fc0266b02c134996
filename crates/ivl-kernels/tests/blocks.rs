//! Blocks of GGUF files against the Python package `gguf` and against their own definition.

use ivl_kernels::{BlockError, BlockFormat};
use proptest::prelude::*;

const WRITTEN_EXACTLY: [BlockFormat; 6] = [
    BlockFormat::Q4_0,
    BlockFormat::Q4_1,
    BlockFormat::Q5_0,
    BlockFormat::Q5_1,
    BlockFormat::Q8_0,
    BlockFormat::Mxfp4,
];

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

fn quantized(format: BlockFormat, numbers: &[f32]) -> Vec<u8> {
    let mut blocks = vec![0xAA; numbers.len() / format.elements() * format.bytes()];
    format.quantize(numbers, &mut blocks).expect("blocks of these numbers");
    blocks
}

fn dequantized(format: BlockFormat, blocks: &[u8]) -> Vec<f32> {
    let mut numbers = vec![f32::NAN; blocks.len() / format.bytes() * format.elements()];
    format.dequantize(blocks, &mut numbers).expect("numbers of these blocks");
    numbers
}

/// Squared error over the squared numbers.
fn relative_error(format: BlockFormat, numbers: &[f32]) -> f64 {
    let read = dequantized(format, &quantized(format, numbers));
    let square = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>();
    square(&mut numbers.iter().zip(&read).map(|(a, b)| a - b)) / square(&mut numbers.iter().copied())
}

#[test]
fn blocks_mean_the_numbers_that_gguf_reads() {
    let mut rest = &include_bytes!("fixtures/dequantized.bin")[..];
    for format in BlockFormat::ALL {
        let (blocks, after) = rest.split_at(512 / format.elements() * format.bytes());
        let (numbers, after) = after.split_at(512 * 4);
        rest = after;
        assert_eq!(bits(&dequantized(format, blocks)), bits(&floats(numbers)), "{}", format.name());
    }
    assert!(rest.is_empty());
}

#[test]
fn numbers_become_the_blocks_that_gguf_writes() {
    let (numbers, mut rest) = include_bytes!("fixtures/quantized.bin").split_at(1024 * 4);
    let numbers = floats(numbers);
    for format in WRITTEN_EXACTLY {
        let blocks = quantized(format, &numbers);
        let expected;
        (expected, rest) = rest.split_at(blocks.len());
        assert!(blocks == expected, "{}", format.name());
    }
    assert!(rest.is_empty());
}

#[test]
fn fitted_scales_leave_less_error_than_those_of_ggml() {
    let (numbers, errors) = include_bytes!("fixtures/fitted.bin").split_at(4096 * 4);
    let formats = [BlockFormat::Q4K, BlockFormat::Q5K, BlockFormat::Q6K, BlockFormat::Iq4Nl];
    for (format, error) in formats.into_iter().zip(errors.as_chunks().0) {
        let (own, theirs) = (relative_error(format, &floats(numbers)), f64::from_le_bytes(*error));
        assert!(own <= theirs, "{}: {own:.3e}, ggml's {theirs:.3e}", format.name());
    }
}

/// A number of the largest magnitude makes the scale 1, so that the others are rounded as they are.
#[test]
fn codes_of_eight_bits_are_rounded_as_f32_rounds() {
    let mut numbers: Vec<f32> = (-508..=508).map(|quarters| quarters as f32 / 4.0).collect();
    let beside = |number: f32| [number.next_down(), number.next_up()];
    numbers.extend(numbers.clone().into_iter().flat_map(beside).filter(|number| number.abs() < 127.0));
    for part in numbers.chunks(31) {
        let mut block = [127.0; 32];
        block[..part.len()].copy_from_slice(part);
        let codes: Vec<i8> =
            quantized(BlockFormat::Q8_0, &block)[2..].iter().map(|&byte| byte as i8).collect();
        let expected: Vec<i8> = block.iter().map(|number| number.round() as i8).collect();
        assert_eq!(codes, expected, "{block:?}");
    }
}

proptest! {
    #[test]
    fn numbers_that_a_block_can_hold_stay(block in prop::collection::vec(0u8..16, 32), scale in 1u8..50) {
        let mut numbers: Vec<f32> = block.iter().map(|&code| f32::from(code) * f32::from(scale)).collect();
        (numbers[0], numbers[1]) = (0.0, 15.0 * f32::from(scale));
        let numbers = [&numbers[..]; 8].concat();
        for format in [BlockFormat::Q4_1, BlockFormat::Q4K, BlockFormat::Q5K] {
            let read = dequantized(format, &quantized(format, &numbers));
            for (got, expected) in read.iter().zip(&numbers) {
                prop_assert!((got - expected).abs() <= f32::from(scale) * 0.08, "{}: {got} for {expected}", format.name());
            }
        }
    }
}

#[test]
fn what_is_no_block_is_refused() {
    let format = BlockFormat::Q4K;
    assert_eq!(
        format.dequantize(&[0; 145], &mut [0.0; 256]).unwrap_err().to_string(),
        "145 bytes are no whole blocks of Q4_K, expected a multiple of 144"
    );
    assert_eq!(
        format.quantize(&[0.0; 255], &mut [0; 144]).unwrap_err().to_string(),
        "255 numbers for Q4_K, whose blocks here have 256"
    );
    let refused = BlockFormat::Iq4Xs.quantize(&[0.0; 256], &mut [0; 136]).unwrap_err().to_string();
    assert!(
        refused.starts_with("ivl reads IQ4_XS and does not write it, expected one of Q4_0, "),
        "{refused}"
    );
    for number in [f32::NAN, f32::INFINITY, -1e6] {
        let mut numbers = [0.5; 512];
        numbers[300] = number;
        let refused = format.quantize(&numbers, &mut [0; 288]).unwrap_err();
        assert!(matches!(refused, BlockError::NotFinite { index: 300, .. }), "{refused}");
    }
    for format in BlockFormat::ALL.into_iter().filter(|format| format.is_written()) {
        let zeros = vec![0.0; 256];
        assert!(dequantized(format, &quantized(format, &zeros)) == zeros, "{}", format.name());
    }
}
