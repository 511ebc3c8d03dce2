//! Ogg Vorbis against what Ogg allows and hostile files do: pages are laid anew around the packets of real files
//! and around headers made here.

use candle_core::{Device, safetensors};
use mistralrs_testkit::fixture;
use mistralrs_vision::audio::{AudioLimits, Sound, decode};

const STREAM: u32 = 7;

/// The files of the fixture, with what libsndfile hears.
fn files() -> Vec<(Vec<u8>, Vec<f32>)> {
    let tensors = safetensors::load(fixture("vision/sounds.safetensors"), &Device::Cpu).unwrap();
    let file = |name: &str| {
        let samples = tensors[&format!("{name}/samples")].flatten_all().unwrap();
        (tensors[&format!("{name}/file")].to_vec1().unwrap(), samples.to_vec1().unwrap())
    };
    ["mono.ogg", "stereo.ogg", "three.ogg"].map(file).to_vec()
}

fn heard(file: &[u8]) -> Sound {
    decode(file, &AudioLimits::default()).unwrap()
}

fn refusal(file: &[u8]) -> String {
    decode(file, &AudioLimits::default()).unwrap_err().to_string()
}

/// What the pages of a file hold, and the last page's position. Every page begins and ends with a packet.
fn packets(file: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let (mut packets, mut packet, mut position) = (Vec::new(), Vec::new(), 0);
    let mut rest = file;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(27);
        position = u64::from_le_bytes(head[6..14].try_into().unwrap());
        let (lengths, mut body) = tail.split_at(usize::from(head[26]));
        for len in lengths {
            let (segment, left) = body.split_at(usize::from(*len));
            packet.extend(segment);
            if *len < 255 {
                packets.push(std::mem::take(&mut packet));
            }
            body = left;
        }
        rest = body;
    }
    (packets, position)
}

/// Bit by bit, as the standard says.
fn sum(page: &[u8]) -> u32 {
    page.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum: u32, _| {
            sum << 1 ^ if sum >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
        })
    })
}

fn page(flags: u8, position: u64, (stream, number): (u32, u32), segments: &[&[u8]]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(position.to_le_bytes());
    page.extend([stream, number, 0].iter().flat_map(|number| number.to_le_bytes()));
    page.push(segments.len() as u8);
    page.extend(segments.iter().map(|segment| segment.len() as u8));
    page.extend(segments.concat());
    let sum = sum(&page);
    page[22..26].copy_from_slice(&sum.to_le_bytes());
    page
}

/// Packets that begin on a page of their own, and the position of the page where they end.
type Group<'a> = (&'a [Vec<u8>], u64);

