//! Limits, formats and what becomes of colors; the pictures are made here. Values that Pillow gives
//! stand in the goldens of `tests/it`.

use super::*;
use ::gif::{Encoder, Frame};
use ::tiff::encoder::{TiffEncoder, colortype};
use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let (image, mut file) = (image.into(), Cursor::new(Vec::new()));
    let (width, height) = (image.width(), image.height());
    match format {
        ImageFormat::Gif => {
            let frame = Frame::from_rgb(width as u16, height as u16, image.to_rgb8().as_raw());
            return animation(&[frame]);
        }
        ImageFormat::Tiff => {
            let mut encoder = TiffEncoder::new(&mut file).unwrap();
            let rgb = image.to_rgb8();
            encoder.write_image::<colortype::RGB8>(width, height, rgb.as_raw()).unwrap();
        }
        _ => image.write_to(&mut file, format).unwrap(),
    }
    file.into_inner()
}

fn animation(frames: &[Frame]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, frames[0].width, frames[0].height, &[]).unwrap();
    for frame in frames {
        encoder.write_frame(frame).unwrap();
    }
    drop(encoder);
    file
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
    let frames = [0u8, 60, 120, 180].map(|red| {
        let frame = Frame::from_palette_pixels(6, 5, vec![0; 30], vec![red, 0, 0], None);
        Frame { delay: 25, ..frame }
    });
    let file = animation(&frames);
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

/// What a GIF's first frame and a TIFF's tiles add to a picture counts before it is allocated; so do the
/// pieces of a TIFF, which may lie over each other.
#[test]
fn what_reaches_beyond_a_picture_has_limits_too() {
    let gif = |frames: &[(u16, u16)]| {
        let mut file = b"GIF89a\x05\0\x05\0\x80\0\0\0\0\0\xFF\xFF\xFF".to_vec();
        for (left, side) in frames {
            file.extend([0x2C]);
            file.extend([*left, 0, *side, *side].iter().flat_map(|word| word.to_le_bytes()));
            file.extend([0, 2, 2, 0x44, 0x01, 0]);
        }
        file.push(0x3B);
        file
    };
    let limits = Limits { max_pixels: 10_000, ..Limits::default() };
    assert_eq!(decode(&gif(&[(5, 1)]), &limits).unwrap().width(), 6);
    for frame in [(60_000, 1), (0, 60_000), (u16::MAX, u16::MAX)] {
        let error = decode(&gif(&[frame]), &limits).unwrap_err();
        assert!(matches!(error, Error::TooManyPixels { limit: 10_000, .. }), "{error}");
    }
    let error = decode_frames(&gif(&[(0, 1), (0, 60_000)]), &limits).unwrap_err().to_string();
    assert!(error.contains("larger than the first"), "{error}");

    let tiff = |entries: &[(u16, u32)]| {
        let mut file = b"II*\0\x08\0\0\0".to_vec();
        file.extend((entries.len() as u16).to_le_bytes());
        for (tag, value) in entries {
            file.extend([tag.to_le_bytes(), [4, 0], [1, 0], [0, 0]].as_flattened());
            file.extend(value.to_le_bytes());
        }
        file.extend([0; 4]);
        file
    };
    // Width, height, bits, compression, meaning, samples; and width, height, start, length of a tile.
    let tiled = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (277, 1)];
    let tiles = [(322, 60_000), (323, 60_000), (324, 8), (325, 4)];
    let error = decode(&tiff(&[tiled.as_slice(), &tiles].concat()), &limits).unwrap_err();
    assert!(matches!(error, Error::TooManyPixels { limit: 10_000, .. }), "{error}");
    // JPEG in one strip that is longer than a file may be.
    let jpeg = [(256, 8), (257, 8), (258, 8), (259, 7), (262, 1), (277, 1)];
    let strips = [(273, 8), (278, 8), (279, 5000)];
    let limits = Limits { max_bytes: 4999, ..limits };
    let error = decode(&tiff(&[jpeg.as_slice(), &strips].concat()), &limits).unwrap_err();
    assert!(matches!(error, Error::TooManyBytes { limit: 4999, .. }), "{error}");
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

/// The bytes that stand in a text in hexadecimal.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.as_chunks().0.iter().map(|[high, low]| high << 4 | low).collect()
}

