#!/usr/bin/env python3
"""Writes what transformers, Pillow and scipy make of pictures and sounds.

    python scripts/make_vision_goldens.py ../shared

writes mistralrs-testkit/fixtures/vision/: files.safetensors (small image files of every kind and the
RGB that Pillow and transformers' convert_to_rgb read from them), unusual.safetensors (the same of rare
kinds, with the frames of animations, and without RGB where Pillow cannot read them), sounds.safetensors (the same of sound
files, read by libsndfile as transformers has them read), pictures.json (samples of the pixels
that the image processors give for drawn pictures and for those of ../shared/images, with grids and
counts) and sound.json (log-mel frames and a resampled sound). The tests in mistralrs-vision/tests/it
compare. Needs transformers 5, torchvision, Pillow, scipy, soundfile, tifffile and imagecodecs.
"""

import hashlib
import io
import json
import pathlib
import struct
import sys
import types

import numpy as np
import scipy.signal
import soundfile
import torch
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from transformers import Gemma3nAudioFeatureExtractor
from transformers.image_transforms import convert_to_rgb
from transformers.models.gemma3 import Gemma3ImageProcessor
from transformers.models.idefics3 import Idefics3ImageProcessor
from transformers.models.qwen2_vl import Qwen2VLImageProcessor, Qwen2VLVideoProcessor
from transformers.models.qwen3_vl import Qwen3VLVideoProcessor
from transformers.models.siglip import SiglipImageProcessor
from transformers.models.smolvlm import SmolVLMProcessor, SmolVLMVideoProcessor
from transformers.video_utils import VideoMetadata

from unusual_images import unusual_images

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "mistralrs-testkit/fixtures/vision"
SAMPLES = 48

QWEN2 = {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "merge_size": 2}
QWEN3 = {
    "size": {"shortest_edge": 65536, "longest_edge": 1048576},
    "patch_size": 16,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
GEMMA3 = {"size": {"height": 896, "width": 896}, "resample": 2}
SCAN = {
    "size": {"height": 224, "width": 224},
    "do_pan_and_scan": True,
    "pan_and_scan_min_crop_size": 64,
    "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.2,
}
GEMMA3N = {"size": {"height": 768, "width": 768}, "resample": 2, "do_normalize": False}
SMOLVLM = {"size": {"longest_edge": 1024}, "max_image_size": {"longest_edge": 512}}
WHOLE = {**SMOLVLM, "do_image_splitting": False}
RECIPES = {
    "qwen2": (Qwen2VLImageProcessor, QWEN2),
    "qwen3": (Qwen2VLImageProcessor, QWEN3),
    "gemma3": (Gemma3ImageProcessor, GEMMA3),
    "gemma3-scan": (Gemma3ImageProcessor, SCAN),
    "gemma3n": (SiglipImageProcessor, GEMMA3N),
    "smolvlm": (Idefics3ImageProcessor, SMOLVLM),
    "smolvlm-whole": (Idefics3ImageProcessor, WHOLE),
}
VIDEOS = {
    "qwen2": (Qwen2VLVideoProcessor, {"min_pixels": 3136, "max_pixels": 50176}),
    "qwen3": (Qwen3VLVideoProcessor, {"size": {"shortest_edge": 4096, "longest_edge": 200000}}),
    "smolvlm": (SmolVLMVideoProcessor, {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 48}}),
    "qwen2-capped": (Qwen2VLVideoProcessor, {
        "min_pixels": 3136, "max_pixels": 50176, "cap_pixels_per_frame": True, "max_video_tokens": 20}),
    "qwen3-capped": (Qwen3VLVideoProcessor, {
        "size": {"shortest_edge": 4096, "longest_edge": 60000}, "cap_pixels_per_frame": True, "max_video_tokens": 11}),
}

# Width, height.
SIZES = [(1, 1), (2, 1), (13, 27), (28, 28), (56, 57), (100, 80), (333, 41), (640, 480), (3, 500), (1100, 900)]
LARGE = [(3000, 2000), (2000, 3000)]
# As many small as large ones, of all shapes.
DRAWS = np.random.default_rng(11).uniform(0, 1, (20, 2))
RANDOM = [(round(2000 ** a), round(3000 ** b)) for a, b in DRAWS]
STRIPES = [(201, 1), (1, 300)]