/// Pages of so many segments around packets.
fn pages(groups: &[Group<'_>], segments: usize) -> Vec<Vec<u8>> {
    let mut pages = Vec::new();
    for (i, (packets, position)) in groups.iter().enumerate() {
        let mut pieces: Vec<&[u8]> = Vec::new();
        for packet in *packets {
            pieces.extend(packet.chunks(255));
            if packet.len() % 255 == 0 {
                pieces.push(&[]);
            }
        }
        let (count, mut goes_on) = (pieces.len().div_ceil(segments), false);
        for (number, pieces) in pieces.chunks(segments).enumerate() {
            let is_last = number + 1 == count;
            let ends = is_last && i + 1 == groups.len();
            let flags = u8::from(goes_on) + u8::from(pages.is_empty()) * 2 + u8::from(ends) * 4;
            let position = if is_last { *position } else { u64::MAX };
            pages.push(page(flags, position, (STREAM, pages.len() as u32), pieces));
            goes_on = pieces.last().unwrap().len() == 255;
        }
    }
    pages
}

fn file(packets: &[Vec<u8>], position: u64) -> Vec<u8> {
    pages(&[(packets, position)], 1).concat()
}

#[test]
fn packets_are_the_same_however_pages_lie() {
    for (original, _) in files() {
        let wanted = heard(&original);
        let (packets, position) = packets(&original);
        for segments in [1, 2, 7, 255] {
            assert_eq!(heard(&pages(&[(&packets, position)], segments).concat()), wanted);
        }
        // Another stream's pages between, and what is no page before and after.
        let other = |number| page(u8::from(number == 0) * 2, 0, (1, number), &[b"fishead"]);
        let pages = pages(&[(&packets, position)], 1);
        let mixed = pages.iter().enumerate().flat_map(|(i, page)| [other(i as u32), page.clone()]);
        let mixed = [b"OggS and more".to_vec(), mixed.collect::<Vec<_>>().concat()].concat();
        assert_eq!(heard(&[mixed, b"TAG".to_vec()].concat()), wanted);
    }
}

#[test]
fn damaged_pages_are_passed_over() {
    let (original, _) = files().remove(1);
    let (packets, position) = packets(&original);
    let whole = heard(&original);
    let pages = pages(&[(&packets, position)], 1);
    let mut shorter = 0;
    for at in 0..pages.len() {
        let mut pages = pages.clone();
        *pages[at].last_mut().unwrap() ^= 1;
        match decode(&pages.concat(), &AudioLimits::default()) {
            Ok(sound) => {
                shorter += 1;
                assert!(sound.frames() < whole.frames() && sound.channels == 2, "page {at}");
            }
            Err(error) => assert!(error.to_string().starts_with("the Ogg "), "{error}"),
        }
    }
    let headers: usize = packets[..3].iter().map(|packet| packet.len() / 255 + 1).sum();
    assert_eq!(shorter, pages.len() - headers);
    // Cut off: what is there is heard.
    let cut = heard(&pages[..pages.len() - 3].concat());
    assert!(cut.samples.len() < whole.samples.len());
    assert_eq!(cut.samples, whole.samples[..cut.samples.len()]);
}

/// The end of the last page cuts the end, a first page of too small a number the start.
#[test]
fn pages_say_where_the_sound_begins_and_ends() {
    let (original, _) = files().remove(0);
    let (packets, position) = packets(&original);
    let whole = heard(&original);
    let frames = whole.frames();
    assert_eq!(position, frames as u64);
    let shorter = heard(&file(&packets, position - 90));
    assert_eq!(shorter.samples, whole.samples[..frames - 90]);
    assert!(decode(&file(&packets, 0), &AudioLimits::default()).is_err(), "nothing is left");
    // Its first page ends 40 frames before the number of its own, so those at the start are none of it.
    let (headers, sound) = packets.split_at(3);
    let (first, second) = sound.split_at(sound.len() / 2);
    let until_there = heard(&file(&packets[..3 + first.len()], u64::MAX)).frames() as u64;
    let late = [(headers, 0), (first, until_there - 40), (second, position - 40)];
    assert_eq!(heard(&pages(&late, 255).concat()).samples, whole.samples[40..]);
}

#[test]
fn other_sounds_in_ogg_are_named() {
    let opus = page(2, 0, (STREAM, 0), &[b"OpusHead and more"]);
    let error = refusal(&opus);
    assert!(error.contains("its sound is Opus; of Ogg only Vorbis is read"), "{error}");
    assert!(refusal(b"OggS").contains("no Vorbis sound begins in it"));
    let (original, _) = files().remove(0);
    assert!(refusal(&[original.clone(), original].concat()).contains("it has several sounds"));
    // Many pages that seem to begin within each other.
    let nested = [b"OggS\0".as_slice(), &[0; 21], &[255], &[1; 255]].concat().repeat(300);
    assert!(refusal(&nested).contains("too much of it is damaged"));
}

/// Bits, the lowest first.
#[derive(Clone, Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(mut self, value: u64, count: u32) -> Self {
        self.0
            .extend((0..count).map(|bit| value.checked_shr(bit).is_some_and(|rest| rest & 1 == 1)));
        self
    }

    fn put_all(self, values: &[(u64, u32)]) -> Self {
        values.iter().fold(self, |bits, (value, count)| bits.put(*value, *count))
    }

    fn bytes(&self) -> Vec<u8> {
        let byte =
            |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        self.0.chunks(8).map(byte).collect()
    }
}

