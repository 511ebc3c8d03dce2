//! Limits, formats and what becomes of colors; the pictures are made here. Values that Pillow gives
//! stand in the goldens of `tests/it`.

use super::*;
use image::codecs::gif::GifEncoder;
use image::{Delay, Frame, ImageBuffer, Luma, LumaA, Rgb, Rgba};

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.into().write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn decoded(bytes: &[u8]) -> Picture {
    decode(bytes, &Limits::default()).unwrap()
}

#[test]
fn lossless_formats_arrive_as_they_are() {
    let image = ImageBuffer::from_fn(5, 3, |x, y| Rgb([x as u8 * 50, y as u8 * 80, 7]));
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
        let picture = decoded(&encode(image.clone(), format));
        assert_eq!((picture.width(), picture.height()), (5, 3), "{format:?}");
        assert_eq!(picture.rgb(), image.as_raw().as_slice(), "{format:?}");
    }
}

#[test]
fn gray_and_deep_colors_become_rgb() {
    let gray = ImageBuffer::from_fn(2, 1, |x, _| Luma([x as u8 * 9]));
    assert_eq!(decoded(&encode(gray, ImageFormat::Png)).rgb(), [0, 0, 0, 9, 9, 9]);
    let deep = ImageBuffer::from_fn(1, 1, |_, _| Rgb([0x12FFu16, 0xFF00, 0x00FF]));
    assert_eq!(decoded(&encode(deep, ImageFormat::Png)).rgb(), [0x12, 0xFF, 0]);
    // Pillow's odd one: deep gray is clipped, not scaled.
    let deep = ImageBuffer::from_fn(2, 1, |x, _| Luma([if x == 0 { 200u16 } else { 5000 }]));
    assert_eq!(decoded(&encode(deep, ImageFormat::Png)).rgb(), [200, 200, 200, 255, 255, 255]);
}

#[test]
fn what_is_transparent_lies_on_white() {
    let image = ImageBuffer::from_fn(3, 1, |x, _| Rgba([0, 100, 255, [0u8, 128, 255][x as usize]]));
    let picture = decoded(&encode(image, ImageFormat::Png));
    assert_eq!(picture.rgb(), [255, 255, 255, 127, 177, 255, 0, 100, 255]);
    let image = ImageBuffer::from_fn(1, 1, |_, _| LumaA([0u8, 51]));
    assert_eq!(decoded(&encode(image, ImageFormat::Png)).rgb(), [204, 204, 204]);
}

#[test]
fn refusals_name_their_limit() {
    let png = encode(ImageBuffer::from_pixel(40, 30, Rgb([0u8; 3])), ImageFormat::Png);
    let refused = |bytes: &[u8], limits: Limits| decode(bytes, &limits).unwrap_err().to_string();
    let limits = Limits { max_pixels: 1199, ..Limits::default() };
    assert_eq!(refused(&png, limits), "the image has 40 × 30 pixels, the limit is 1199 pixels");
    let limits = Limits { max_bytes: 10, ..Limits::default() };
    assert!(refused(&png, limits).contains("the limit is 10 bytes"));
    assert_eq!(refused(&[], Limits::default()), "the image is empty");
    for text in ["hello", "GIF", "<svg></svg>", "%PDF-1.7", "\u{89}PNG"] {
        assert!(refused(text.as_bytes(), Limits::default()).contains("known are PNG"), "{text}");
    }
}

