//! Event files for TensorBoard: records of length, checksums and a protobuf message, written directly.
//!
//! ```text
//! record  = length: u64 | masked_crc(length): u32 | event: length bytes | masked_crc(event): u32     (little-endian)
//! masked_crc(x) = rotate_right(crc32c(x), 15) + 0xa282ead8
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ivl_models::FileError;

use crate::Error;

/// Field numbers of TensorFlow's `event.proto` and `summary.proto`.
mod field {
    pub(super) const EVENT_WALL_TIME: u64 = 1;
    pub(super) const EVENT_STEP: u64 = 2;
    pub(super) const EVENT_FILE_VERSION: u64 = 3;
    pub(super) const EVENT_SUMMARY: u64 = 5;
    pub(super) const EVENT_SESSION_LOG: u64 = 7;
    pub(super) const SESSION_LOG_STATUS: u64 = 1;
    pub(super) const SUMMARY_VALUE: u64 = 1;
    pub(super) const VALUE_TAG: u64 = 1;
    pub(super) const VALUE_SIMPLE: u64 = 2;
}

/// `SessionLog::START`: readers forget what earlier files say of this step and later ones.
const START: u64 = 1;

/// An open event file.
#[derive(Debug)]
pub struct EventFile(File);

impl EventFile {
    /// A new file in `dir` for a run that continues after `done` steps. TensorBoard reads all files of a directory as one
    /// run; what an earlier process wrote beyond `done` it drops.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(dir: &Path, done: usize) -> Result<Self, Error> {
        let now = now();
        let path = dir.join(format!("events.out.tfevents.{:010}.ivl.{}", now as u64, std::process::id()));
        let file = std::fs::create_dir_all(dir)
            .and_then(|()| OpenOptions::new().create(true).append(true).open(&path))
            .map_err(|source| FileError::Io { action: "create", path, source })?;
        let mut events = Self(file);
        events.write(&event(now, 0, |m| m.bytes(field::EVENT_FILE_VERSION, b"brain.Event:2")));
        if done > 0 {
            let start = |m: &mut Message| {
                m.message(field::EVENT_SESSION_LOG, |m| m.integer(field::SESSION_LOG_STATUS, START));
            };
            events.write(&event(now, done + 1, start));
        }
        Ok(events)
    }

    /// Writes named numbers at a step. They are a record, not the result: an error of the disk is not reported here.
    pub fn scalars(&mut self, step: usize, scalars: &[(String, f64)]) {
        self.write(&scalar_event(now(), step, scalars));
    }

    fn write(&mut self, event: &Message) {
        let _ = self.0.write_all(&record(&event.0));
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn event(wall_time: f64, step: usize, what: impl FnOnce(&mut Message)) -> Message {
    let mut message = Message::default();
    message.double(field::EVENT_WALL_TIME, wall_time);
    message.integer(field::EVENT_STEP, step as u64);
    what(&mut message);
    message
}

fn scalar_event(wall_time: f64, step: usize, scalars: &[(String, f64)]) -> Message {
    event(wall_time, step, |m| {
        m.message(field::EVENT_SUMMARY, |m| {
            for (tag, x) in scalars {
                m.message(field::SUMMARY_VALUE, |m| {
                    m.bytes(field::VALUE_TAG, tag.as_bytes());
                    m.float(field::VALUE_SIMPLE, *x as f32);
                });
            }
        });
    })
}

fn record(event: &[u8]) -> Vec<u8> {
    let masked =
        |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), event, &masked(event)].concat()
}

/// A protobuf message in the making: each field is a key (`number << 3 | wire type`) and its bytes.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    const VARINT: u64 = 0;
    const EIGHT_BYTES: u64 = 1;
    const DELIMITED: u64 = 2;
    const FOUR_BYTES: u64 = 5;

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn varint(&mut self, mut x: u64) {
        while x >= 0x80 {
            self.0.push(x as u8 | 0x80);
            x >>= 7;
        }
        self.0.push(x as u8);
    }

    fn key(&mut self, number: u64, wire: u64) {
        self.varint(number << 3 | wire);
    }

    /// Zero is the default of every field, and is left out.
    fn integer(&mut self, number: u64, x: u64) {
        if x > 0 {
            self.key(number, Self::VARINT);
            self.varint(x);
        }
    }

    fn double(&mut self, number: u64, x: f64) {
        self.key(number, Self::EIGHT_BYTES);
        self.0.extend(x.to_le_bytes());
    }

    fn float(&mut self, number: u64, x: f32) {
        self.key(number, Self::FOUR_BYTES);
        self.0.extend(x.to_le_bytes());
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.key(number, Self::DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn message(&mut self, number: u64, fill: impl FnOnce(&mut Message)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(number, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_tensorboard_writes() {
        // `tests/fixtures/make_tensorboard.py` wrote it with the `tensorboard` package.
        let golden = include_bytes!("../../tests/fixtures/tensorboard.tfevents");
        let version = event(1.5, 0, |m| m.bytes(field::EVENT_FILE_VERSION, b"brain.Event:2"));
        let start = event(2.25, 300, |m| {
            m.message(field::EVENT_SESSION_LOG, |m| m.integer(field::SESSION_LOG_STATUS, START));
        });
        let scalars = [("train/loss".to_owned(), 2.7), ("eval/small/loss".to_owned(), f64::from(f32::MIN))];
        let ours =
            [version, start, scalar_event(1e9, 70_000, &scalars)].map(|event| record(&event.0)).concat();
        assert_eq!(ours, golden);
    }
}
