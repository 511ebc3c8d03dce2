//! The picture that a file's scans fill: its components with their coefficients. Knows no codes.
//! Source: ITU-T T.81, annexes A and B.

use super::{byte, damaged, word};
use crate::error::{Error, Result};

/// A picture of coefficients.
pub(super) struct Frame {
    pub width: usize,
    pub height: usize,
    pub progressive: bool,
    /// One, three or four.
    pub components: Vec<Component>,
    /// The most samples that a component has where another has one, across and down.
    pub densest: (usize, usize),
}

/// One color's values.
pub(super) struct Component {
    pub id: u8,
    /// Samples where the sparsest possible component has one, across and down.
    pub density: (usize, usize),
    /// Samples that belong to the picture, across and down.
    pub size: (usize, usize),
    /// Blocks of 8 × 8, in whole groups, across and down.
    pub blocks: (usize, usize),
    /// `[blocks down, blocks across, 8, 8]`, before quantization is undone.
    pub coefficients: Vec<i16>,
    /// The number of its table, and the table as it was when the first scan began.
    quantization: (u8, Option<[u16; 64]>),
}

impl Frame {
    /// None for kinds that are left to others.
    ///
    /// # Errors
    /// [`Error::Undecodable`], [`Error::TooManyPixels`].
    pub fn read(segment: &[u8], progressive: bool, max_pixels: u64) -> Result<Option<Self>> {
        let (height, width) = (word(segment, 1)?, word(segment, 3)?);
        let count = usize::from(byte(segment, 5)?);
        if byte(segment, 0)? != 8 || height == 0 || !matches!(count, 1 | 3 | 4) {
            return Ok(None);
        }
        if width == 0 {
            return Err(Error::Empty("image"));
        }
        if u64::from(width) * u64::from(height) > max_pixels {
            let (width, height) = (u32::from(width), u32::from(height));
            return Err(Error::TooManyPixels { width, height, limit: max_pixels });
        }
        let (width, height) = (usize::from(width), usize::from(height));
        let mut heads = Vec::with_capacity(count);
        for i in 0..count {
            let density = byte(segment, 7 + 3 * i)?;
            let density = (usize::from(density >> 4), usize::from(density & 15));
            if !(1..=4).contains(&density.0) || !(1..=4).contains(&density.1) {
                return Err(damaged("a component has an impossible density"));
            }
            heads.push((byte(segment, 6 + 3 * i)?, density, byte(segment, 8 + 3 * i)?));
        }
        let most = |of: fn(&(usize, usize)) -> usize| {
            heads.iter().map(|(_, density, _)| of(density)).max().unwrap_or(1)
        };
        let densest = (most(|d| d.0), most(|d| d.1));
        let groups = (width.div_ceil(8 * densest.0), height.div_ceil(8 * densest.1));
        let component = |(id, density, table): (u8, (usize, usize), u8)| {
            let blocks = (groups.0 * density.0, groups.1 * density.1);
            Component {
                id,
                density,
                size: (
                    (width * density.0).div_ceil(densest.0),
                    (height * density.1).div_ceil(densest.1),
                ),
                blocks,
                coefficients: vec![0; blocks.0 * blocks.1 * 64],
                quantization: (table, None),
            }
        };
        let even = heads.iter().all(|(_, density, _)| {
            densest.0.is_multiple_of(density.0) && densest.1.is_multiple_of(density.1)
        });
        let components = || heads.into_iter().map(component).collect();
        Ok(even.then(|| Self { width, height, progressive, components: components(), densest }))
    }

    /// Keeps the tables of components whose first scan begins.
    ///
    /// # Errors
    /// [`Error::Undecodable`] if there is none.
    pub fn take_tables(
        &mut self,
        components: impl Iterator<Item = usize>,
        tables: &[Option<[u16; 64]>; 4],
    ) -> Result<()> {
        for number in components {
            let Some(component) = self.components.get_mut(number) else { continue };
            let (table, taken) = &mut component.quantization;
            if taken.is_none() {
                let found = tables.get(usize::from(*table)).copied().flatten();
                *taken = Some(found.ok_or_else(|| damaged("a quantization table is missing"))?);
            }
        }
        Ok(())
    }
}

impl Component {
    /// Coefficient by coefficient; zeros if no scan ever came.
    pub fn quantization(&self) -> [u16; 64] {
        self.quantization.1.unwrap_or([0; 64])
    }

    /// The block at a place.
    pub fn block(&mut self, across: usize, down: usize) -> Option<&mut [i16; 64]> {
        let at = (down * self.blocks.0 + across) * 64;
        self.coefficients.get_mut(at..at + 64)?.try_into().ok()
    }
}
