//! One scan: which components and coefficients it brings, and reading them. Knows codes and blocks, no
//! sample. Source: ITU-T T.81, annexes F and G.

use super::bits::{BitReader, HuffmanTable};
use super::frame::Frame;
use super::{ZIGZAG, byte, damaged};
use crate::error::Result;

/// What a scan's head says.
pub(super) struct Scan {
    /// Number of the component, and of its codes for DC and AC.
    parts: Vec<(usize, [usize; 2])>,
    /// The first and last coefficient along the diagonals.
    band: (usize, usize),
    /// Whether another scan has brought higher bits.
    refines: bool,
    /// The lowest bit that it brings.
    shift: u32,
    restart: usize,
    progressive: bool,
}

type Codes = [[Option<HuffmanTable>; 4]; 2];

/// What goes from block to block.
#[derive(Default)]
struct Run {
    /// Per part.
    last_dc: [i32; 4],
    /// Blocks to come that have nothing new.
    empty: u32,
}

impl Scan {
    pub fn read(segment: &[u8], frame: &Frame, restart: usize) -> Result<Self> {
        let count = usize::from(byte(segment, 0)?);
        if !(1..=frame.components.len()).contains(&count) {
            return Err(damaged("a scan has an impossible number of components"));
        }
        let mut parts: Vec<(usize, [usize; 2])> = Vec::with_capacity(count);
        for i in 0..count {
            let (id, codes) = (byte(segment, 1 + 2 * i)?, byte(segment, 2 + 2 * i)?);
            let number = frame.components.iter().position(|component| component.id == id);
            let number = number.filter(|number| parts.iter().all(|(other, _)| other != number));
            let number = number.ok_or_else(|| damaged("a scan has a component that is none"))?;
            parts.push((number, [usize::from(codes >> 4), usize::from(codes & 15)]));
        }
        let tail = |i: usize| byte(segment, 1 + 2 * count + i).map(usize::from);
        let (first, last, bits) = match frame.progressive {
            true => (tail(0)?, tail(1)?, tail(2)?),
            false => (0, 63, 0),
        };
        let (higher, shift) = (bits >> 4, bits & 15);
        let alone = first == 0 || count == 1;
        let dc_alone = !frame.progressive || first > 0 || last == 0;
        let sane = first <= last && last < 64 && shift <= 13 && alone && dc_alone;
        if !sane || (higher != 0 && higher != shift + 1) {
            return Err(damaged("a scan says impossible things"));
        }
        Ok(Self {
            parts,
            band: (first, last),
            refines: higher != 0,
            shift: shift as u32,
            restart,
            progressive: frame.progressive,
        })
    }