/// A codebook whose codes are all of one length: entries as a power of two.
fn codebook(dimensions: u64, log_entries: u32) -> Bits {
    let entries = 1u64 << log_entries;
    let raised = |base: u64| base.saturating_pow(dimensions.max(1) as u32);
    let values = (1..).take_while(|base| raised(*base) <= entries).count();
    // Ordered; length less one; all entries of that length; vectors of one number each.
    Bits::default()
        .put_all(&[(0x56_4342, 24), (dimensions, 16), (entries, 24), (1, 1)])
        .put_all(&[(u64::from(log_entries.max(1)) - 1, 5), (entries, log_entries + 1)])
        .put_all(&[(1, 4), (0, 32), (0, 32), (0, 4), (0, 1)])
        .put(0, values as u32)
}

/// What follows the codebooks: one floor without points, one residue, mapping and mode.
fn rest_of_setup(floor: u64) -> Bits {
    let bits = Bits::default().put_all(&[(0, 6), (0, 16), (0, 6), (floor, 16)]);
    // Partitions, multiplier, bits of a point.
    let bits = bits.put_all(&[(0, 5), (0, 2), (4, 4)]);
    // Residue: kind, begin, end, partition, classes, book, no further books.
    let bits =
        bits.put_all(&[(0, 6), (1, 16), (0, 24), (64, 24), (31, 24), (0, 6), (0, 8), (0, 4)]);
    // Mapping: kind, no submaps, no coupling, nothing, floor and residue; mode; end.
    bits.put_all(&[(0, 6), (0, 16), (0, 1), (0, 1), (0, 2), (0, 8), (0, 8), (0, 8)]).put_all(&[
        (0, 6),
        (0, 1),
        (0, 16),
        (0, 16),
        (0, 8),
        (1, 1),
    ])
}

fn first_header(channels: u8, sizes: u8) -> Vec<u8> {
    let rate = 8000u32.to_le_bytes();
    [b"\x01vorbis\0\0\0\0".as_slice(), &[channels], &rate, &[0; 12], &[sizes, 1]].concat()
}

/// Headers, and four packets of silence.
fn with_codebooks(books: &[Bits], count: u64, rest: &Bits) -> Vec<u8> {
    let bits = books.iter().fold(Bits::default().put(count - 1, 8), |bits, book| {
        Bits([bits.0, book.0.clone()].concat())
    });
    let setup =
        [b"\x05vorbis".as_slice(), &Bits([bits.0, rest.0.clone()].concat()).bytes()].concat();
    let mut packets = vec![first_header(1, 0x66), b"\x03vorbis".to_vec(), setup];
    packets.extend(vec![vec![0]; 4]);
    file(&packets, 96)
}

/// A hundred bytes can ask for terabytes: such headers are refused for what they ask.
#[test]
fn codebooks_have_limits() {
    let rest = rest_of_setup(1);
    let silence = heard(&with_codebooks(&[codebook(1, 1)], 1, &rest));
    assert_eq!((silence.samples, silence.rate, silence.channels), (vec![0.; 96], 8000, 1));
    let refused = |books: &[Bits], count: u64, reason: &str| {
        let error = refusal(&with_codebooks(books, count, &rest));
        assert_eq!(error, format!("the Ogg Vorbis file cannot be decoded: {reason}"));
    };
    refused(&[codebook(u64::from(u16::MAX), 23)], 1, "its codebooks have too many entries");
    refused(&[codebook(1, 18)], 1, "its codebooks have too many entries");
    refused(&vec![codebook(1, 12); 33], 33, "its codebooks have too many entries");
    refused(&[codebook(31, 16)], 1, "its codebooks have too many numbers");
    refused(&vec![codebook(16, 12); 17], 17, "its codebooks have too many numbers");
    refused(&[codebook(0, 1)], 1, "a codebook has no dimensions");
    refused(&[codebook(32, 1)], 1, "a codebook has too many dimensions");
    refused(&[codebook(1, 1)], 200, "a codebook does not begin with its mark");
    refused(&[], 1, "a codebook does not begin with its mark");
    let endless = [(0x56_4342, 24), (1, 16), (100, 24), (1, 1), (31, 5), (0, 7), (0, 7), (0, 32)];
    refused(&[Bits::default().put_all(&endless)], 1, "the codes of a codebook cannot be");
    let unknown = [(0x56_4342, 24), (1, 16), (2, 24), (1, 1), (0, 5), (2, 2), (3, 4)];
    refused(&[Bits::default().put_all(&unknown)], 1, "a codebook has vectors of no known kind");
    for (floor, reason) in [(0, "a floor of kind 0"), (2, "a floor of no known kind")] {
        let error = refusal(&with_codebooks(&[codebook(1, 1)], 1, &rest_of_setup(floor)));
        assert!(error.contains(reason), "{error}");
    }
    let (packets, _) = packets(&with_codebooks(&[codebook(1, 1)], 1, &rest));
    for sizes in [0x06, 0x60, 0xFF, 0x68] {
        let mut packets = packets.clone();
        packets[0][28] = sizes;
        assert!(decode(&file(&packets, 96), &AudioLimits::default()).is_err(), "{sizes:x}");
    }
}

