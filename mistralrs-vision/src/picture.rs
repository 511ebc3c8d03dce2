//! [`Picture`]: a decoded image, RGB with 8 bits, and cutting a piece out of it. Knows no file format.

use crate::error::{Error, Result};

/// A decoded image: rows of RGB triples, 8 bits each.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} × {})", self.width, self.height)
    }
}

impl Picture {
    /// Bytes of a pixel.
    pub const CHANNELS: usize = 3;

    /// From `[height, width, 3]` bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the bytes are not as many, [`Error::Empty`] if there are none.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self> {
        let wanted = u64::from(width) * u64::from(height) * Self::CHANNELS as u64;
        if wanted == 0 {
            return Err(Error::Empty("image"));
        }
        if rgb.len() as u64 != wanted {
            let found = rgb.len();
            return Err(Error::Invalid(format!(
                "{width} × {height} pixels need {wanted} bytes, not {found}"
            )));
        }
        Ok(Self { width, height, rgb })
    }

    /// Pixels per row; at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows; at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// `[height, width, 3]`.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    /// One row, `[width, 3]`; empty outside the picture.
    pub fn row(&self, y: usize) -> &[u8] {
        let len = self.width as usize * Self::CHANNELS;
        self.rgb.get(y * len..(y + 1) * len).unwrap_or_default()
    }

    /// The part of a rectangle that lies inside the picture.
    ///
    /// # Errors
    /// [`Error::Empty`] if nothing does.
    pub fn crop(&self, (left, top): (u32, u32), (width, height): (u32, u32)) -> Result<Self> {
        let right = left.saturating_add(width).min(self.width);
        let bottom = top.saturating_add(height).min(self.height);
        let (start, end) = (left as usize * Self::CHANNELS, right as usize * Self::CHANNELS);
        let rows = bottom.saturating_sub(top) as usize;
        // Row by row: byte by byte it took ten times as long.
        let mut rgb = Vec::with_capacity(rows * end.saturating_sub(start));
        for y in top as usize..bottom as usize {
            rgb.extend_from_slice(self.row(y).get(start..end).unwrap_or_default());
        }
        Self::new(right.saturating_sub(left), bottom.saturating_sub(top), rgb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_at_the_edge() {
        let rgb: Vec<u8> = (0..4 * 3 * 3).collect();
        let picture = Picture::new(4, 3, rgb).unwrap();
        let piece = picture.crop((2, 1), (10, 1)).unwrap();
        assert_eq!((piece.width(), piece.height()), (2, 1));
        assert_eq!(piece.rgb(), [18, 19, 20, 21, 22, 23]);
        assert!(matches!(picture.crop((4, 0), (1, 1)), Err(Error::Empty(_))));
    }

    #[test]
    fn sizes_have_to_fit() {
        assert!(matches!(Picture::new(2, 2, vec![0; 11]), Err(Error::Invalid(_))));
        assert!(matches!(Picture::new(0, 2, vec![]), Err(Error::Empty(_))));
    }
}
