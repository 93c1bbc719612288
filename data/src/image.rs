//! An 8-bit picture in memory.

/// RGB picture, 8 bits a channel, rows from the top, channels interleaved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// `height * width * 3` bytes.
    pub data: Vec<u8>,
}

impl Image {
    /// A black picture.
    pub fn black(height: usize, width: usize) -> Self {
        Self { height, width, data: vec![0; height * width * 3] }
    }

    /// Wraps pixels.
    ///
    /// # Panics
    /// If `data` does not hold `height * width * 3` bytes.
    pub fn new(height: usize, width: usize, data: Vec<u8>) -> Self {
        assert_eq!(data.len(), height * width * 3, "{height}x{width} RGB picture");
        Self { height, width, data }
    }
}

impl Image {
    /// The picture as a PNG file.
    ///
    /// # Panics
    /// If the encoder refuses a picture that this type allows, which would be a fault of ours.
    pub fn to_png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        // Writing to memory fails only on sizes that do not fit the pixels, which `new` has ruled out.
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&self.data));
        written.unwrap_or_else(|error| panic!("a {}x{} picture as PNG: {error}", self.height, self.width));
        bytes
    }
}
