//! How the codes of a group lie in memory, and how they become bytes.

use super::group::STEPS;
use crate::blocks::{IQ4_NUMBERS, MXFP4_NUMBERS};
use crate::cpu::{CodeBytes, IntegerLevel};

/// What a code of a table means has this added, so that it has no sign.
const TABLE_OFFSET: u8 = 128;

/// The entries of IQ4_NL as codes of eight bits.
const IQ4_CODES: [u8; 16] = without_sign(IQ4_NUMBERS, TABLE_OFFSET);

/// The entries of MXFP4 as codes below 64.
const MXFP4_CODES: [u8; 16] = without_sign(MXFP4_NUMBERS, 16);

const fn without_sign(numbers: [i8; 16], offset: u8) -> [u8; 16] {
    let mut codes = [0; 16];
    let mut at = 0;
    while at < 16 {
        codes[at] = (numbers[at] as u8).wrapping_add(offset);
        at += 1;
    }
    codes
}

/// A form in which the codes of a group are kept.
///
/// A group has [`STEPS`] vectors of codes, of which each step reads one.
pub(super) trait Coding {
    /// Pieces of memory that a group has.
    const PIECES: usize;

    /// What is subtracted from a code to get the number. A code that fills eight bits has 128.
    const OFFSET: i32;

    /// Whether codes may be 64 or more.
    const WIDE: bool;

    /// The vector of a step.
    fn vector<L: IntegerLevel>(group: &[CodeBytes], step: usize) -> L::Codes;

    /// The code at one place of the vector of a step.
    fn code_at(group: &[CodeBytes], step: usize, place: usize) -> u8;

    /// Writes the codes of a vector; the pieces are zero at first.
    fn put(group: &mut [CodeBytes], step: usize, codes: &CodeBytes);

    /// The code of a number.
    fn code(number: i8) -> u8 {
        (number as u8).wrapping_add(Self::OFFSET as u8)
    }
}

/// Four bits: two vectors share a piece.
#[derive(Debug)]
pub(super) struct Nibbles<const OFFSET: i32>;

impl<const OFFSET: i32> Coding for Nibbles<OFFSET> {
    const PIECES: usize = STEPS / 2;
    const OFFSET: i32 = OFFSET;
    const WIDE: bool = false;

    #[inline(always)]
    fn vector<L: IntegerLevel>(group: &[CodeBytes], step: usize) -> L::Codes {
        let both = L::codes(&group[step / 2]);
        if step.is_multiple_of(2) { L::low(both) } else { L::high(both) }
    }

    fn code_at(group: &[CodeBytes], step: usize, place: usize) -> u8 {
        group[step / 2][place] >> (step % 2 * 4) & 15
    }

    fn put(group: &mut [CodeBytes], step: usize, codes: &CodeBytes) {
        for (to, code) in group[step / 2].iter_mut().zip(codes) {
            *to |= (code & 15) << (step % 2 * 4);
        }
    }
}

/// Five bits: the fifth ones of all vectors share a piece.
#[derive(Debug)]
pub(super) struct FiveBits<const OFFSET: i32>;

impl<const OFFSET: i32> Coding for FiveBits<OFFSET> {
    const PIECES: usize = STEPS / 2 + 1;
    const OFFSET: i32 = OFFSET;
    const WIDE: bool = false;

    #[inline(always)]
    fn vector<L: IntegerLevel>(group: &[CodeBytes], step: usize) -> L::Codes {
        let planes = L::codes(&group[STEPS / 2]);
        L::merge(Nibbles::<0>::vector::<L>(group, step), planes, 4 - step as i32, 1 << 4)
    }

    fn code_at(group: &[CodeBytes], step: usize, place: usize) -> u8 {
        Nibbles::<0>::code_at(group, step, place) | (group[STEPS / 2][place] >> step & 1) << 4
    }

    fn put(group: &mut [CodeBytes], step: usize, codes: &CodeBytes) {
        Nibbles::<0>::put(group, step, codes);
        for (to, code) in group[STEPS / 2].iter_mut().zip(codes) {
            *to |= (code >> 4) << step;
        }
    }
}

/// Six bits: the upper ones of four vectors share a piece.
#[derive(Debug)]
pub(super) struct SixBits<const OFFSET: i32>;

