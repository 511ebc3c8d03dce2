//! Resizing with antialiasing, to the bit as torchvision does it on 8-bit tensors: first along rows,
//! then along columns, weights in 16-bit fixed point, each pass rounded to 8 bits. The fast way is the
//! crate `fast_image_resize`; the slow twin in the tests spells the arithmetic out.

use crate::error::{Error, Result};
use crate::picture::Picture;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use std::borrow::Cow;

/// The kernel. Pillow's numbers stand in `preprocessor_config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Three lobes (Pillow: 1).
    Lanczos,
    /// A triangle (2).
    Bilinear,
    /// Keys' cubic with a = −½ (3).
    Bicubic,
}

impl Filter {
    /// By Pillow's number.
    ///
    /// # Errors
    /// [`Error::Config`] for the others.
    pub fn from_pillow(number: u64) -> Result<Self> {
        match number {
            1 => Ok(Self::Lanczos),
            2 => Ok(Self::Bilinear),
            3 => Ok(Self::Bicubic),
            other => Err(Error::Config(format!(
                "`resample` is {other}; it has to be 1 (lanczos), 2 (bilinear) or 3 (bicubic)"
            ))),
        }
    }

    fn kernel(self) -> FilterType {
        match self {
            Self::Lanczos => FilterType::Lanczos3,
            Self::Bilinear => FilterType::Bilinear,
            Self::Bicubic => FilterType::CatmullRom,
        }
    }
}

/// A picture in another size; the same bytes if the size is the same.
///
/// # Errors
/// [`Error::Invalid`] for a size of zero.
pub fn resize(picture: &Picture, size: (u32, u32), filter: Filter) -> Result<Picture> {
    resized(picture, size, filter).map(Cow::into_owned)
}

/// [`resize`] without a copy where there is nothing to do.
///
/// # Errors
/// [`Error::Invalid`] for a size of zero.
pub(crate) fn resized(
    picture: &Picture,
    (width, height): (u32, u32),
    filter: Filter,
) -> Result<Cow<'_, Picture>> {
    if (picture.width(), picture.height()) == (width, height) {
        return Ok(Cow::Borrowed(picture));
    }
    // One pass per call: with both at once the crate begins with the columns.
    let mut resizer = Resizer::new();
    let rows = pass(&mut resizer, picture, (width, picture.height()), filter)?;
    pass(&mut resizer, rows.as_ref().unwrap_or(picture), (width, height), filter)
        .map(|columns| columns.or(rows))?
        .map(Cow::Owned)
        .ok_or(Error::Empty("image"))
}

/// None if there is nothing to do.
fn pass(
    resizer: &mut Resizer,
    picture: &Picture,
    (width, height): (u32, u32),
    filter: Filter,
) -> Result<Option<Picture>> {
    if (picture.width(), picture.height()) == (width, height) {
        return Ok(None);
    }
    let invalid = |error: &dyn std::fmt::Display| Error::Invalid(format!("resizing: {error}"));
    let source = ImageRef::new(picture.width(), picture.height(), picture.rgb(), PixelType::U8x3)
        .map_err(|e| invalid(&e))?;
    let mut target = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter.kernel()));
    resizer.resize(&source, &mut target, &options).map_err(|e| invalid(&e))?;
    Picture::new(width, height, target.into_vec()).map(Some)
}

#[cfg(test)]
mod tests;
