//! The archive of a file that `torch.save` writes: a zip file whose entries are not compressed.

use std::collections::HashMap;
use std::ops::Range;

use super::error::PytorchError;

/// More entries than any checkpoint has.
const MOST_ENTRIES: usize = 1 << 20;

/// The end of a zip file: 22 bytes and a comment of at most 65535.
const END: usize = 22;
const LONGEST_COMMENT: usize = 0xffff;

/// The places of the entries of an archive, by name without the first folder, which is the same for all.
#[derive(Debug)]
pub(super) struct Archive {
    entries: HashMap<String, Range<usize>>,
}

/// Whole numbers at places of the file, lowest byte first.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn at<const N: usize>(self, place: usize) -> Option<[u8; N]> {
        self.0.get(place..place.checked_add(N)?)?.try_into().ok()
    }

    fn u16(self, place: usize) -> Option<usize> {
        self.at(place).map(u16::from_le_bytes).map(usize::from)
    }

    fn u32(self, place: usize) -> Option<usize> {
        self.at(place).map(u32::from_le_bytes).map(|number| number as usize)
    }

    fn u64(self, place: usize) -> Option<usize> {
        self.at(place).map(u64::from_le_bytes).and_then(|number| usize::try_from(number).ok())
    }

    fn slice(self, start: usize, len: usize) -> Option<&'a [u8]> {
        self.0.get(start..start.checked_add(len)?)
    }
}

/// A number that did not fit into 32 bits.
const ELSEWHERE: usize = 0xffff_ffff;

impl Archive {
    /// Reads the list of entries at the end of a file.
    ///
    /// # Errors
    /// [`PytorchError::NotAnArchive`], and [`PytorchError::Entry`] for an entry that is compressed or reaches beyond the file.
    pub(super) fn read(file: &[u8]) -> Result<Self, PytorchError> {
        let bytes = Bytes(file);
        let (count, mut at) = list_of_entries(bytes).ok_or(PytorchError::NotAnArchive)?;
        if count > MOST_ENTRIES {
            return Err(PytorchError::NotAnArchive);
        }
        let mut entries = HashMap::new();
        for _ in 0..count {
            let (name, place, next) = entry(bytes, at).ok_or(PytorchError::NotAnArchive)?;
            let short = name.split_once('/').map_or(name.as_str(), |(_, rest)| rest).to_owned();
            let bad = |reason| PytorchError::Entry { entry: name.clone(), reason };
            let place = place.map_err(bad)?;
            if entries.insert(short, place).is_some() {
                return Err(bad("is there twice"));
            }
            at = next;
        }
        Ok(Self { entries })
    }

    /// The bytes of an entry.
    pub(super) fn entry(&self, name: &str) -> Option<Range<usize>> {
        self.entries.get(name).cloned()
    }
}

/// The number of entries, and where their list begins.
fn list_of_entries(bytes: Bytes<'_>) -> Option<(usize, usize)> {
    let last = bytes.0.len().checked_sub(END)?;
    let earliest = last.saturating_sub(LONGEST_COMMENT);
    let end = (earliest..=last).rev().find(|&at| bytes.at(at) == Some(*b"PK\x05\x06"))?;
    let (count, start) = (bytes.u16(end + 10)?, bytes.u32(end + 16)?);
    if count != 0xffff && start != ELSEWHERE {
        return Some((count, start));
    }
    // Large archives have another end, and a pointer to it before this one.
    let pointer = end.checked_sub(20)?;
    if bytes.at(pointer) != Some(*b"PK\x06\x07") {
        return None;
    }
    let end = bytes.u64(pointer + 8)?;
    if bytes.at(end) != Some(*b"PK\x06\x06") {
        return None;
    }
    Some((bytes.u64(end.checked_add(32)?)?, bytes.u64(end.checked_add(48)?)?))
}

/// The name and place of the entry that is listed at `at`, and where the next one is listed.
#[expect(clippy::type_complexity, reason = "three numbers of one record")]
fn entry(bytes: Bytes<'_>, at: usize) -> Option<(String, Result<Range<usize>, &'static str>, usize)> {
    if bytes.at(at) != Some(*b"PK\x01\x02") {
        return None;
    }
    let (flags, method) = (bytes.u16(at + 8)?, bytes.u16(at + 10)?);
    let [name_len, extra_len, comment_len] = [28, 30, 32].map(|field| bytes.u16(at + field));
    let (name_len, extra_len, comment_len) = (name_len?, extra_len?, comment_len?);
    let name = String::from_utf8(bytes.slice(at + 46, name_len)?.to_vec()).ok()?;
    let extra = Bytes(bytes.slice(at + 46 + name_len, extra_len)?);
    let next = at + 46 + name_len + extra_len + comment_len;
    if method != 0 || flags & 1 != 0 {
        return Some((name, Err("is compressed or encrypted, expected plain bytes"), next));
    }
    let mut large = large_fields(extra).into_iter();
    let mut field = |place: usize| match bytes.u32(at + place)? {
        ELSEWHERE => large.next(),
        number => Some(number),
    };
    // In this order: whole size, compressed size, place.
    let (size, _, header) = (field(24)?, field(20)?, field(42)?);
    Some((name, content(bytes, header, size).ok_or("reaches beyond the file"), next))
}

/// The numbers of more than 32 bits of an entry.
fn large_fields(extra: Bytes<'_>) -> Vec<usize> {
    let mut at = 0;
    while let (Some(kind), Some(len)) = (extra.u16(at), extra.u16(at + 2)) {
        if kind == 1 {
            return (0..len / 8).map_while(|index| extra.u64(at + 4 + 8 * index)).collect();
        }
        at += 4 + len;
    }
    Vec::new()
}

/// The bytes after the header of an entry.
fn content(bytes: Bytes<'_>, header: usize, size: usize) -> Option<Range<usize>> {
    if bytes.at(header) != Some(*b"PK\x03\x04") {
        return None;
    }
    let start = header + 30 + bytes.u16(header + 26)? + bytes.u16(header + 28)?;
    bytes.slice(start, size).map(|_| start..start + size)
}
