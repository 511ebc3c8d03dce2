"""Image files that few programs write, for scripts/make_vision_goldens.py: rare depths and orders of
pixels, transparent colors, frames that do not fill their canvas, kinds that nobody has to read."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SIDE = (11, 9)


def unusual_images(drawn):
    """Files by name. `drawn(width, height, frame)` draws a picture."""
    rng = np.random.default_rng(3)
    return {**pngs(rng), **bmps(rng), **gifs(rng), **webps(drawn), **tiffs(drawn, rng), **clear_webps(rng)}


def saved(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def png(depth, color_type, values, chunks=(), interlaced=False):
    """A file of values `[height, width]` or `[height, width, samples]`."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    def row(values):
        if depth >= 8:
            return b"\0" + values.astype(">u2" if depth == 16 else np.uint8).tobytes()
        return b"\0" + packed(values, depth)

    height, width = values.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [row(line) for x, y, across, down in passes for line in values[y::down, x::across] if line.size]
    head = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, int(interlaced))
    content = [chunk(b"IHDR", head), *(chunk(*it) for it in chunks), chunk(b"IDAT", zlib.compress(b"".join(rows)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(content) + chunk(b"IEND", b"")


def packed(values, depth):
    """Several values in a byte, the first one highest."""
    bits = "".join(format(int(value), f"0{depth}b") for value in values.ravel())
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def pngs(rng):
    width, height = SIDE
    files = {}
    for depth in (1, 2, 4, 8, 16):
        gray = rng.integers(0, 2**depth, (height, width))
        if depth == 16:
            gray[:, ::2] %= 256
        files[f"gray{depth}.png"] = png(depth, 0, gray)
        scaled = {2: 85, 4: 17}.get(depth, 1)
        for color in dict.fromkeys((0, 1, 2**depth // 2, int(gray[2, 2]) * scaled % 256, int(gray[2, 2]))):
            key = (b"tRNS", struct.pack(">H", color))
            files[f"gray{depth}_without{color}.png"] = png(depth, 0, gray, [key])
    for depth in (1, 2, 4, 8):
        colors = rng.integers(0, 256, 3 * 2**depth).astype(np.uint8).tobytes()
        alpha = rng.integers(0, 256, max(1, 2**depth // 2)).astype(np.uint8).tobytes()
        numbers = rng.integers(0, 2**depth, (height, width))
        files[f"palette{depth}.png"] = png(depth, 3, numbers, [(b"PLTE", colors)])
        files[f"palette{depth}_alpha.png"] = png(depth, 3, numbers, [(b"PLTE", colors), (b"tRNS", alpha)])
    for depth in (8, 16):
        rgb = rng.integers(0, 2**depth, (height, width, 3))
        files[f"rgb{depth}.png"] = png(depth, 2, rgb)
        files[f"rgb{depth}_interlaced.png"] = png(depth, 2, rgb, interlaced=True)
        rgb[3:5] = (0x1212 if depth == 16 else 0x12)
        for color in (rgb[2, 2], rgb[3, 3], rgb[3, 3] // 2):
            key = (b"tRNS", struct.pack(">HHH", *(int(part) for part in color)))
            files[f"rgb{depth}_without{color[0]}.png"] = png(depth, 2, rgb, [key])
        files[f"gamma{depth}.png"] = png(depth, 2, rgb, [(b"gAMA", struct.pack(">I", 100000))])
        files[f"gray_alpha{depth}.png"] = png(depth, 4, rng.integers(0, 2**depth, (height, width, 2)))
        files[f"rgba{depth}.png"] = png(depth, 6, rng.integers(0, 2**depth, (height, width, 4)))
    return files


def bmps(rng):
    def bmp(bits, pixels, compression=0, colors=b"", masks=b"", height=8):
        start = 54 + len(masks) + len(colors)
        sizes = struct.pack("<IiiHHIIiiII", 40, 8, height, 1, bits, compression, len(pixels), 0, 0, len(colors) // 4, 0)
        return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + sizes + masks + colors + pixels

    def noise(count):
        return rng.integers(0, 256, count).astype(np.uint8).tobytes()

    def colors(count):
        return b"".join(noise(3) + b"\0" for _ in range(count))

    runs = b"".join(bytes([3]) + noise(1) + bytes([5]) + noise(1) + b"\0\0" for _ in range(8))
    every = np.arange(64).astype("<u2")
    return {
        "555.bmp": bmp(16, noise(128)),
        "555_steps.bmp": bmp(16, (every % 32 * (1 + 32 + 1024)).astype("<u2").tobytes()),
        "555_masks.bmp": bmp(16, noise(128), 3, masks=struct.pack("<III", 0x7C00, 0x3E0, 0x1F)),
        "565.bmp": bmp(16, noise(128), 3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)),
        "565_steps.bmp": bmp(16, (every * 32).astype("<u2").tobytes(), 3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)),
        "palette1.bmp": bmp(1, noise(32), colors=colors(2)),
        "palette4.bmp": bmp(4, noise(32), colors=colors(16)),
        "runs.bmp": bmp(8, runs + b"\0\1", 1, colors=colors(256)),
        "top_down.bmp": bmp(24, noise(192), height=-8),
        "rgbx.bmp": bmp(32, noise(256)),
    }


def gifs(rng):
    def gif(frames, size=(20, 15), background=1, shared=True, clear=None, dispose=0):
        """Frames by left, top, width and height; codes of 3 bits with a clear before they grow."""
        palette = rng.integers(0, 256, 12).astype(np.uint8).tobytes()
        out = b"GIF89a" + struct.pack("<HHBBB", *size, 0x81 if shared else 0, background, 0)
        out += palette if shared else b""
        for left, top, width, height in frames:
            flags = dispose << 2 | (clear is not None)
            out += b"\x21\xf9\x04" + struct.pack("<BHBB", flags, 10, clear or 0, 0)
            out += b"\x2c" + struct.pack("<HHHHB", left, top, width, height, 0 if shared else 0x81)
            out += b"" if shared else palette
            codes = []
            for i, value in enumerate(rng.integers(0, 4, width * height)):
                codes += [4] if i % 2 == 0 else []
                codes.append(int(value))
            bits = sum(code << 3 * i for i, code in enumerate(codes + [5]))
            content = bits.to_bytes((3 * len(codes) + 3 + 7) // 8, "little")
            blocks = [content[i:i + 255] for i in range(0, len(content), 255)]
            out += b"\x02" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
        return out + b"\x3b"

    inside, full, corner = (3, 2, 10, 8), (0, 0, 20, 15), (12, 9, 5, 5)
    files = {
        "inside.gif": gif([inside]),
        "inside_own_palette.gif": gif([inside], shared=False),
        "inside_clear.gif": gif([inside], clear=2),
        "beyond.gif": gif([(10, 8, 15, 12)]),
        "beyond_clear.gif": gif([(10, 8, 15, 12)], clear=1),
        "above.gif": gif([(0, 4, 20, 6)]),
        "clear.gif": gif([full], clear=1),
    }
    for dispose in range(4):
        for clear in (None, 1):
            name = f"frames_{dispose}_{'clear' if clear else 'opaque'}.gif"
            files[name] = gif([full, inside, corner, inside], clear=clear, dispose=dispose)
    files["frames_inside.gif"] = gif([inside, corner, full])
    files["frames_inside_clear.gif"] = gif([inside, corner, full], clear=3)
    return files


def webp(frames, size, has_alpha=True):
    """An animation of frames: picture, left, top, whether it blends, whether it is disposed of, options."""

    def chunk(name, content):
        return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    def three(*numbers):
        return b"".join(struct.pack("<I", number)[:3] for number in numbers)

    out = chunk(b"VP8X", struct.pack("<I", 2 | has_alpha << 4) + three(size[0] - 1, size[1] - 1)) + chunk(b"ANIM", bytes(6))
    for picture, left, top, blends, disposed, options in frames:
        content = saved(picture, "WEBP", exact=True, **options)[12:]
        if content[:4] == b"VP8X":
            content = content[18:]
        place = three(left // 2, top // 2, picture.width - 1, picture.height - 1, 40)
        out += chunk(b"ANMF", place + bytes([(not blends) << 1 | disposed]) + content)
    return b"RIFF" + struct.pack("<I", len(out) + 4) + b"WEBP" + out


def clear_webps(rng):
    """Animations whose frames show through, with every order of blending and disposal."""
    size, lossless, lossy = (8, 6), {"lossless": True}, {"quality": 60}

    def picture(width, height, mode="RGBA"):
        values = rng.integers(0, 256, (height, width, 4)).astype(np.uint8)
        values[::3, ::2, 3] = 255 * (values[::3, ::2, 3] > 127)
        return Image.fromarray(values).convert(mode)

    def frame(left, top, width, height, blends, disposed, options=lossless, mode="RGBA"):
        return picture(width, height, mode), left, top, blends, disposed, options

    def orders(full):
        ways = [(True, False), (True, True), (True, False), (False, True), (True, False), (False, False), (True, True)]
        places = [(2, 2, 5, 3), (4, 0, 4, 6), (0, 2, 5, 3)]
        first = (0, 0, *size) if full else (2, 0, 5, 4)
        frames = [frame(*first, True, full)]
        frames += [frame(*places[i % 3], *way) for i, way in enumerate(ways)]
        frames += [frame(0, 0, *size, True, True), frame(*places[1], True, False), frame(0, 0, *size, False, False)]
        return webp(frames, size)

    return {
        "frames_full.webp": orders(True), "frames_part.webp": orders(False),
        "frames_no_alpha_said.webp": webp([frame(2, 0, 5, 6, True, False) for _ in range(2)], size, False),
        "frames_lossy.webp": webp([
            frame(0, 0, *size, True, False, lossy), frame(2, 2, 5, 4, True, True, lossy),
            frame(0, 0, 5, 6, True, False, lossy, "RGB"), frame(4, 2, 4, 3, True, False, lossless, "RGB"),
            frame(0, 0, *size, True, False, lossy)], size),
    }


def webps(drawn):
    turned = Image.Exif()
    turned[0x112] = 6
    base = drawn(24, 17)
    more = {"save_all": True, "append_images": [drawn(24, 17, 1)], "duration": 100}
    return {
        "turned.webp": saved(base, "WEBP", lossless=True, exif=turned),
        "turned.png": saved(base, "PNG", exif=turned),
        "frames.webp": saved(base, "WEBP", lossless=True, **more),
    }


def noise(rng):
    return Image.frombytes("YCbCr", (31, 20), rng.integers(0, 256, 31 * 20 * 3).astype(np.uint8).tobytes())


def few_rows(picture):
    """A function for TIFF files with fax codes of group 3 in strips of so many rows."""

    def codes(top, height):
        file = saved(picture.crop((0, top, picture.width, top + height)), "TIFF", compression="group3")
        tags = Image.open(io.BytesIO(file)).tag_v2
        return file[tags[273][0]:tags[273][0] + tags[279][0]]

    def turned(content):
        return bytes(int(f"{byte:08b}"[::-1], 2) for byte in content)

    def file(meaning, rows, fill_order):
        tops = range(0, picture.height, rows)
        strips = [codes(top, min(rows, picture.height - top)) for top in tops]
        strips = [turned(strip) if fill_order == 2 else strip for strip in strips]
        starts = np.cumsum([8] + [len(strip) for strip in strips]).astype("<u4")
        lengths = np.array([len(strip) for strip in strips], "<u4")
        content = b"".join(strips)
        at = 8 + len(content)
        many = len(strips) > 1
        tail = starts[:-1].tobytes() + lengths.tobytes() if many else b""
        places = (at, at + 4 * len(strips)) if many else (8, len(content))
        tags = [(256, 3, 1, picture.width), (257, 3, 1, picture.height), (258, 3, 1, 1), (259, 3, 1, 3),
                (262, 3, 1, meaning), (266, 3, 1, fill_order), (273, 4, len(strips), places[0]), (277, 3, 1, 1),
                (278, 3, 1, rows), (279, 4, len(strips), places[1])]
        directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
        return b"II*\0" + struct.pack("<I", at + len(tail)) + content + tail + directory

    return file


def sparse(file):
    """The file with differences said to stand for two by two pixels each."""
    entry = struct.pack("<HHI", 530, 3, 2)
    at = file.index(entry) + len(entry)
    return file[:at] + struct.pack("<HH", 2, 2) + file[at + 4:]


def tiffs(drawn, rng):
    # Here, since whoever only draws pictures needs no such library.
    import tifffile

    base = drawn(24, 17)
    gray, rgb = base.convert("L"), np.array(base)
    clear = base.copy()
    clear.putalpha(Image.fromarray((np.mgrid[0:17, 0:24].sum(0) * 6 % 256).astype(np.uint8)))

    def tiff(values, **options):
        out = io.BytesIO()
        tifffile.imwrite(out, values, **options)
        return out.getvalue()

    def by_pillow(picture, **options):
        return saved(picture, "TIFF", **options)

    def few_bits(depth, meaning, colors=()):
        """Gray or numbers of a palette, one strip, little-endian."""
        values = rng.integers(0, 2**depth, SIDE[::-1])
        strip = b"".join(packed(row, depth) for row in values)
        tags = [(256, 3, SIDE[0]), (257, 3, SIDE[1]), (258, 3, depth), (259, 3, 1), (262, 3, meaning), (273, 4, 8)]
        tags += [(277, 3, 1), (278, 3, SIDE[1]), (279, 4, len(strip))]
        words = np.array(colors).astype("<u2")
        tail = words.tobytes()
        entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags]
        if tail:
            entries.append(struct.pack("<HHII", 320, 3, words.size, 8 + len(strip)))
        directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
        return b"II*\0" + struct.pack("<I", 8 + len(strip) + len(tail)) + strip + tail + directory

    files = {
        "cmyk.tiff": by_pillow(base.convert("CMYK")), "palette.tiff": by_pillow(base.quantize(32)),
        "palette_lzw.tiff": by_pillow(base.quantize(32), compression="tiff_lzw"),
        "one_bit.tiff": by_pillow(gray.convert("1")), "gray.tiff": by_pillow(gray),
        "gray_alpha.tiff": by_pillow(clear.convert("LA")), "rgba.tiff": by_pillow(clear),
        "rgbx.tiff": by_pillow(base.convert("RGBX")), "float.tiff": by_pillow(gray.convert("F")),
        "int.tiff": by_pillow(gray.convert("I")), "turned6.tiff": by_pillow(base, tiffinfo={274: 6}),
        "turned3.tiff": by_pillow(base, tiffinfo={274: 3}), "jpeg.tiff": by_pillow(base, compression="jpeg"),
        "lab.tiff": by_pillow(base.convert("LAB")), "ycbcr.tiff": by_pillow(base.convert("YCbCr")),
    }
    for name in ("packbits", "tiff_adobe_deflate"):
        files[f"{name}.tiff"] = by_pillow(base, compression=name)
    for name in ("group3", "group4"):
        files[f"{name}.tiff"] = by_pillow(gray.convert("1"), compression=name)
    for depth in (1, 2, 4):
        files[f"gray{depth}.tiff"] = few_bits(depth, 1)
        files[f"white_is_zero{depth}.tiff"] = few_bits(depth, 0)
    for depth in (1, 2, 4, 8):
        files[f"palette{depth}.tiff"] = few_bits(depth, 3, rng.integers(0, 65536, 3 * 2**depth))
    large = np.array(drawn(34, 33))
    wide = np.array([[-3, 1.7, 254.9, 300, np.nan]])
    both = np.dstack([np.array(gray), np.array(clear)[:, :, 3]])
    plain = {"photometric": "rgb"}
    files.update({
        "tiled.tiff": tiff(rgb, tile=(16, 16), **plain),
        "planar.tiff": tiff(np.ascontiguousarray(rgb.transpose(2, 0, 1)), planarconfig="separate", **plain),
        "rgb16.tiff": tiff(rgb.astype(np.uint16) * 257, **plain),
        "rgba16.tiff": tiff(np.array(clear).astype(np.uint16) * 257, extrasamples=[2], **plain),
        "big.tiff": tiff(rgb, bigtiff=True, **plain),
        "big_palette.tiff": tiff(np.array(base.quantize(32)), bigtiff=True, photometric="palette",
                                 colormap=rng.integers(0, 65536, (3, 256)).astype(np.uint16)),
        "big_endian_palette.tiff": tiff(np.array(base.quantize(32)), byteorder=">", photometric="palette",
                                        colormap=rng.integers(0, 65536, (3, 256)).astype(np.uint16)),
        "big_endian.tiff": tiff(rgb, byteorder=">", **plain),
        "predicted.tiff": tiff(rgb, compression="lzw", predictor=True, **plain),
        "white_is_zero.tiff": tiff(np.array(gray), photometric="miniswhite"),
        "pages.tiff": tiff(np.stack([rgb, 255 - rgb]), **plain),
        "multiplied.tiff": tiff(np.array(clear), extrasamples=[1], **plain),
        "unspecified.tiff": tiff(np.array(clear), extrasamples=[0], **plain),
        "gray_unspecified.tiff": tiff(both, extrasamples=[0], photometric="minisblack", planarconfig="contig"),
        "gray_multiplied.tiff": tiff(both, extrasamples=[1], photometric="minisblack", planarconfig="contig"),
        "float_edges.tiff": tiff(wide.astype(np.float32), photometric="minisblack"),
        "int16_edges.tiff": tiff(np.array([[-3, 1, 254, 300]], np.int16), photometric="minisblack"),
        "uint32_edges.tiff": tiff(np.array([[3, 300, 2**31 + 5, 2**32 - 1]], np.uint32), photometric="minisblack"),
        "float_rgb.tiff": tiff(rgb[:4, :5].astype(np.float32) / 255, **plain),
        "jpeg_ycbcr.tiff": tiff(large, compression="jpeg", photometric="ycbcr"),
        "jpeg_444.tiff": tiff(large, compression="jpeg", photometric="ycbcr", subsampling=(1, 1)),
        "jpeg_strips.tiff": tiff(large, compression="jpeg", photometric="ycbcr", rowsperstrip=16),
        "jpeg_tiles.tiff": tiff(large, compression="jpeg", photometric="ycbcr", tile=(32, 32)),
        "jpeg_gray.tiff": tiff(large[:, :, 0], compression="jpeg", photometric="minisblack", rowsperstrip=16),
    })
    inks, differences = base.convert("CMYK"), base.convert("YCbCr")
    fax = few_rows(gray.convert("1"))
    files.update({
        "jpeg_cmyk.tiff": by_pillow(inks, compression="jpeg"),
        "ycbcr_lzw.tiff": by_pillow(differences, compression="tiff_lzw"),
        "ycbcr_noise.tiff": by_pillow(noise(rng)),
        "ycbcr_noise_packbits.tiff": by_pillow(noise(rng), compression="packbits"),
        "ycbcr_stretched.tiff": by_pillow(noise(rng), compression="tiff_lzw", tiffinfo={
            529: (0.2126, 0.7152, 0.0722), 532: (16.0, 235.0, 128.0, 240.0, 128.0, 240.0)}),
        "group3_white_is_zero.tiff": fax(0, 17, 1), "group3_strips.tiff": fax(1, 5, 1), "group3_turned.tiff": fax(1, 17, 2),
        "group3_two_dimensions.tiff": by_pillow(gray.convert("1"), compression="group3", tiffinfo={292: 1}),
        "fax_runs.tiff": by_pillow(gray.convert("1"), compression="tiff_ccitt"),
        "ycbcr_sparse.tiff": sparse(by_pillow(differences, compression="tiff_lzw")),
    })
    return files