/// A header that claims 100 000 × 100 000 pixels costs nothing.
#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut png = encode(ImageBuffer::from_pixel(4, 4, Rgb([0u8; 3])), ImageFormat::Png);
    png[16..20].copy_from_slice(&100_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&100_000u32.to_be_bytes());
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = decode(&png, &Limits::default()).unwrap_err();
    assert!(matches!(error, Error::TooManyPixels { width: 100_000, .. }), "{error}");
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn every_cut_is_an_error_and_no_byte_panics() {
    let noise =
        ImageBuffer::from_fn(24, 17, |x, y| Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8]));
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
        ImageFormat::Gif,
    ] {
        let file = encode(noise.clone(), format);
        assert!(decode(&file, &Limits::default()).is_ok(), "{format:?}");
        for part in [2, 10, 25, 50, 75] {
            let cut = &file[..file.len() * part / 100];
            assert!(decode(cut, &Limits::default()).is_err(), "{format:?} cut to {part} %");
        }
        // Damage: any outcome but a panic.
        let limits = Limits { max_pixels: 1_000_000, ..Limits::default() };
        for at in 0..file.len().min(400) {
            for value in [0, 0x7F, 0xFF] {
                let mut damaged = file.clone();
                damaged[at] = value;
                let _ = decode(&damaged, &limits);
                let _ = decode_frames(&damaged, &limits);
            }
        }
    }
}

#[test]
fn an_animation_has_frames_and_a_speed() {
    let mut file = Vec::new();
    let mut encoder = GifEncoder::new(&mut file);
    for i in 0..4u8 {
        let image = ImageBuffer::from_pixel(6, 5, Rgba([i * 60, 0, 0, 255]));
        let delay = Delay::from_numer_denom_ms(250, 1);
        encoder.encode_frame(Frame::from_parts(image, 0, 0, delay)).unwrap();
    }
    drop(encoder);
    let animation = decode_frames(&file, &Limits::default()).unwrap();
    assert_eq!(animation.frames.len(), 4);
    assert_eq!(animation.fps, Some(4.));
    let reds: Vec<u8> = animation.frames.iter().map(|frame| frame.rgb()[0]).collect();
    assert_eq!(reds, [0, 60, 120, 180]);
    assert_eq!(decoded(&file), animation.frames[0]);
    let limits = Limits { max_frames: 3, ..Limits::default() };
    let error = decode_frames(&file, &limits).unwrap_err();
    assert!(matches!(error, Error::TooManyFrames { limit: 3 }), "{error}");
}

/// Frames of one pixel each, on a large canvas: fifteen bytes a frame.
#[test]
fn an_animation_of_few_bytes_and_many_pixels_is_refused() {
    let side = 1000u16.to_le_bytes();
    let screen = [b"GIF89a".as_slice(), &side, &side, &[0x80, 0, 0]].concat();
    let colors = [0, 0, 0, 255, 255, 255];
    let frame = [0x2C, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 0x01, 0];
    let file = |frames| [&screen, colors.as_slice(), &frame.repeat(frames), &[0x3B]].concat();
    let limits = Limits { max_clip_pixels: 2_999_999, ..Limits::default() };
    assert_eq!(decode_frames(&file(2), &limits).unwrap().frames.len(), 2);
    let error = decode_frames(&file(100), &limits).unwrap_err();
    assert!(matches!(error, Error::TooLargeClip { limit: 2_999_999 }), "{error}");
    // The same of a list of stills.
    let still = encode(ImageBuffer::from_pixel(40, 30, Rgb([0u8; 3])), ImageFormat::Png);
    let limits = Limits { max_clip_pixels: 2400, ..Limits::default() };
    let stills = |count| Animation::from_files(&vec![still.as_slice(); count], None, &limits);
    assert_eq!(stills(2).unwrap().frames.len(), 2);
    assert!(matches!(stills(3).unwrap_err(), Error::TooLargeClip { limit: 2400 }));
}

/// Camera files are turned by a note in their EXIF data.
#[test]
fn the_orientation_is_applied() {
    let image = ImageBuffer::from_fn(16, 8, |x, _| Rgb([if x < 8 { 250u8 } else { 5 }; 3]));
    let jpeg = encode(image, ImageFormat::Jpeg);
    let mut exif =
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let mut turned = jpeg[..2].to_vec();
    turned.extend([0xFF, 0xE1]);
    turned.extend((exif.len() as u16 + 2).to_be_bytes());
    turned.append(&mut exif);
    turned.extend(&jpeg[2..]);
    let picture = decoded(&turned);
    assert_eq!((picture.width(), picture.height()), (8, 16));
    assert!(picture.row(1)[0] > 200 && picture.row(14)[0] < 50, "the light half is on top");
}
