//! Files to pictures.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proptest::prelude::*;
use reid_data::decode::{MAX_SIDE, decode, decode_as};
use reid_data::image::Image;
use reid_data::spec::{DecodeSpec, Size};

use super::fixture::{jpeg, picture};

/// Encodes noise in the given way.
fn encoded(color: ColorType, channels: usize, prepare: impl Fn(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let data = picture(1, 24, 24).data[..24 * 24 / 3 * channels].repeat(3);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 95);
    prepare(&mut encoder);
    encoder.encode(&data, 24, 24, color).expect("a JPEG");
    bytes
}

/// Full size, and halves and quarters of the pictures here.
const SPECS: [DecodeSpec; 2] = [DecodeSpec::Full, DecodeSpec::AtLeast(Size(8, 8))];

/// Waves of some 40 pixels in brightness, and of some 200 in color, as pictures have them.
fn waves(height: usize, width: usize) -> Image {
    let mut image = Image::black(height, width);
    for (at, value) in image.data.iter_mut().enumerate() {
        let (y, x, channel) = ((at / 3 / width) as f32, (at / 3 % width) as f32, (at % 3) as f32);
        *value = (128.0 + 40.0 * ((x / 6.0).sin() + (y / 7.0).cos()) + 40.0 * (channel + (x + y) / 30.0).sin()) as u8;
    }
    image
}

/// A part of the DCT's frequencies gives what averaging the whole picture's pixels gives, nearly.
#[test]
fn large_jpegs_are_decoded_at_a_part_of_their_size() {
    let (height, width) = (150, 86);
    let image = waves(height, width);
    let encoded = |prepare: &dyn Fn(&mut Encoder<&mut Vec<u8>>)| {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 95);
        prepare(&mut encoder);
        encoder.encode(&image.data, width as u16, height as u16, ColorType::Rgb).expect("a JPEG");
        bytes
    };
    let luma: Vec<u8> = image.data.iter().copied().step_by(3).collect();
    let mut gray = Vec::new();
    Encoder::new(&mut gray, 95).encode(&luma, width as u16, height as u16, ColorType::Luma).expect("a JPEG");
    let files = [
        encoded(&|_| {}),
        encoded(&|e| e.set_sampling_factor(SamplingFactor::F_2_2)),
        encoded(&|e| e.set_progressive(true)),
        encoded(&|e| e.set_restart_interval(2)),
        gray,
    ];
    for (case, bytes) in files.iter().enumerate() {
        let whole = decode(bytes).expect("a sound picture");
        for (least, part) in [
            ((150, 86), 1),
            ((76, 43), 1),
            ((75, 44), 1),
            ((75, 43), 2),
            ((38, 22), 4),
            ((37, 23), 2),
            ((19, 11), 8),
            ((8, 8), 8),
        ] {
            let found = decode_as(bytes, DecodeSpec::AtLeast(Size(least.0, least.1))).expect("a sound picture");
            assert_eq!(
                (found.height, found.width),
                (height.div_ceil(part), width.div_ceil(part)),
                "case {case}, {least:?}"
            );
            // The mean of the pixels that each of its pixels stands for; at the edges some are missing.
            let mean = |y: usize, x: usize, channel: usize| {
                let pixels = (0..part * part).map(|at| (y * part + at / part) * width + x * part + at % part);
                pixels.map(|at| f64::from(whole.data[at * 3 + channel])).sum::<f64>() / (part * part) as f64
            };
            let (mut error, mut count) = (0.0, 0.0);
            for (y, x) in (0..height / part).flat_map(|y| (0..width / part).map(move |x| (y, x))) {
                for channel in 0..3 {
                    let value = f64::from(found.data[(y * found.width + x) * 3 + channel]);
                    error += (value - mean(y, x, channel)).abs();
                    count += 1.0;
                }
            }
            // At full size the decoder is the same. In a part, a block keeps its low frequencies as they are, where means
            // dampen them a little; the waves' spread is 40 levels.
            let bound = if part == 1 { 0.0 } else { 3.0 };
            assert!(error / count <= bound, "case {case}, 1/{part}: {}", error / count);
        }
    }
    // There is one way to decode printers' colors.
    let printed = self::encoded(ColorType::Cmyk, 4, |_| {});
    assert_eq!(decode_as(&printed, SPECS[1]).expect("a sound picture"), decode(&printed).expect("a sound picture"));
}

#[test]
fn jpeg_comes_back_nearly() {
    let image = picture(1, 40, 24);
    let decoded = decode(&jpeg(&image)).expect("a sound picture");
    assert_eq!((decoded.height, decoded.width), (40, 24));
    let error: u32 = image.data.iter().zip(&decoded.data).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    // Lossy, but on average far less than the noise's spread of 74 levels.
    assert!((f64::from(error) / image.data.len() as f64) < 20.0, "{error}");
}