def drawn(width, height, frame=0):
    """A picture both languages can draw: smooth and noisy parts, every value."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    x = x + 5 * frame
    planes = [
        (x * 7 + y * 3) % 256,
        ((x * x + y * 5) // 7) % 256,
        ((x * 2654435761 + y * 40503 + (x * y) % 8191) >> 5) % 256,
    ]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def sampled(pixels, samples=SAMPLES, exact=False):
    """`exact`: all numbers, by their hash."""
    flat = pixels.to(torch.float64).flatten()
    at = [i * (flat.numel() - 1) // (samples - 1) for i in range(samples)]
    numbers = pixels.to(torch.float32).contiguous().numpy().astype("<f4").tobytes()
    return {
        **({"sha256": hashlib.sha256(numbers).hexdigest()} if exact else {}),
        "shape": list(pixels.shape),
        "mean": float(flat.mean()),
        "mean_square": float((flat * flat).mean()),
        "samples": [round(float(flat[i]), 7) for i in at],
    }


def processed(recipe, picture, **options_of_samples):
    kind, config = RECIPES[recipe]
    processor = kind(**config)
    options = {"return_row_col_info": True} if kind is Idefics3ImageProcessor else {}
    got = processor(images=[picture], return_tensors="pt", **options)
    case = {"recipe": recipe}
    if "image_grid_thw" in got:
        case["grid"] = got["image_grid_thw"][0].tolist()
    if "num_crops" in got:
        case["crops"] = int(got["num_crops"][0])
    if "rows" in got:
        case["rows"], case["columns"] = int(got["rows"][0][0]), int(got["cols"][0][0])
    pixels = got["pixel_values"]
    case.update(sampled(pixels[0] if kind is Idefics3ImageProcessor else pixels, **options_of_samples))
    return case


def pictures(shared):
    cases = []
    for size in SIZES + LARGE + RANDOM + STRIPES:
        for recipe in RECIPES:
            try:
                cases.append({"size": size, **processed(recipe, drawn(*size), samples=8, exact=True)})
            except ValueError as error:
                assert "aspect ratio" in str(error), error
                cases.append({"size": size, "recipe": recipe, "refused": True})
    for path in sorted((shared / "images").iterdir()):
        picture = ImageOps.exif_transpose(Image.open(path))
        for recipe in RECIPES:
            cases.append({"file": path.name, **processed(recipe, picture, samples=16, exact=True)})
    videos = []
    for recipe, (kind, config) in VIDEOS.items():
        for size, frames in [((60, 60), 4), ((200, 100), 5), ((31, 90), 2), ((90, 9), 3)]:
            clip = np.stack([np.array(drawn(*size, frame)) for frame in range(frames)])
            clip = torch.from_numpy(clip).permute(0, 3, 1, 2)
            got = kind(**config)(videos=[clip], return_tensors="pt", do_sample_frames=False)
            case = {"recipe": recipe, "size": size, "frames": frames}
            if "video_grid_thw" in got:
                case["grid"] = got["video_grid_thw"][0].tolist()
                pixels = got["pixel_values_videos"]
            else:
                pixels = got["pixel_values"][0]
            videos.append({**case, **sampled(pixels, samples=8, exact=True)})
    configs = {name: config for name, (_, config) in RECIPES.items()}
    video_configs = {name: config for name, (_, config) in VIDEOS.items()}
    return {"configs": configs, "video_configs": video_configs, "cases": cases, "videos": videos}


def clip_texts():
    """What SmolVLM's processor writes for a clip of so many frames, the placeholder once for each."""
    tokens = types.SimpleNamespace(
        fake_image_token="<fake_token_around_image>", image_token="<image>", global_image_token="<global-img>",
        image_seq_len=1,
    )
    cases = []
    for frames, fps in [(1, 24), (2, 1), (8, 2.5), (13, 24), (20, 0.5), (21, 3), (45, 0.3), (99, 24), (100, 0.01), (101, 7),
                        (110, 1), (128, 0.02), (128, 0.0005)]:
        metadata = VideoMetadata(total_num_frames=frames, fps=fps, frames_indices=list(range(frames)))
        inputs = {"pixel_values": np.empty((1, frames)), "video_metadata": [metadata]}
        text = SmolVLMProcessor.replace_video_token(tokens, inputs, 0)
        cases.append({"frames": frames, "fps": fps, "text": text})
    return cases