    /// Numbers of its components.
    pub fn components(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|(number, _)| *number)
    }

    /// Fills in what it brings.
    pub fn decode(&self, frame: &mut Frame, codes: &Codes, bits: &mut BitReader<'_>) -> Result<()> {
        let mut run = Run::default();
        let groups = self.groups(frame);
        for group in 0..groups.0 * groups.1 {
            if self.restart > 0 && group > 0 && group.is_multiple_of(self.restart) {
                bits.restart()?;
                run = Run::default();
            }
            let (across, down) = (group % groups.0, group / groups.0);
            for (part, (number, tables)) in self.parts.iter().enumerate() {
                let Some(component) = frame.components.get_mut(*number) else { continue };
                // A component by itself comes block by block, several come in groups.
                let (w, h) = if self.parts.len() == 1 { (1, 1) } else { component.density };
                for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
                    let Some(block) = component.block(across * w + x, down * h + y) else {
                        continue;
                    };
                    self.block(block, part, &mut run, (&mut *bits, table(codes, tables)))?;
                }
            }
        }
        Ok(())
    }

    /// How many blocks, or groups of them, across and down.
    fn groups(&self, frame: &Frame) -> (usize, usize) {
        match self.parts.as_slice() {
            [(number, _)] => {
                let size = frame.components.get(*number).map_or((0, 0), |component| component.size);
                (size.0.div_ceil(8), size.1.div_ceil(8))
            }
            _ => {
                let (w, h) = frame.densest;
                (frame.width.div_ceil(8 * w), frame.height.div_ceil(8 * h))
            }
        }
    }

    fn block(
        &self,
        block: &mut [i16; 64],
        part: usize,
        run: &mut Run,
        (bits, [dc, ac]): (&mut BitReader<'_>, [Option<&HuffmanTable>; 2]),
    ) -> Result<()> {
        let missing = || damaged("a table of codes is missing");
        if self.band.0 == 0 {
            match self.refines {
                true if bits.bits(1)? == 1 => block[0] |= 1 << self.shift,
                true => {}
                false => {
                    let table = dc.ok_or_else(missing)?;
                    let length = u32::from(bits.symbol(table)?);
                    if length > 15 {
                        return Err(damaged("a number is too long"));
                    }
                    let Some(last) = run.last_dc.get_mut(part) else { return Ok(()) };
                    *last = last.wrapping_add(bits.signed(length)?);
                    block[0] = (*last << self.shift) as i16;
                }
            }
        }
        if self.band.1 == 0 {
            return Ok(());
        }
        let table = ac.ok_or_else(missing)?;
        match self.refines {
            true => self.refine(block, &mut run.empty, bits, table),
            false => self.first(block, &mut run.empty, bits, table),
        }
    }

    /// The coefficients of a band for the first time.
    fn first(
        &self,
        block: &mut [i16; 64],
        empty: &mut u32,
        bits: &mut BitReader<'_>,
        table: &HuffmanTable,
    ) -> Result<()> {
        if *empty > 0 {
            *empty -= 1;
            return Ok(());
        }
        let mut at = self.band.0.max(1);
        while at <= self.band.1 {
            let symbol = bits.symbol(table)?;
            let (zeros, length) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if length == 0 {
                if zeros < 15 {
                    *empty = self.more_empty(zeros, bits)? - 1;
                    break;
                }
                at += 16;
                continue;
            }
            at += zeros as usize;
            let value = bits.signed(length)?;
            let place = ZIGZAG.get(at).filter(|_| at <= self.band.1);
            let place = place.ok_or_else(|| damaged("a block has more than 64 numbers"))?;
            block[usize::from(*place)] = (value << self.shift) as i16;
            at += 1;
        }
        Ok(())
    }

    /// How many blocks have nothing more, this one included.
    fn more_empty(&self, length: u32, bits: &mut BitReader<'_>) -> Result<u32> {
        match self.progressive {
            true => Ok((1 << length) + bits.bits(length)?),
            false => Ok(1),
        }
    }

    /// One bit more of the coefficients of a band.
    fn refine(
        &self,
        block: &mut [i16; 64],
        empty: &mut u32,
        bits: &mut BitReader<'_>,
        table: &HuffmanTable,
    ) -> Result<()> {
        let one = 1i16 << self.shift;
        let mut at = self.band.0;
        while *empty == 0 && at <= self.band.1 {
            let symbol = bits.symbol(table)?;
            let (mut zeros, length) = (symbol >> 4, symbol & 15);
            let new = match length {
                0 if zeros < 15 => {
                    *empty = self.more_empty(u32::from(zeros), bits)?;
                    break;
                }
                0 => 0,
                _ if bits.bits(1)? == 1 => one,
                _ => -one,
            };
            // Over that many zeros, and to the next.
            for place in ZIGZAG.iter().take(self.band.1 + 1).skip(at) {
                at += 1;
                let number = &mut block[usize::from(*place)];
                if *number != 0 {
                    sharpen(number, one, bits)?;
                } else if zeros == 0 {
                    *number = new;
                    break;
                } else {
                    zeros -= 1;
                }
            }
        }
        if *empty > 0 {
            *empty -= 1;
            for place in ZIGZAG.iter().take(self.band.1 + 1).skip(at) {
                let number = &mut block[usize::from(*place)];
                if *number != 0 {
                    sharpen(number, one, bits)?;
                }
            }
        }
        Ok(())
    }
}

/// A number that has been there gets its next bit.
fn sharpen(number: &mut i16, one: i16, bits: &mut BitReader<'_>) -> Result<()> {
    if bits.bits(1)? == 1 && *number & one == 0 {
        *number = number.wrapping_add(if *number >= 0 { one } else { -one });
    }
    Ok(())
}

fn table<'a>(codes: &'a Codes, tables: &[usize; 2]) -> [Option<&'a HuffmanTable>; 2] {
    let [dc, ac] = codes;
    [dc.get(tables[0]).and_then(Option::as_ref), ac.get(tables[1]).and_then(Option::as_ref)]
}
