//! JPEG, PNG and TIFF bytes to an [`Image`].
//!
//! Strict on purpose: a picture is either whole or an error. Nothing is patched up, because a
//! half-grey picture would silently become training data.

use std::io::Cursor;

use jpeg_decoder::PixelFormat;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::image::Image;
use crate::spec::{DecodeSpec, Size};

/// Largest width and height that a header may announce, in pixels.
pub const MAX_SIDE: usize = 16_384;

/// Largest area that a header may announce, in pixels: 192 MiB decoded. A forged header must not be
/// able to take the machine's memory.
pub const MAX_PIXELS: usize = 1 << 26;

/// Beginning of every PNG file (PNG specification, section 5.2).
const PNG_SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n'];

/// Beginning of every JPEG file: the start-of-image marker and the first byte of the next one.
const JPEG_SIGNATURE: [u8; 3] = [0xFF, 0xD8, 0xFF];

/// Beginnings of a TIFF file (TIFF 6.0, section 2): byte order and 42.
const TIFF_SIGNATURES: [[u8; 4]; 2] = [[b'I', b'I', 42, 0], [b'M', b'M', 0, 42]];

/// Decodes a whole JPEG, PNG or TIFF file to RGB. Which of them it is says the content, not a name.
/// Grayscale is repeated over the channels, CMYK is converted, transparency and the 8 lower bits of
/// 16-bit channels are dropped.
///
/// # Errors
/// Why the bytes are no sound picture.
pub fn decode(bytes: &[u8]) -> Result<Image, String> {
    if bytes.is_empty() {
        Err("the file is empty".to_owned())
    } else if bytes.starts_with(&PNG_SIGNATURE) {
        decode_png(bytes)
    } else if bytes.starts_with(&JPEG_SIGNATURE) {
        decode_jpeg(bytes)
    } else if TIFF_SIGNATURES.iter().any(|signature| bytes.starts_with(signature)) {
        decode_tiff(bytes)
    } else {
        Err("the content is neither JPEG nor PNG nor TIFF".to_owned())
    }
}

/// [`decode`], a JPEG file as large as `spec` says; one of a kind that can only be decoded as it is (printers' colors, 12
/// bits a sample) as it is.
///
/// # Errors
/// Why the bytes are no sound picture.
pub fn decode_as(bytes: &[u8], spec: DecodeSpec) -> Result<Image, String> {
    match spec {
        DecodeSpec::AtLeast(_) if bytes.starts_with(&JPEG_SIGNATURE) => {
            decode_reduced(bytes, spec).map_or_else(|| decode_jpeg(bytes), Ok)
        }
        _ => decode(bytes),
    }
}

/// What a sound picture's file says beside its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Height and width.
    pub size: Size,
    /// Whether the colors are printers' colors.
    pub is_cmyk: bool,
    /// Whether a sample has 16 bits.
    pub is_deep: bool,
    /// How the picture is to be turned to be upright (EXIF 2.32, section 4.6.4: 1 is upright, 8 the largest); 1 where
    /// nothing is said. Decoding never turns.
    pub orientation: u32,
}

/// Facts of a file that [`decode`] has decoded; what cannot be told is as usual.
pub fn facts(bytes: &[u8]) -> Facts {
    let mut facts = Facts { size: Size(0, 0), is_cmyk: false, is_deep: false, orientation: 1 };
    if bytes.starts_with(&JPEG_SIGNATURE) {
        let mut decoder = JpegDecoder::new(ZCursor::new(bytes));
        if decoder.decode_headers().is_ok() {
            let (width, height) = decoder.dimensions().unwrap_or_default();
            facts.size = Size(height, width);
            facts.is_cmyk = matches!(decoder.input_colorspace(), Some(ColorSpace::CMYK | ColorSpace::YCCK));
            facts.orientation = decoder.exif().and_then(|exif| orientation(exif)).unwrap_or(1);
        }
    } else if bytes.starts_with(&PNG_SIGNATURE) {
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        if let Ok(header) = decoder.read_header_info() {
            facts.size = Size(header.height as usize, header.width as usize);
            facts.is_deep = header.bit_depth == png::BitDepth::Sixteen;
        }
    } else if let Ok(mut decoder) = tiff::decoder::Decoder::new(Cursor::new(bytes)) {
        let (width, height) = decoder.dimensions().unwrap_or_default();
        facts.size = Size(height as usize, width as usize);
        facts.is_deep = decoder.colortype().is_ok_and(|color| color.bit_depth() == 16);
        facts.orientation = decoder.get_tag_u32(tiff::tags::Tag::Orientation).unwrap_or(1);
    }
    facts
}

/// The orientation in an EXIF block, which is a TIFF file without a picture.
fn orientation(exif: &[u8]) -> Option<u32> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let exif = exif::Reader::new().read_raw(exif.to_vec()).ok()?;
    exif.get_field(exif::Tag::Orientation, exif::In::PRIMARY)?.value.get_uint(0)
}

fn decode_jpeg(bytes: &[u8]) -> Result<Image, String> {
    if !jpeg_reaches_its_end(bytes) {
        return Err("truncated JPEG (no end-of-image marker)".to_owned());
    }
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let reason = |error: zune_jpeg::errors::DecodeErrors| format!("JPEG: {error}");
    decoder.decode_headers().map_err(reason)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| "JPEG: no image header".to_owned())?;
    check_size(height, width)?;
    let pixels = decoder.decode().map_err(reason)?;
    image(height, width, pixels)
}