/// What a packet without sound costs counts as well: few bytes would keep the decoder busy otherwise.
#[test]
fn packets_have_limits() {
    let silence = with_codebooks(&[codebook(1, 1)], 1, &rest_of_setup(1));
    let (headers, _) = packets(&silence);
    let limits = AudioLimits { max_samples: 32_000, ..AudioLimits::default() };
    for packet in [vec![0], vec![1], vec![]] {
        let many = |count| [headers[..3].to_vec(), vec![packet.clone(); count]].concat();
        let error = decode(&pages(&[(&many(1002), u64::MAX)], 255).concat(), &limits).unwrap_err();
        let named = "the audio has more than 32000 samples in all its channels, which is the limit";
        assert_eq!(error.to_string(), named);
        let fewer = decode(&pages(&[(&many(900), u64::MAX)], 255).concat(), &limits);
        assert_eq!(fewer.is_ok(), packet == [0], "nothing is heard of damaged packets");
    }
}

#[cfg(unix)]
const ATTACK: &str = "MISTRALRS_ATTACK";

/// In a process of its own, to which the system gives little memory and processor time: what asks for more dies.
#[cfg(unix)]
#[test]
fn hostile_streams_are_heard_or_refused() {
    if std::env::var_os(ATTACK).is_some() {
        return attack();
    }
    let limited = "ulimit -v 500000 && ulimit -t 300 && exec \"$0\" \"$@\"";
    let name = "ogg::hostile_streams_are_heard_or_refused";
    let child = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(ATTACK, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stderr);
    let tail: String = told.lines().rev().take(5).collect::<Vec<_>>().join("\n");
    assert!(child.status.success(), "{} {tail}", child.status);
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(told.contains("1 passed"), "{told}");
}

#[cfg(unix)]
fn attack() {
    // The largest tables that are allowed, and trees that are as deep as they can be.
    let rest = rest_of_setup(1);
    assert_eq!(heard(&with_codebooks(&[codebook(8, 17)], 1, &rest)).frames(), 96);
    assert_eq!(heard(&with_codebooks(&[codebook(31, 12)], 1, &rest)).frames(), 96);
    assert_eq!(heard(&with_codebooks(&vec![codebook(16, 9); 128], 128, &rest)).frames(), 96);
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize
    };
    let limits = AudioLimits { max_samples: 100_000, ..AudioLimits::default() };
    let mut outcomes = [0; 2];
    for (original, _) in files() {
        let (whole, position) = packets(&original);
        for round in 0..400 {
            let mut packets = whole.clone();
            // The first header, the codebooks' or all; their sums are right, so the damage arrives.
            let (packet, changes) = match round % 5 {
                0 => (0, 1),
                1 | 2 => (2, 1 + next() % 3),
                3 => (2, 20),
                _ => (3 + next() % (packets.len() - 3), 4),
            };
            for _ in 0..changes {
                let len = packets[packet].len();
                packets[packet][next() % len] ^= 1 << (next() % 8);
            }
            if round % 7 == 0 {
                let len = packets[packet].len();
                packets[packet].truncate(next() % len);
            }
            let decoded = decode(&file(&packets, position), &limits);
            outcomes[usize::from(decoded.is_ok())] += 1;
            match decoded {
                Ok(sound) => {
                    assert!((1..=100_000).contains(&sound.samples.len()));
                    assert_eq!(sound.samples.len() % sound.channels, 0);
                }
                Err(error) => assert!(error.to_string().len() > 20),
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 200), "{outcomes:?}");
}