def image_files():
    """Every kind of file, by name."""
    base = drawn(24, 17)
    alpha = Image.fromarray((np.mgrid[0:17, 0:24].sum(0) * 6 % 256).astype(np.uint8))
    rgba = base.copy()
    rgba.putalpha(alpha)
    gray = base.convert("L")
    deep = (np.array(gray).astype(np.uint16) << 4) + 3
    files = {}

    def save(name, picture, kind, **options):
        out = io.BytesIO()
        picture.save(out, kind, **options)
        files[name] = out.getvalue()

    save("rgb.png", base, "PNG")
    save("rgba.png", rgba, "PNG")
    save("gray.png", gray, "PNG")
    save("gray_alpha.png", rgba.convert("LA"), "PNG")
    save("palette.png", base.quantize(16), "PNG", bits=4)
    save("palette_transparent.png", base.quantize(16), "PNG", transparency=3)
    save("one_bit.png", gray.convert("1"), "PNG")
    save("gray16.png", Image.fromarray(deep), "PNG")
    save("rgb.bmp", base, "BMP")
    save("gray.bmp", gray, "BMP")
    save("rgb.tiff", base, "TIFF")
    save("lzw.tiff", base, "TIFF", compression="tiff_lzw")
    save("gray16.tiff", Image.fromarray(deep), "TIFF")
    save("rgb.gif", base.quantize(64), "GIF")
    save("transparent.gif", base.quantize(16), "GIF", transparency=2)
    # Lossy files of smooth pictures: how decoders fill in colors at hard edges is not laid down.
    y, x = np.mgrid[0:17, 0:24]
    smooth = np.stack([40 + 8 * x, 60 + 9 * y, 200 - 4 * x - 3 * y], -1).astype(np.uint8)
    soft = Image.fromarray(smooth)
    frames = [drawn(24, 17, frame).quantize(32) for frame in range(3)]
    save("animated.gif", frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    save("lossless.webp", rgba, "WEBP", lossless=True)
    save("lossy.webp", soft, "WEBP", quality=90)
    save("lossy_alpha.webp", rgba, "WEBP", quality=60)
    for quality, method, size in [(0, 0, (90, 70)), (20, 6, (33, 31)), (50, 4, (1, 1)), (75, 2, (7, 50)), (100, 6, (16, 16))]:
        save(f"lossy{quality}.webp", drawn(*size), "WEBP", quality=quality, method=method)
    save("444.jpg", soft, "JPEG", quality=95, subsampling=0)
    save("420.jpg", soft, "JPEG", quality=90, subsampling=2)
    save("progressive.jpg", soft, "JPEG", quality=90, progressive=True)
    save("gray.jpg", soft.convert("L"), "JPEG", quality=90)
    save("cmyk.jpg", soft.convert("CMYK"), "JPEG", quality=95)
    # Hard edges, and every path of a decoder: sampling, codes, scans, marks, sizes that are no whole blocks.
    save("hard444.jpg", base, "JPEG", quality=60, subsampling=0)
    save("hard422.jpg", base, "JPEG", quality=75, subsampling=1)
    save("hard420.jpg", base, "JPEG", quality=30, subsampling=2)
    save("hard_progressive.jpg", base, "JPEG", quality=80, progressive=True, subsampling=2)
    save("restart.jpg", base, "JPEG", quality=50, restart_marker_blocks=2)
    save("restart_progressive.jpg", base, "JPEG", quality=90, restart_marker_rows=1, progressive=True)
    save("optimized.jpg", base, "JPEG", quality=90, optimize=True)
    save("plain_rgb.jpg", base, "JPEG", quality=90, keep_rgb=True)
    save("hard_cmyk.jpg", base.convert("CMYK"), "JPEG", quality=70)
    for width, height in [(1, 1), (2, 3), (3, 2), (5, 40), (17, 9)]:
        save(f"{width}x{height}.jpg", drawn(width, height), "JPEG", quality=85)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"exif{orientation}.jpg", soft, "JPEG", quality=95, subsampling=0, exif=exif)
    tensors = {}
    for name, file in files.items():
        tensors[f"{name}/file"] = np.frombuffer(file, np.uint8)
        tensors[f"{name}/rgb"] = seen(Image.open(io.BytesIO(file)))
    return tensors


def seen(picture):
    """The picture's pixels as transformers gets them."""
    return np.ascontiguousarray(convert_to_rgb(ImageOps.exif_transpose(picture), return_numpy=True))


def unusual_files():
    """Rare kinds of files, by name; without pixels if Pillow does not know what to do with one."""
    tensors = {}
    for name, file in unusual_images(drawn).items():
        tensors[f"{name}/file"] = np.frombuffer(file, np.uint8)
        try:
            picture = Image.open(io.BytesIO(file))
            tensors[f"{name}/rgb"] = seen(picture)
        except (OSError, ValueError) as error:
            print(f"{name}: {error}")
            continue
        if name.startswith("frames"):
            frames = []
            for number in range(picture.n_frames):
                picture.seek(number)
                frames.append(seen(picture))
            tensors[f"{name}/frames"] = np.stack(frames)
    return tensors


def tagged(file):
    """The file with a title and padding around its sound, as players write them."""
    if file[:4] == b"fLaC":
        title, end = b"TITLE=A cat sings", file[4 + 4:4 + 4 + 34]
        comment = struct.pack("<II", 0, 1) + struct.pack("<I", len(title)) + title
        blocks = [(0, end), (4, comment), (1, bytes(500))]
        last = len(blocks) - 1
        heads = [struct.pack(">I", (kind | (i == last) << 7) << 24 | len(block)) for i, (kind, block) in enumerate(blocks)]
        at, kind = 4, 0
        while not kind & 0x80:
            kind, length = file[at], int.from_bytes(file[at + 1:at + 4], "big")
            at += 4 + length
        return file[:4] + b"".join(head + block for head, (_, block) in zip(heads, blocks)) + file[at:]
    title = b"\x03A cat sings"
    frames = b"TIT2" + struct.pack(">IH", len(title), 0) + title + bytes(700)
    length = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + length + frames + file