/// A JPEG file at the part of its size that `spec` says; none if that is the whole, or if the file is damaged or of a kind
/// that cannot be reduced.
fn decode_reduced(bytes: &[u8], spec: DecodeSpec) -> Option<Image> {
    if !jpeg_reaches_its_end(bytes) {
        return None;
    }
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(MAX_PIXELS * 3);
    decoder.read_info().ok()?;
    let info = decoder.info()?;
    let (height, width) = (usize::from(info.height), usize::from(info.width));
    check_size(height, width).ok()?;
    let part = spec.part(Size(height, width));
    if part == 1 {
        return None;
    }
    // No side is larger than a header can say.
    let asked = (width.div_ceil(part) as u16, height.div_ceil(part) as u16);
    let (width, height) = decoder.scale(asked.0, asked.1).ok().filter(|found| *found == asked)?;
    let samples = match info.pixel_format {
        PixelFormat::RGB24 => decoder.decode().ok()?,
        PixelFormat::L8 => decoder.decode().ok()?.iter().flat_map(|&v| [v; 3]).collect(),
        PixelFormat::L16 | PixelFormat::CMYK32 => return None,
    };
    image(usize::from(height), usize::from(width), samples).ok()
}

fn decode_png(bytes: &[u8]) -> Result<Image, String> {
    let reason = |error: png::DecodingError| format!("PNG: {error}");
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: MAX_PIXELS * 8 });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let header = decoder.read_header_info().map_err(reason)?;
    let (height, width) = (header.height as usize, header.width as usize);
    check_size(height, width)?;
    let mut reader = decoder.read_info().map_err(reason)?;
    let bytes = reader.output_buffer_size().ok_or_else(|| "PNG: the size does not fit in memory".to_owned())?;
    let mut pixels = vec![0; bytes];
    let frame = reader.next_frame(&mut pixels).map_err(reason)?;
    reader.finish().map_err(reason)?;
    pixels.truncate(frame.buffer_size());
    let pixels = match frame.color_type {
        png::ColorType::Rgb => pixels,
        png::ColorType::Rgba => pixels.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        png::ColorType::Grayscale => pixels.iter().flat_map(|&v| [v; 3]).collect(),
        png::ColorType::GrayscaleAlpha => pixels.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        png::ColorType::Indexed => return Err("PNG: the palette was not expanded".to_owned()),
    };
    image(height, width, pixels)
}

fn decode_tiff(bytes: &[u8]) -> Result<Image, String> {
    let reason = |error: tiff::TiffError| format!("TIFF: {error}");
    let mut limits = tiff::decoder::Limits::default();
    limits.decoding_buffer_size = MAX_PIXELS * 8;
    let mut decoder = tiff::decoder::Decoder::new(Cursor::new(bytes)).map_err(reason)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(reason)?;
    let (height, width) = (height as usize, width as usize);
    check_size(height, width)?;
    let color = decoder.colortype().map_err(reason)?;
    let samples: Vec<u8> = match decoder.read_image().map_err(reason)? {
        tiff::decoder::DecodingResult::U8(samples) => samples,
        tiff::decoder::DecodingResult::U16(samples) => samples.iter().map(|sample| (sample >> 8) as u8).collect(),
        _ => return Err("TIFF: samples of neither 8 nor 16 bits".to_owned()),
    };
    let pixels = match color {
        tiff::ColorType::RGB(_) => samples,
        tiff::ColorType::RGBA(_) => samples.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        tiff::ColorType::Gray(_) => samples.iter().flat_map(|&v| [v; 3]).collect(),
        tiff::ColorType::GrayA(_) => samples.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        other => return Err(format!("TIFF: colors of kind {other:?} are not read")),
    };
    image(height, width, pixels)
}

fn check_size(height: usize, width: usize) -> Result<(), String> {
    if height == 0 || width == 0 {
        return Err(format!("the header says {height}x{width} pixels"));
    }
    if height > MAX_SIDE || width > MAX_SIDE || height * width > MAX_PIXELS {
        return Err(format!(
            "the header says {height}x{width} pixels; at most {MAX_SIDE} a side and {MAX_PIXELS} in all are read"
        ));
    }
    Ok(())
}

fn image(height: usize, width: usize, pixels: Vec<u8>) -> Result<Image, String> {
    if pixels.len() == height * width * 3 {
        Ok(Image::new(height, width, pixels))
    } else {
        Err(format!("{} bytes decoded instead of {height}x{width}x3", pixels.len()))
    }
}

/// Whether the end-of-image marker is reached by walking the file's segments. Searching for its two
/// bytes would not do: an embedded thumbnail has them too. The decoder alone would not do either: it
/// fills up a scan that stops short.
fn jpeg_reaches_its_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    // Markers without a length: TEM, restarts 0 to 7, start of image.
    let is_bare = |marker: u8| marker == 0x01 || (0xD0..=0xD8).contains(&marker);
    let mut at = 2;
    while let Some(&[first, second]) = bytes.get(at..at + 2).and_then(|pair| pair.first_chunk::<2>()) {
        match (first, second) {
            (0xFF, END) => return true,
            // A stuffed zero or a fill byte.
            (0xFF, 0x00) => at += 2,
            (0xFF, 0xFF) => at += 1,
            (0xFF, marker) if is_bare(marker) => at += 2,
            (0xFF, _) => {
                let Some(&length) = bytes.get(at + 2..at + 4).and_then(|pair| pair.first_chunk::<2>()) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes(length)).max(2);
            }
            // Compressed data, or a stray byte between segments, which the decoder judges.
            _ => at += 1,
        }
    }
    false
}
