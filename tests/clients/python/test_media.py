"""Pictures and sounds through the official openai client for Python, against two servers with tiny models.

Plain script, run by scripts/test_clients.sh. Environment: SEEING_URL (Qwen2.5-VL, which refuses stripes; allowed
are the folder SEEING_FILES and the host 127.0.0.1:STUB_PORT, where this script serves) and HEARING_URL (Gemma 3n),
FIXTURES. Every function named test_* is one test; the exit code counts failures.
"""

import base64
import http.server
import json
import os
import pathlib
import struct
import threading
import zlib

import openai
import smoke

FIXTURES = pathlib.Path(os.environ["FIXTURES"])
FILES = pathlib.Path(os.environ["SEEING_FILES"])
STUB = f"http://127.0.0.1:{os.environ['STUB_PORT']}"
PICTURE = (FILES / "0.png").read_bytes()


def client(variable):
    return openai.OpenAI(base_url=os.environ[variable], api_key="unused", max_retries=0, timeout=120)


seeing, hearing = client("SEEING_URL"), client("HEARING_URL")


def ask(who, *parts):
    """The log-probabilities of a greedy answer, and the tokens of the prompt."""
    answer = who.chat.completions.create(
        model="default", messages=[{"role": "user", "content": list(parts)}], max_tokens=6, temperature=0,
        logprobs=True, extra_body={"ignore_eos": True},
    )
    return [token.logprob for token in answer.choices[0].logprobs.content], answer.usage.prompt_tokens


def text(words):
    return {"type": "text", "text": words}


def picture(url):
    return {"type": "image_url", "image_url": {"url": url}}


def data(file, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(file).decode()}"


def sound(file, form):
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(file).decode(), "format": form}}


def refused(who, what, *parts):
    try:
        ask(who, text("What is this?"), *parts)
    except openai.BadRequestError as error:
        assert error.status_code == 400 and error.body["message"], what
        assert error.param.startswith("messages[0].content[1]"), (what, error.param)
        return error.body["message"]
    raise AssertionError(f"{what} was not refused")


def png(width, height, pixels=b"", depth=8):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def fixture_file(name, group):
    """One of the small files that the project keeps in a safetensors file."""
    raw = (FIXTURES / "vision" / f"{group}.safetensors").read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    start, end = json.loads(raw[8:8 + length])[f"{name}/file"]["data_offsets"]
    return raw[8 + length + start:8 + length + end]


class Stub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        places = {"/picture.png": PICTURE, "/endless.png": b"x" * (21 << 20)}
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data")
            self.end_headers()
            return
        file = places.get(self.path)
        self.send_response(200 if file else 404)
        self.send_header("Content-Length", str(len(file or b"")))
        self.end_headers()
        try:
            self.wfile.write(file or b"")
        except OSError:
            pass  # who reads no further hangs up

    def log_message(self, *_):
        pass


def test_a_picture_is_the_same_by_every_way():
    first = ask(seeing, text("What is this?"), picture(data(PICTURE)))
    assert first[1] > ask(seeing, text("What is this?"))[1] + 1
    for url in (f"{STUB}/picture.png", f"file://{FILES}/0.png"):
        assert ask(seeing, text("What is this?"), picture(url)) == first, url
    other = ask(seeing, text("What is this?"), picture(data((FILES / "1.png").read_bytes())))
    assert other[0] != first[0]


def test_what_is_not_allowed_is_not_read():
    for url in (
        "file:///etc/passwd", f"file://{FILES}/../config.json", f"file://{FILES}/none.png", "http://127.0.0.1:9/x.png",
        "http://169.254.169.254/latest/meta-data", f"{STUB}/elsewhere", f"{STUB}/none.png", f"{STUB}/endless.png",
        "ftp://127.0.0.1/x.png",
    ):
        refused(seeing, url, picture(url))
    # The other server was started without a word on files or hosts.
    for url in (f"file://{FILES}/0.png", f"{STUB}/picture.png"):
        refused(hearing, url, picture(url))


