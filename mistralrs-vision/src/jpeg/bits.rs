//! Bits of a scan, and the codes they are written in. Knows no coefficient.
//! Source: ITU-T T.81, annexes C and F.

use super::{byte, damaged};
use crate::error::Result;

/// Reads from the highest bit of each byte on, up to the next mark.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next byte that is not in `buffer`.
    at: usize,
    /// The `count` bits to come, in the highest places; zeros behind them.
    buffer: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, count: 0 }
    }

    /// Bytes up to the mark that ends the scan.
    pub fn consumed(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match self.bytes.get(self.at..) {
                // A zero is stuffed behind a byte of ones; anything else makes a mark of it.
                Some([0xFF, 0, ..]) => {
                    self.at += 1;
                    0xFF
                }
                Some([0xFF, ..] | []) | None => return,
                Some([byte, ..]) => *byte,
            };
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits, with zeros behind the last.
    fn peek(&mut self) -> usize {
        if self.count < 16 {
            self.fill();
        }
        (self.buffer >> 48) as usize
    }

    fn skip(&mut self, count: u32) -> Result<()> {
        if count > self.count {
            return Err(damaged("a scan ends too early"));
        }
        self.buffer <<= count;
        self.count -= count;
        Ok(())
    }

    /// At most 16 bits as a number.
    pub fn bits(&mut self, count: u32) -> Result<u32> {
        let value = self.peek() >> (16 - count.min(16));
        self.skip(count)?;
        Ok(value as u32)
    }

    /// A number of that many bits whose highest bit says its sign.
    pub fn signed(&mut self, count: u32) -> Result<i32> {
        if count == 0 {
            return Ok(0);
        }
        let value = self.bits(count)? as i32;
        let half = 1i32 << (count - 1);
        Ok(if value < half { value + 1 - 2 * half } else { value })
    }

    /// The next number in a code.
    pub fn symbol(&mut self, table: &HuffmanTable) -> Result<u8> {
        let bits = self.peek();
        let (length, symbol) = table.find(bits).ok_or_else(|| damaged("a code is none"))?;
        self.skip(length)?;
        Ok(symbol)
    }

    /// Begins anew behind the next mark, which has to be one of those for it.
    pub fn restart(&mut self) -> Result<()> {
        (self.buffer, self.count) = (0, 0);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mark = rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF));
        let mark =
            mark.filter(|at| rest.get(at + 1).is_some_and(|mark| (0xD0..=0xD7).contains(mark)));
        self.at += mark.ok_or_else(|| damaged("a restart mark is missing"))? + 2;
        Ok(())
    }
}

const QUICK: u32 = 9;

/// A code, by its first bits and, for long ones, by length.
pub(super) struct HuffmanTable {
    /// For the next [`QUICK`] bits: length and number; a length of 0 where the code is longer.
    quick: Box<[(u8, u8); 1 << QUICK]>,
    /// Per length from 1: the first 16 bits behind the last code of it, and what to add to a code of it
    /// to find its number.
    lengths: [(u32, i32); 16],
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// Also the bytes it took.
    pub fn read(content: &[u8]) -> Result<(Self, usize)> {
        let mut symbols_of = [0usize; 16];
        for (i, count) in symbols_of.iter_mut().enumerate() {
            *count = usize::from(byte(content, i)?);
        }
        let total = symbols_of.iter().sum::<usize>();
        let symbols = content.get(16..16 + total).filter(|symbols| symbols.len() <= 256);
        let symbols = symbols.ok_or_else(|| damaged("a table of codes is too short"))?.to_vec();
        let mut quick = Box::new([(0u8, 0u8); 1 << QUICK]);
        let mut lengths = [(0u32, 0i32); 16];
        let (mut code, mut first) = (0u32, 0usize);
        for (length, count) in (1u32..).zip(symbols_of) {
            if let Some(entry) = lengths.get_mut(length as usize - 1) {
                *entry = ((code + count as u32) << (16 - length), first as i32 - code as i32);
            }
            for symbol in symbols.iter().skip(first).take(count) {
                if code >> length != 0 {
                    return Err(damaged("a table has more codes than there are"));
                }
                if length <= QUICK {
                    let start = (code << (QUICK - length)) as usize;
                    let places = quick.iter_mut().skip(start).take(1 << (QUICK - length));
                    places.for_each(|place| *place = (length as u8, *symbol));
                }
                code += 1;
            }
            first += count;
            code <<= 1;
        }
        Ok((Self { quick, lengths, symbols }, 16 + total))
    }

    /// Length and number of the code that 16 bits begin with.
    fn find(&self, bits: usize) -> Option<(u32, u8)> {
        if let Some((length @ 1.., symbol)) = self.quick.get(bits >> (16 - QUICK)) {
            return Some((u32::from(*length), *symbol));
        }
        let of_length = |length: u32| {
            let (end, offset) = *self.lengths.get(length as usize - 1)?;
            if bits as u32 >= end {
                return None;
            }
            let code = (bits >> (16 - length)) as i32;
            Some((length, *self.symbols.get(usize::try_from(code + offset).ok()?)?))
        };
        (QUICK + 1..=16).find_map(of_length)
    }
}
