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