def test_hostile_pictures_are_refused():
    half, jpeg = len(PICTURE) // 2, fixture_file("420.jpg", "files")
    files = {
        "cut in half": PICTURE[:half], "its first bytes": PICTURE[:12],
        "damaged": PICTURE[:half] + bytes(byte ^ 0x5A for byte in PICTURE[half:]),
        "a bomb": png(100_000, 100_000), "a bomb of many bytes": png(60_000, 60_000, bytes(1 << 24)),
        "no width": png(0, 5), "no height": png(5, 0), "no size": png(0, 0), "a stripe": png(100_000, 1, bytes(300_001)),
        "a pole": png(1, 100_000, bytes(400_000)), "more than there is": png(5000, 5000), "a depth that is none": png(4, 4, bytes(52), 7),
        "text": b"this is text, named .png", "a page": b"<!doctype html><img src=x>",
        "a drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a document": b"%PDF-1.7\n%\xe2\xe3",
        "half a JPEG": jpeg[:len(jpeg) // 2], "a GIF of nothing": b"GIF89a\x01\0\x01\0\0\0\0;",
        "a BMP of nonsense": b"BM" + b"\xff" * 60, "a TIFF of nonsense": b"II*\0\x08\0\0\0\xff\xff\0\0",
        "a WebP of nonsense": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff", "a sound": fixture_file("16.wav", "sounds"),
        "nothing": b"", "too much": bytes((20 << 20) + 1),
    }
    assert len(files) >= 20
    for what, file in files.items():
        refused(seeing, what, picture(data(file)))
    message = refused(seeing, "a bomb", picture(data(png(100_000, 100_000))))
    assert "50000000 pixels" in message, message
    assert ask(seeing, text("What is this?"), picture(data(PICTURE)))[1] > 10


def test_sounds_of_every_kind_are_heard():
    wav = (FIXTURES / "gemma3n-media" / "sounds" / "0.wav").read_bytes()
    first = ask(hearing, text("Who sings?"), sound(wav, "wav"))
    by_url = {"type": "audio_url", "audio_url": {"url": data(wav, "audio/wav")}}
    assert ask(hearing, text("Who sings?"), by_url) == first
    both = ask(hearing, text("Who sings?"), sound(wav, "wav"), picture(data(PICTURE)))
    assert both[1] > first[1] and both[0] != first[0]
    # Other kinds; the files of 16 bits are too short for a frame.
    lossless = [ask(hearing, text("Who?"), sound(fixture_file(name, "sounds"), "flac")) for name in ("24.flac", "24.wav")]
    assert lossless[0][1] == lossless[1][1]
    for name in ("mono.mp3", "stereo.mp3", "tagged.mp3", "tagged.flac", "stereo.ogg"):
        assert ask(hearing, text("Who?"), sound(fixture_file(name, "sounds"), name.split(".")[1]))[1] == lossless[0][1]


def test_hostile_sounds_are_refused():
    mp3, flac = fixture_file("mono.mp3", "sounds"), fixture_file("16.flac", "sounds")
    files = {
        "text": b"la la la", "nothing": b"", "a picture": PICTURE, "a header": flac[:30], "first bytes": mp3[:40],
        "an empty WAV": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0",
        "an Ogg": b"OggS" + b"\xff" * 200, "an MP3 of nonsense": b"\xff\xfb" + b"\xff" * 500,
        "too much": b"fLaC" + bytes(21 << 20),
    }
    for what, file in files.items():
        refused(hearing, what, sound(file, "wav"))
    refused(hearing, "an unknown format", sound(mp3, "aac"))
    refused(seeing, "a kind that it does not take", sound(mp3, "mp3"))


def main():
    stub = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["STUB_PORT"])), Stub)
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    smoke.run(f"media, openai {openai.__version__} (Python)", globals())


if __name__ == "__main__":
    main()