def sound_files():
    """Every kind of sound file, by name, with its samples `[frames, channels]`."""
    n = np.arange(1600)
    left = 0.4 * np.sin(n * 0.05) + 0.2 * np.sin(n * n * 1e-4)
    stereo = np.stack([left, 0.3 * np.cos(n * 0.31) + 0.1 * np.sin(n * 0.01)], -1)
    three = np.concatenate([stereo, 0.5 * np.sin(n * 0.11)[:, None]], -1)
    kinds = [
        ("u8.wav", left, 8000, "PCM_U8"), ("16.wav", stereo, 44100, "PCM_16"), ("24.wav", left, 16000, "PCM_24"),
        ("32.wav", left, 16000, "PCM_32"), ("float.wav", stereo, 16000, "FLOAT"), ("16.flac", stereo, 44100, "PCM_16"),
        ("24.flac", left, 16000, "PCM_24"), ("mono.mp3", left, 16000, None), ("stereo.mp3", stereo, 44100, None),
        ("tagged.flac", left, 16000, "PCM_16"), ("tagged.mp3", left, 16000, None), ("mono.ogg", left, 8000, "VORBIS"),
        ("stereo.ogg", stereo, 44100, "VORBIS"), ("three.ogg", three, 8000, "VORBIS"),
    ]
    tensors = {}
    for name, samples, rate, subtype in kinds:
        out = io.BytesIO()
        # What loses nothing has nothing to show later that it has not shown at the start.
        samples = samples if name.endswith((".mp3", ".ogg")) else samples[:600]
        soundfile.write(out, samples, rate, subtype=subtype, format=name.split(".")[1].upper())
        file = tagged(out.getvalue()) if name.startswith("tagged") else out.getvalue()
        heard, rate = soundfile.read(io.BytesIO(file), dtype="float32", always_2d=True)
        tensors[f"{name}/file"] = np.frombuffer(file, np.uint8)
        tensors[f"{name}/samples"] = heard
        tensors[f"{name}/rate"] = np.array([rate], np.int64)
    return tensors


def sound(shared):
    """Samples both languages can make, and the recordings."""
    n = np.arange(20000, dtype=np.float64)
    wave = (0.4 * np.sin(n * 0.05) + 0.3 * np.sin(n * n * 1e-5) + 0.1 * np.sin(n * 1.3)).astype(np.float32)
    extractor = Gemma3nAudioFeatureExtractor()
    cases = []

    def mel(name, samples):
        got = extractor(samples, return_tensors="np")
        features, mask = got["input_features"][0], got["input_features_mask"][0]
        cases.append({
            "name": name,
            "len": len(samples),
            "inside": int(mask.sum()),
            **sampled(torch.from_numpy(np.ascontiguousarray(features))),
        })

    for length in [513, 1000, 16000, 20000]:
        mel("wave", wave[:length])
    resampled = []
    for path in sorted((shared / "audio").glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32")
        if rate == 16000 and samples.ndim == 1:
            mel(path.name, samples)
    # A long Kaiser filter, much longer than ours: the error left is ours.
    for up, down in [(160, 441), (1, 3), (2, 1), (320, 441)]:
        smooth = (0.4 * np.sin(n * 0.02) + 0.3 * np.sin(n * 0.31 + 1) + 0.2 * np.sin(n * 0.7)).astype(np.float32)
        largest = max(up, down)
        taps = scipy.signal.firwin(2 * 200 * largest + 1, 0.97 / largest, window=("kaiser", 12.0))
        out = scipy.signal.resample_poly(smooth.astype(np.float64), up, down, window=taps)
        at = np.linspace(1000, len(out) - 1001, 200).astype(int)
        case = {"up": up, "down": down, "len": len(out), "at": at.tolist()}
        resampled.append({**case, "values": [round(float(out[i]), 7) for i in at]})
    return {"mel": cases, "resampled": resampled}


def main():
    shared = pathlib.Path(sys.argv[1]).resolve()
    TARGET.mkdir(exist_ok=True)
    save_file(image_files(), TARGET / "files.safetensors")
    save_file(unusual_files(), TARGET / "unusual.safetensors")
    save_file(sound_files(), TARGET / "sounds.safetensors")
    contents = {"pictures": pictures(shared), "sound": sound(shared), "clip_texts": clip_texts()}
    for name, content in contents.items():
        text = json.dumps(content, separators=(",", ":"))
        (TARGET / f"{name}.json").write_text(text.replace('},{"', '},\n{"') + "\n")


if __name__ == "__main__":
    main()
