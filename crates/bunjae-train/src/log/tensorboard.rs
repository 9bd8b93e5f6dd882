//! Event files of TensorBoard, of which scalars are all that is needed here.
//!
//! A file is a row of records: the length of the data (u64), the masked CRC-32C of these eight
//! bytes, the data, and the masked CRC-32C of the data, all little-endian. The data is a protobuf
//! `Event` of TensorFlow's `event.proto`:
//!
//! ```text
//! Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
//! Summary { repeated Value value = 1; }
//! Value   { string tag = 1; float simple_value = 2; }
//! ```
//!
//! These few fields are written by hand, as an arrow to a protobuf library would weigh more.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::TrainError;

/// An event file being written.
pub(super) struct Events {
    file: File,
    path: PathBuf,
}

impl Events {
    /// Begins the file of a run that starts, or goes on, with `epoch`. TensorBoard reads all event
    /// files of a folder as one run, so each part of a resumed run has a file of its own.
    pub(super) fn create(folder: &Path, epoch: u64) -> Result<Events, TrainError> {
        // TensorBoard sorts by the name; what follows `tfevents.` has to be a number.
        let path = folder.join(format!("events.out.tfevents.{epoch:010}.bunjae"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(TrainError::write(&path))?;
        let mut events = Events { file, path };
        let mut event = wall_time();
        bytes(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        Ok(events)
    }

    /// Adds figures of one step.
    pub(super) fn add(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<(), TrainError> {
        let event = scalars_event(wall_time(), step, scalars);
        self.record(&event)
    }

    fn record(&mut self, data: &[u8]) -> Result<(), TrainError> {
        self.file.write_all(&framed(data)).map_err(TrainError::write(&self.path))
    }
}

/// The beginning of every event: field 1, seconds since 1970.
fn wall_time() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut event = vec![1 << 3 | 1];
    event.extend(now.as_secs_f64().to_le_bytes());
    event
}

fn scalars_event(mut event: Vec<u8>, step: u64, scalars: &[(&str, f64)]) -> Vec<u8> {
    event.push(2 << 3);
    varint(&mut event, step);
    let mut summary = Vec::new();
    for (tag, value) in scalars {
        let mut scalar = Vec::new();
        bytes(&mut scalar, 1, tag.as_bytes());
        scalar.push(2 << 3 | 5);
        scalar.extend((*value as f32).to_le_bytes());
        bytes(&mut summary, 1, &scalar);
    }
    bytes(&mut event, 5, &summary);
    event
}

/// A field of bytes, text or a message.
fn bytes(message: &mut Vec<u8>, field: u8, contents: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, contents.len() as u64);
    message.extend(contents);
}

fn varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

/// A record of the file.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c(data)).to_le_bytes());
    record
}

/// CRC-32C (Castagnoli), a bit at a time: a few hundred bytes an epoch need no table.
fn crc32c(data: &[u8]) -> u32 {
    /// The polynomial with its bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg())
        })
    };
    !data.iter().fold(!0, byte)
}

/// What TensorFlow does to checksums that are stored beside what they are of.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of RFC 3720, B.4, and of the catalogue of CRCs.
    #[test]
    fn checksums_are_those_of_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    /// Encoded by hand after `event.proto`.
    #[test]
    fn an_event_is_a_protobuf_message() {
        let event = scalars_event(Vec::new(), 300, &[("a", 0.5)]);
        #[rustfmt::skip]
        let expected = [
            0x10, 0xac, 0x02, // step = 300
            0x2a, 0x0a, // summary of 10 bytes
            0x0a, 0x08, // value of 8 bytes
            0x0a, 0x01, b'a', // tag
            0x15, 0x00, 0x00, 0x00, 0x3f, // 0.5
        ];
        assert_eq!(event, expected);
        let record = framed(&event);
        assert_eq!(record[..8], 15u64.to_le_bytes());
        assert_eq!(record.len(), 8 + 4 + 15 + 4);
    }
}
