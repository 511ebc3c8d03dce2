//! Brightness and differences in TIFF that is no JPEG → RGB, to the step of 255 as Pillow has it, which converts
//! what is not compressed itself and leaves the rest to libtiff: two arithmetics. Knows nothing of how samples
//! are stored.

use super::{Reader, damaged};
use crate::error::Result;
use tiff::decoder::ifd::Value;
use tiff::tags::{CompressionMethod, Tag};

/// What each of a pixel's three bytes adds to the colors.
pub(super) struct Differences {
    brightness: [i32; 256],
    red: [i32; 256],
    /// Of the difference to blue, then of that to red; in a unit of 2 to the power of minus `bits`.
    green: [[i32; 256]; 2],
    blue: [i32; 256],
    bits: u32,
}

impl Differences {
    /// # Errors
    /// If the file's numbers cannot be.
    pub fn read(decoder: &mut Reader<'_>, compression: Option<CompressionMethod>) -> Result<Self> {
        if matches!(compression, None | Some(CompressionMethod::None)) {
            return Ok(Self::plain());
        }
        const COEFFICIENTS: u16 = 529;
        const BLACK_AND_WHITE: u16 = 532;
        let parts = fractions(decoder, COEFFICIENTS)?.unwrap_or([0.299, 0.587, 0.114]);
        let ends =
            fractions(decoder, BLACK_AND_WHITE)?.unwrap_or([0., 255., 128., 255., 128., 255.]);
        if parts[1] == 0. || parts.iter().chain(&ends).any(|number| !number.is_finite()) {
            return Err(damaged("its coefficients of brightness cannot be"));
        }
        Ok(Self::of_libtiff(parts, ends))
    }

    /// Pillow's: six bits behind the point.
    fn plain() -> Self {
        const BITS: u32 = 6;
        let table = |share: f64| {
            every(|i| (share * f64::from(i - 128) * f64::from(1 << BITS) + 0.5) as i32)
        };
        Self {
            brightness: every(|i| i),
            red: table(1.402).map(|value| value >> BITS),
            green: [table(-0.34414), table(-0.71414)],
            blue: table(1.772).map(|value| value >> BITS),
            bits: BITS,
        }
    }

    /// libtiff's: sixteen bits, after the range between black and white was stretched.
    fn of_libtiff(parts: [f32; 3], ends: [f32; 6]) -> Self {
        const BITS: u32 = 16;
        const HALF: i32 = 1 << (BITS - 1);
        let fixed =
            |value: f32| (f64::from(value.clamp(0., 2.)) * f64::from(1 << BITS) + 0.5) as i32;
        let [red, green, blue] = parts;
        let [red_more, blue_more] = [red, blue].map(|part| 2. - 2. * part);
        let [black, white, blue_black, blue_white, red_black, red_white] = ends;
        let stretched = |value: i32, black: f32, white: f32, range: f32| {
            let width = if white == black { 1. } else { white - black };
            (value.wrapping_sub(black as i32) as f32 * range / width).clamp(-4096., 4096.) as i32
        };
        let of_blue = every(|i| stretched(i - 128, blue_black - 128., blue_white - 128., 127.));
        let of_red = every(|i| stretched(i - 128, red_black - 128., red_white - 128., 127.));
        let rounded = |share: i32, values: [i32; 256]| {
            values.map(|value| (share.wrapping_mul(value).wrapping_add(HALF)) >> BITS)
        };
        let green_of_blue = fixed(blue * blue_more / green);
        let green_of_red = fixed(red * red_more / green);
        Self {
            brightness: every(|i| stretched(i, black, white, 255.)),
            red: rounded(fixed(red_more), of_red),
            green: [
                of_blue.map(|value| HALF.wrapping_sub(green_of_blue.wrapping_mul(value))),
                of_red.map(|value| 0i32.wrapping_sub(green_of_red.wrapping_mul(value))),
            ],
            blue: rounded(fixed(blue_more), of_blue),
            bits: BITS,
        }
    }

    pub fn color(&self, [brightness, blue, red]: [u8; 3]) -> [u8; 3] {
        let [brightness, blue, red] = [brightness, blue, red].map(usize::from);
        let [of_blue, of_red] = &self.green;
        let more =
            [self.red[red], of_blue[blue].wrapping_add(of_red[red]) >> self.bits, self.blue[blue]];
        more.map(|more| (self.brightness[brightness] + more).clamp(0, 255) as u8)
    }
}

fn every(value: impl Fn(i32) -> i32) -> [i32; 256] {
    std::array::from_fn(|i| value(i as i32))
}

/// A tag's numbers, each of which is a fraction, if it is there.
fn fractions<const N: usize>(decoder: &mut Reader<'_>, tag: u16) -> Result<Option<[f32; N]>> {
    let value = decoder.find_tag(Tag::from_u16_exhaustive(tag)).map_err(damaged)?;
    let Some(value) = value else { return Ok(None) };
    let values = match value {
        Value::List(values) => values,
        value => vec![value],
    };
    let fraction = |value| match value {
        Value::Rational(above, below) => Some((f64::from(above) / f64::from(below)) as f32),
        _ => None,
    };
    let fractions = values.into_iter().map(fraction).collect::<Option<Vec<f32>>>();
    match fractions.and_then(|fractions| <[f32; N]>::try_from(fractions).ok()) {
        Some(fractions) => Ok(Some(fractions)),
        None => Err(damaged("a tag has other numbers than it should")),
    }
}
