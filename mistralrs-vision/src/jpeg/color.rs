//! From a frame's samples to RGB: sparser components spread out by triangles, and the change of colors
//! in 16-bit fixed point. Knows no codes.
//! Source: JFIF 1.02 for the colors; Adobe's APP14 for their order; Pillow's CMYK.

use super::frame::{Component, Frame};
use super::idct;
use crate::error::Result;
use crate::picture::Picture;
use rayon::prelude::*;

/// What a pixel's components are.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Colors {
    /// Brightness and two differences; and black, where there are four.
    Differences,
    /// Themselves: gray, RGB or inks.
    Plain,
    /// Themselves, but inks are stored the other way round, as Adobe does.
    Inverted,
}

impl Colors {
    /// What the marks of JFIF and of Adobe say, or the names of the components.
    pub(super) fn marked(components: &[Component], jfif: bool, adobe: Option<u8>) -> Self {
        let differences = match (components, adobe) {
            ([_, _, _], _) if jfif => true,
            ([_, _, _] | [_, _, _, _], Some(transform)) => transform != 0,
            ([a, b, c], None) => [a.id, b.id, c.id] != *b"RGB",
            _ => false,
        };
        if differences { Self::Differences } else { Self::Inverted }
    }
}

/// # Errors
/// If there is no pixel.
pub(super) fn to_rgb(frame: Frame, colors: Colors) -> Result<Option<Picture>> {
    let Frame { width, height, components, densest, .. } = frame;
    let planes: Vec<Plane> =
        components.into_iter().map(|component| Plane::new(component, densest)).collect();
    let mut rgb = vec![0u8; width * height * Picture::CHANNELS];
    rgb.par_chunks_mut(width * Picture::CHANNELS).enumerate().for_each(|(y, out)| {
        let rows: Vec<Vec<u8>> = planes.iter().map(|plane| plane.row(y)).collect();
        let pixels = out.chunks_exact_mut(Picture::CHANNELS).enumerate();
        let at = |row: &Vec<u8>, x: usize| row.get(x).copied().unwrap_or_default();
        pixels.for_each(|(x, pixel)| {
            let color = match rows.as_slice() {
                [a, b, c] if colors == Colors::Differences => {
                    from_differences([at(a, x), at(b, x), at(c, x)])
                }
                [a, b, c] => [at(a, x), at(b, x), at(c, x)],
                [a, b, c, k] => {
                    let (stored, k) = ([at(a, x), at(b, x), at(c, x)], at(k, x));
                    match colors {
                        Colors::Differences => under(from_differences(stored), k),
                        Colors::Plain => under(stored, 255 - k),
                        Colors::Inverted => under(stored.map(|ink| 255 - ink), k),
                    }
                }
                rows => [rows.first().map_or(0, |row| at(row, x)); 3],
            };
            pixel.copy_from_slice(&color);
        });
    });
    Picture::new(width as u32, height as u32, rgb).map(Some)
}

/// A component's samples.
struct Plane {
    /// `[size.1, size.0]`, and what fills up blocks behind each row.
    samples: Vec<u8>,
    stride: usize,
    size: (usize, usize),
    /// Pixels for which one sample stands, across and down.
    share: (usize, usize),
}

impl Plane {
    fn new(component: Component, densest: (usize, usize)) -> Self {
        let (across, down) = component.blocks;
        let stride = across * 8;
        let mut samples = vec![0u8; stride * down * 8];
        let quantization = component.quantization();
        let rows =
            samples.par_chunks_mut(stride * 8).zip(component.coefficients.par_chunks(across * 64));
        rows.for_each(|(samples, coefficients)| {
            for (x, block) in coefficients.chunks_exact(64).enumerate() {
                let block = idct::samples(block, &quantization);
                for (row, values) in samples.chunks_exact_mut(stride).zip(block.chunks_exact(8)) {
                    if let Some(place) = row.get_mut(x * 8..x * 8 + 8) {
                        place.copy_from_slice(values);
                    }
                }
            }
        });
        let share = (densest.0 / component.density.0, densest.1 / component.density.1);
        Self { samples, stride, size: component.size, share }
    }

    fn stored(&self, y: usize) -> &[u8] {
        let start = y.min(self.size.1.saturating_sub(1)) * self.stride;
        self.samples.get(start..start + self.size.0).unwrap_or_default()
    }

    /// A row of the picture; may be a little longer than it.
    fn row(&self, y: usize) -> Vec<u8> {
        let near = self.stored(y / self.share.1);
        // The row that is nearest behind the nearest: above an upper pixel, below a lower one.
        let far = match y % 2 {
            0 => self.stored((y / 2).saturating_sub(1)),
            _ => self.stored(y / 2 + 1),
        };
        let wide = self.size.0 > 2;
        match self.share {
            (1, 1) => near.to_vec(),
            (2, 1) if wide => across(&near.iter().map(|v| u32::from(*v)).collect::<Vec<_>>(), 1),
            (2, 2) if wide => {
                let mixed = near.iter().zip(far).map(|(near, far)| mix(*near, *far));
                across(&mixed.collect::<Vec<_>>(), 4)
            }
            (1, 2) => {
                let half = 1 + (y % 2) as u32;
                let mixed = near.iter().zip(far).map(|(near, far)| (mix(*near, *far) + half) / 4);
                mixed.map(|value| value as u8).collect()
            }
            (times, _) => near.iter().flat_map(|v| std::iter::repeat_n(*v, times)).collect(),
        }
    }
}

fn mix(near: u8, far: u8) -> u32 {
    3 * u32::from(near) + u32::from(far)
}

/// Two for one: three parts of the nearer and one of the farther, which at the ends is the same. The
/// values are `unit` times as large. A half is rounded up and down in turn.
fn across(values: &[u32], unit: u32) -> Vec<u8> {
    let half = 2 * unit;
    let (even, odd) = if unit == 1 { (half - 1, half) } else { (half, half - 1) };
    let at = |i: usize| values.get(i).copied().unwrap_or_default();
    let last = values.len().saturating_sub(1);
    let mut out = Vec::with_capacity(2 * values.len());
    for (i, near) in values.iter().enumerate() {
        let (before, behind) = (at(i.saturating_sub(1)), at((i + 1).min(last)));
        out.push(((3 * near + before + even) / (4 * unit)) as u8);
        out.push(((3 * near + behind + odd) / (4 * unit)) as u8);
    }
    out
}

const BITS: u32 = 16;
const HALF: i32 = 1 << (BITS - 1);

/// In 16 bits.
const fn fixed(value: f64) -> i32 {
    (value * (1 << BITS) as f64 + 0.5) as i32
}

/// Brightness and the differences to blue and red → red, green and blue.
fn from_differences([brightness, blue, red]: [u8; 3]) -> [u8; 3] {
    let (blue, red) = (i32::from(blue) - 128, i32::from(red) - 128);
    let more = [
        (fixed(1.402) * red + HALF) >> BITS,
        (HALF - fixed(0.34414) * blue - fixed(0.71414) * red) >> BITS,
        (fixed(1.772) * blue + HALF) >> BITS,
    ];
    more.map(|more| (i32::from(brightness) + more).clamp(0, 255) as u8)
}

/// What cyan, magenta and yellow leave of the light that black lets through.
pub(crate) fn under(inks: [u8; 3], light: u8) -> [u8; 3] {
    inks.map(|ink| {
        let taken = u32::from(ink) * u32::from(light) + 128;
        light.saturating_sub((((taken >> 8) + taken) >> 8) as u8)
    })
}