impl<const OFFSET: i32> Coding for SixBits<OFFSET> {
    const PIECES: usize = STEPS / 2 + 2;
    const OFFSET: i32 = OFFSET;
    const WIDE: bool = false;

    #[inline(always)]
    fn vector<L: IntegerLevel>(group: &[CodeBytes], step: usize) -> L::Codes {
        let planes = L::codes(&group[STEPS / 2 + step / 4]);
        L::merge(Nibbles::<0>::vector::<L>(group, step), planes, 4 - step as i32 % 4 * 2, 3 << 4)
    }

    fn code_at(group: &[CodeBytes], step: usize, place: usize) -> u8 {
        let upper = group[STEPS / 2 + step / 4][place] >> (step % 4 * 2) & 3;
        Nibbles::<0>::code_at(group, step, place) | upper << 4
    }

    fn put(group: &mut [CodeBytes], step: usize, codes: &CodeBytes) {
        Nibbles::<0>::put(group, step, codes);
        for (to, code) in group[STEPS / 2 + step / 4].iter_mut().zip(codes) {
            *to |= (code >> 4) << (step % 4 * 2);
        }
    }
}

/// Eight bits.
#[derive(Debug)]
pub(super) struct Bytes;

impl Coding for Bytes {
    const PIECES: usize = STEPS;
    const OFFSET: i32 = 128;
    const WIDE: bool = true;

    #[inline(always)]
    fn vector<L: IntegerLevel>(group: &[CodeBytes], step: usize) -> L::Codes {
        L::codes(&group[step])
    }

    fn code_at(group: &[CodeBytes], step: usize, place: usize) -> u8 {
        group[step][place]
    }

    fn put(group: &mut [CodeBytes], step: usize, codes: &CodeBytes) {
        group[step] = *codes;
    }
}

/// Four bits that name an entry of the table of IQ4_NL.
#[derive(Debug)]
pub(super) struct Iq4Indices;

impl Coding for Iq4Indices {
    const PIECES: usize = STEPS / 2;
    const OFFSET: i32 = TABLE_OFFSET as i32;
    const WIDE: bool = true;

    #[inline(always)]
    fn vector<L: IntegerLevel>(group: &[CodeBytes], step: usize) -> L::Codes {
        L::look_up(&IQ4_CODES, Nibbles::<0>::vector::<L>(group, step))
    }

    fn code_at(group: &[CodeBytes], step: usize, place: usize) -> u8 {
        IQ4_CODES[usize::from(Nibbles::<0>::code_at(group, step, place))]
    }

    fn put(group: &mut [CodeBytes], step: usize, codes: &CodeBytes) {
        Nibbles::<0>::put(group, step, codes);
    }

    fn code(number: i8) -> u8 {
        IQ4_PLACES[usize::from(number as u8)]
    }
}

/// Four bits that name an entry of the table of MXFP4.
#[derive(Debug)]
pub(super) struct Mxfp4Indices;

impl Coding for Mxfp4Indices {
    const PIECES: usize = STEPS / 2;
    const OFFSET: i32 = 16;
    const WIDE: bool = false;

    #[inline(always)]
    fn vector<L: IntegerLevel>(group: &[CodeBytes], step: usize) -> L::Codes {
        L::look_up(&MXFP4_CODES, Nibbles::<0>::vector::<L>(group, step))
    }

    fn code_at(group: &[CodeBytes], step: usize, place: usize) -> u8 {
        MXFP4_CODES[usize::from(Nibbles::<0>::code_at(group, step, place))]
    }

    fn put(group: &mut [CodeBytes], step: usize, codes: &CodeBytes) {
        Nibbles::<0>::put(group, step, codes);
    }

    fn code(number: i8) -> u8 {
        MXFP4_PLACES[usize::from(number as u8)]
    }
}

/// Of each number, as a byte without sign, its first place in a table; zero for one that is not there.
const fn places(table: [i8; 16]) -> [u8; 256] {
    let mut places = [0; 256];
    let mut at = 16;
    while at > 0 {
        at -= 1;
        places[table[at] as u8 as usize] = at as u8;
    }
    places
}

/// The places of the entries of IQ4_NL.
const IQ4_PLACES: [u8; 256] = places(IQ4_NUMBERS);

/// The places of the entries of MXFP4.
const MXFP4_PLACES: [u8; 256] = places(MXFP4_NUMBERS);
