//! Records, one after the other, as event files are made of: TensorFlow's `TFRecord` format
//! (<https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details>).

/// Is added to checksums, so that those of data which hold checksums themselves are as good as any.
const MASK: u32 = 0xa282_ead8;

/// Appends a record: the length of the data, its checksum, the data, their checksum; numbers in little endian.
pub(super) fn push(file: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    for part in [&length[..], data] {
        file.extend_from_slice(part);
        file.extend_from_slice(&masked(part).to_le_bytes());
    }
}

/// CRC-32C, rotated and shifted by the mask.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}
