//! JPEG → RGB, to the bit as libjpeg decodes it with its defaults, which is what Pillow and torchvision
//! read: the standard leaves the arithmetic open, and other decoders are a few steps of 255 away.
//! Knows files of 8 bits with Huffman codes, sequential and progressive; no EXIF, no other format.
//! Source: ITU-T T.81; the choices of arithmetic are those of the Independent JPEG Group.

mod bits;
mod color;
mod frame;
mod idct;
mod scan;

use crate::error::{Error, Result};
use crate::picture::Picture;
use bits::{BitReader, HuffmanTable};
pub(crate) use color::{Colors, under};
use frame::Frame;
use scan::Scan;

/// More than any encoder writes; each may walk over the whole picture for a few bytes.
const MAX_SCANS: usize = 200;

/// None if it is of a rare kind: arithmetic codes, 12 bits, lossless, sizes told at the end. Where nothing
/// around the file says what its components are, its own marks do.
///
/// # Errors
/// [`Error::Undecodable`] if the file is damaged; [`Error::TooManyPixels`].
pub(crate) fn decode(
    bytes: &[u8],
    max_pixels: u64,
    colors: Option<Colors>,
) -> Result<Option<Picture>> {
    let mut reader = Reader { bytes, at: 2 };
    let mut state = State::default();
    let mut scans = 0;
    loop {
        let marker = reader.marker()?;
        match marker {
            END => break,
            // Marks without content.
            0x01 | 0xD0..=0xD8 => continue,
            _ => {}
        }
        let segment = reader.segment()?;
        match marker {
            0xC0..=0xC2 => {
                if state.frame.is_some() {
                    return Err(damaged("it has two frames"));
                }
                match Frame::read(segment, marker == 0xC2, max_pixels)? {
                    Some(frame) => state.frame = Some(frame),
                    None => return Ok(None),
                }
            }
            0xC3 | 0xC5..=0xC7 | 0xC8..=0xCF | 0xDC => return Ok(None),
            0xC4 => state.read_codes(segment)?,
            0xDB => state.read_quantization(segment)?,
            0xDD => state.restart = usize::from(word(segment, 0)?),
            0xE0 => state.jfif |= segment.starts_with(b"JFIF\0"),
            0xEE if segment.starts_with(b"Adobe") => state.adobe = segment.get(11).copied(),
            SCAN => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(damaged("it has more than 200 scans"));
                }
                reader.at += state.scan(segment, reader.rest())?;
            }
            _ => {}
        }
    }
    let State { frame, jfif, adobe, .. } = state;
    let frame = frame.filter(|_| scans > 0).ok_or_else(|| damaged("it holds no picture"))?;
    let colors = colors.unwrap_or_else(|| Colors::marked(&frame.components, jfif, adobe));
    color::to_rgb(frame, colors)
}

const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;

/// What the segments so far have said.
#[derive(Default)]
struct State {
    frame: Option<Frame>,
    quantization: [Option<[u16; 64]>; 4],
    /// Of DC, then of AC coefficients.
    codes: [[Option<HuffmanTable>; 4]; 2],
    /// Blocks or groups of blocks between two marks at which decoding could begin anew; 0 = none.
    restart: usize,
    jfif: bool,
    adobe: Option<u8>,
}

impl State {
    fn read_codes(&mut self, segment: &[u8]) -> Result<()> {
        let mut rest = segment;
        while let [place, content @ ..] = rest {
            let (class, number) = (usize::from(place >> 4), usize::from(place & 15));
            let (table, used) = HuffmanTable::read(content)?;
            let slot = self.codes.get_mut(class).and_then(|tables| tables.get_mut(number));
            *slot.ok_or_else(|| damaged("its codes have a number that is none"))? = Some(table);
            rest = content.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    fn read_quantization(&mut self, segment: &[u8]) -> Result<()> {
        let mut rest = segment;
        while let [place, content @ ..] = rest {
            let width = if place >> 4 == 0 { 1 } else { 2 };
            let mut table = [0u16; 64];
            for (i, natural) in ZIGZAG.iter().enumerate() {
                let value = match width {
                    1 => u16::from(byte(content, i)?),
                    _ => word(content, 2 * i)?,
                };
                table[usize::from(*natural)] = value;
            }
            let slot = self.quantization.get_mut(usize::from(place & 15));
            *slot.ok_or_else(|| damaged("a quantization table has a number that is none"))? =
                Some(table);
            rest = content.get(64 * width..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads a scan; the bytes it took.
    fn scan(&mut self, segment: &[u8], content: &[u8]) -> Result<usize> {
        let frame = self.frame.as_mut().ok_or_else(|| damaged("a scan comes before the frame"))?;
        let scan = Scan::read(segment, frame, self.restart)?;
        frame.take_tables(scan.components(), &self.quantization)?;
        let mut bits = BitReader::new(content);
        scan.decode(frame, &self.codes, &mut bits)?;
        Ok(bits.consumed())
    }
}

/// Marks and segments, one after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next mark; what stands before it is not looked at.
    fn marker(&mut self) -> Result<u8> {
        loop {
            let at = self.rest().iter().position(|byte| *byte == 0xFF);
            self.at += at.ok_or_else(|| damaged("it is cut off"))? + 1;
            match self.rest().first() {
                None => return Err(damaged("it is cut off")),
                Some(0xFF) => {}
                Some(0) => self.at += 1,
                Some(marker) => {
                    self.at += 1;
                    return Ok(*marker);
                }
            }
        }
    }

    fn segment(&mut self) -> Result<&'a [u8]> {
        let length = usize::from(word(self.rest(), 0)?);
        let segment = self.rest().get(2..length).ok_or_else(|| damaged("it is cut off"))?;
        self.at += length;
        Ok(segment)
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

fn damaged(reason: &str) -> Error {
    Error::Undecodable { format: "JPEG".to_owned(), reason: reason.to_owned() }
}

fn byte(bytes: &[u8], at: usize) -> Result<u8> {
    bytes.get(at).copied().ok_or_else(|| damaged("a segment is too short"))
}

fn word(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_be_bytes([byte(bytes, at)?, byte(bytes, at + 1)?]))
}

/// Row by row, where the coefficients of a block lie that are stored along its diagonals.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

#[cfg(test)]
mod tests;
