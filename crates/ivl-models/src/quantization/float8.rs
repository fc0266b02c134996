//! Floats of eight and four bits.

use std::sync::LazyLock;

use half::f16;

/// A format of floats of eight bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Float8 {
    /// Four bits of exponent, three of mantissa, no infinities.
    E4M3,
    /// Five bits of exponent, two of mantissa: the upper half of an f16.
    E5M2,
}

impl Float8 {
    /// The numbers of all 256 codes.
    pub(super) fn numbers(self) -> &'static [f32; 256] {
        static E4M3: LazyLock<[f32; 256]> = LazyLock::new(|| std::array::from_fn(|code| e4m3(code as u8)));
        static E5M2: LazyLock<[f32; 256]> =
            LazyLock::new(|| std::array::from_fn(|code| f16::from_bits((code as u16) << 8).to_f32()));
        match self {
            Self::E4M3 => &E4M3,
            Self::E5M2 => &E5M2,
        }
    }
}

/// `(-1)^s 2^(e - 7) (1 + m / 8)`, or `2^-6 m / 8` where `e = 0`; all bits set is not a number.
fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The numbers of floats of four bits (E2M1).
pub(super) const FLOAT4: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_numbers_of_the_formats() {
        let e4m3 = Float8::E4M3.numbers();
        let cases =
            [(0x00, 0.0), (0x38, 1.0), (0x7e, 448.0), (0x01, 2f32.powi(-9)), (0xb8, -1.0), (0x44, 3.0)];
        for (code, number) in cases {
            assert_eq!(e4m3[code], number, "{code:#x}");
        }
        assert!(e4m3[0x7f].is_nan() && e4m3[0xff].is_nan());
        let e5m2 = Float8::E5M2.numbers();
        assert_eq!((e5m2[0x3c], e5m2[0x7b], e5m2[0xbc]), (1.0, 57344.0, -1.0));
    }
}