#[test]
fn every_kind_of_jpeg_becomes_rgb() {
    let cases = [
        encoded(ColorType::Luma, 1, |_| {}),
        encoded(ColorType::Rgb, 3, |e| e.set_progressive(true)),
        encoded(ColorType::Rgb, 3, |e| e.set_sampling_factor(SamplingFactor::F_2_2)),
        encoded(ColorType::Rgb, 3, |e| e.set_restart_interval(2)),
        encoded(ColorType::Cmyk, 4, |_| {}),
        encoded(ColorType::CmykAsYcck, 4, |_| {}),
    ];
    for (case, bytes) in cases.iter().enumerate() {
        let image = decode(bytes).unwrap_or_else(|reason| panic!("case {case}: {reason}"));
        assert_eq!(image.data.len(), 24 * 24 * 3, "case {case}");
    }
    let gray = decode(&cases[0]).expect("a sound picture");
    assert!(gray.data.as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b));
}

#[test]
fn a_truncated_jpeg_is_an_error_wherever_it_ends() {
    let progressive = encoded(ColorType::Rgb, 3, |e| e.set_progressive(true));
    // An embedded file with an end marker of its own, as cameras' thumbnails have.
    let thumbnail = encoded(ColorType::Rgb, 3, |e| {
        e.add_app_segment(5, jpeg(&picture(2, 8, 8))).expect("a segment");
    });
    for (bytes, spec) in
        [jpeg(&picture(3, 32, 16)), progressive, thumbnail].iter().flat_map(|bytes| SPECS.map(|spec| (bytes, spec)))
    {
        decode_as(bytes, spec).expect("the whole file is sound");
        for end in 0..bytes.len() {
            let reason = decode_as(&bytes[..end], spec).expect_err("a part of the file is not");
            assert!(!reason.is_empty());
        }
    }
}

#[test]
fn what_is_no_picture_is_an_error() {
    assert_eq!(decode(b"").expect_err("empty"), "the file is empty");
    assert_eq!(decode(b"GIF89a").expect_err("a GIF"), "the content is neither JPEG nor PNG nor TIFF");
    assert!(decode(&[0xFF, 0xD8, 0xFF, 0xD9]).is_err());
}

#[test]
fn a_header_that_announces_too_much_is_refused_before_memory_is_taken() {
    let side = u32::try_from(MAX_SIDE).expect("fits") + 1;
    let reason = decode(&png(side, 1, 2, &[])).expect_err("too wide");
    assert!(reason.contains("16384"), "{reason}");
    let reason = decode(&png(16_384, 16_384, 2, &[])).expect_err("too large");
    assert!(reason.contains("16384x16384"), "{reason}");

    let mut forged = jpeg(&picture(3, 32, 16));
    let frame = forged.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame header");
    forged[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF]);
    assert!(decode(&forged).is_err());
}

#[test]
fn png_of_every_color_type_becomes_rgb() {
    // Color types of the format: 0 gray, 2 RGB, 4 gray and alpha, 6 RGB and alpha.
    let cases: [(u8, &[u8], [u8; 6]); 4] = [
        (0, &[7, 9], [7, 7, 7, 9, 9, 9]),
        (2, &[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
        (4, &[7, 0, 9, 255], [7, 7, 7, 9, 9, 9]),
        (6, &[1, 2, 3, 0, 4, 5, 6, 255], [1, 2, 3, 4, 5, 6]),
    ];
    for (color, row, expected) in cases {
        let bytes = png(2, 1, color, row);
        let image = decode(&bytes).unwrap_or_else(|reason| panic!("color type {color}: {reason}"));
        assert_eq!(image.data, expected, "color type {color}");
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "color type {color} cut at {end}");
        }
    }
}

/// A PNG file of 8-bit rows, each of which is stored without filter or compression.
pub(crate) fn png(width: u32, height: u32, color: u8, rows: &[u8]) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, color, 0, 0, 0]);
    let data: Vec<u8> = [&[0], rows].concat();
    let length = u16::try_from(data.len()).expect("a short row");
    let mut stream = vec![0x78, 0x01, 0x01];
    stream.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
    stream.extend(&data);
    stream.extend(adler32(&data).to_be_bytes());
    let mut file = vec![0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n'];
    for (kind, content) in [(b"IHDR", header), (b"IDAT", stream), (b"IEND", Vec::new())] {
        file.extend(u32::try_from(content.len()).expect("a short chunk").to_be_bytes());
        let chunk = [kind.as_slice(), &content].concat();
        file.extend(&chunk);
        file.extend(crc32(&chunk).to_be_bytes());
    }
    file
}

fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        kind in 0_usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = match kind {
            0 => jpeg(&picture(3, 16, 16)),
            1 => encoded(ColorType::Rgb, 3, |e| e.set_progressive(true)),
            2 => encoded(ColorType::Rgb, 3, |e| e.set_sampling_factor(SamplingFactor::F_2_2)),
            _ => png(2, 1, 2, &[1, 2, 3, 4, 5, 6]),
        };
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        // Either outcome will do; the test is that there is one.
        for spec in SPECS {
            drop(decode_as(&bytes, spec));
        }
    }
}