/// What a frame says of its disposal is 2, 0, nothing, 3, 0, 1, 0; then, with a transparent color, 1, 5, 0, 2,
/// nothing, 7, 0; then 1, 2, 0, 2, 2, 3, 1, with a transparent color in some frames, but not the first. The
/// colors are gray, the frames as Pillow shows them.
#[test]
fn what_frames_leave_unsaid_is_what_was_said_last() {
    let files = [
        "474946383961040002008101000a0a0a505050969696dcdcdc21f904080a0000002c00000000040002000002 \
         05d48831a2520021f904000a0000002c01000000020002000002031c9814002c000001000300010000020354 \
         88020021f9040c0a0000002c0000000004000200000205040870a0560021f904000a0000002c010000000200 \
         02000002034498140021f904040a0000002c00000100030001000002031cb8020021f904000a0000002c0000 \
         000004000200000205dc8850a154003b",
        "474946383961040002008101000a0a0a505050969696dcdcdc21f904050a0001002c00000000040002000002 \
         0514387161560021f904150a0001002c01000000020002000002030418150021f904010a0001002c00000100 \
         03000100000203c498020021f904090a0001002c000000000400020000020584b8712156002c010000000200 \
         0200000203d408140021f9041d0a0001002c00000100030001000002035498020021f904010a0001002c0000 \
         0000040002000002051ca8302352003b",
        "474946383961040002008101000a0a0a505050969696dcdcdc21f904040a0000002c00000000040002000002 \
         0504185121560021f904090a0001002c01000000020002000002031c88140021f904000a0000002c00000100 \
         03000100000203c4a8020021f904090a0002002c000000000400020000020554a81123520021f904090a0003 \
         002c0100000002000200000203dc88150021f9040c0a0000002c00000100030001000002035c98020021f904 \
         050a0001002c0000000004000200000205dca8106354003b",
    ];
    let wanted: [[[u8; 8]; 7]; 3] = [
        [
            [150, 220, 10, 220, 80, 150, 150, 80],
            [80, 220, 10, 80, 80, 80, 80, 80],
            [80, 80, 80, 80, 150, 80, 10, 80],
            [10, 10, 10, 10, 220, 10, 150, 220],
            [80, 10, 80, 80, 80, 80, 80, 80],
            [80, 80, 80, 80, 220, 10, 220, 80],
            [220, 220, 10, 80, 150, 80, 150, 150],
        ],
        [
            [150, 10, 220, 150, 220, 255, 255, 220],
            [150, 10, 10, 150, 220, 255, 150, 220],
            [150, 10, 220, 150, 10, 220, 255, 220],
            [10, 150, 220, 220, 220, 255, 10, 220],
            [255, 150, 220, 255, 255, 10, 10, 255],
            [255, 80, 80, 255, 150, 80, 80, 255],
            [220, 10, 150, 255, 255, 220, 10, 255],
        ],
        [
            [10, 10, 80, 150, 150, 80, 10, 220],
            [10, 220, 10, 150, 150, 10, 10, 220],
            [10, 80, 80, 150, 10, 220, 150, 220],
            [10, 80, 80, 220, 10, 220, 10, 80],
            [150, 150, 150, 150, 150, 10, 150, 150],
            [150, 220, 220, 150, 220, 80, 80, 150],
            [220, 220, 150, 150, 10, 220, 220, 150],
        ],
    ];
    for (file, wanted) in files.iter().zip(wanted) {
        let animation = decode_frames(&bytes(file), &Limits::default()).unwrap();
        assert_eq!(animation.frames.len(), wanted.len());
        for (i, (frame, wanted)) in animation.frames.iter().zip(wanted).enumerate() {
            let found: Vec<u8> = frame.rgb().iter().step_by(3).copied().collect();
            assert_eq!(found, wanted, "frame {i}");
        }
    }
}

/// Two frames, lossy with alpha: the decoder of another crate trusts the size that a frame says it has.
#[test]
fn a_frame_of_another_size_than_it_says_is_an_error() {
    let file = bytes(
        "52494646de00000057454250565038580a00000012000000010000000000414e494d06000000000000000000 \
         414e4d465400000000000000000001000000000064000002414c5048030000000028c8005650382030000000 \
         5001009d012a0200010003805a25a00004740000feeba5c70f048433fffe4a7ff795febbb70dffe857acbefa \
         34000000414e4d465600000000000000000001000000000064000002414c50480300000000ff140056503820 \
         320000005001009d012a0200010003805a25a00004740000fef11d4ede8eeaa2de1f2a0e129ff8777375eff3 \
         ffdd0f7d5e5499000000",
    );
    let limits = Limits::default();
    assert_eq!(decode_frames(&file, &limits).unwrap().frames.len(), 2);
    let frame = file.windows(4).position(|name| name == b"ANMF").unwrap();
    let mut damaged = file;
    damaged[frame + 14] -= 1;
    let errors = [decode(&damaged, &limits).err(), decode_frames(&damaged, &limits).err()];
    for error in errors {
        assert!(matches!(error, Some(Error::Undecodable { .. })), "{error:?}");
    }
}
