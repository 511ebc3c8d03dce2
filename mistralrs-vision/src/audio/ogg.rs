//! Ogg → the packets of the first Vorbis stream in it. Knows pages, their sums and how packets lie across them
//! (RFC 3533), and of Vorbis only how a stream begins. Pages that are damaged or of other streams are passed over;
//! nothing is allocated but the packet that is being put together.

use super::gathered::undecodable;
use crate::error::{Error, Result};
use std::borrow::Cow;

const FORMAT: &str = "Ogg";
const MARK: &[u8] = b"OggS";
/// Bytes before the lengths of a page's segments.
const HEAD: usize = 27;
/// What a packet is made of: segments of this length, and a shorter one at its end.
const FULL: u8 = 255;
const CONTINUED: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;

/// A packet of the stream.
pub(super) struct Packet<'a> {
    pub data: Cow<'a, [u8]>,
    /// How many frames the stream has at the packet's end, by its page, where the page says that of this packet.
    pub position: Option<u64>,
    /// Whether it ends the stream.
    pub last: bool,
}

/// Reads packet after packet.
pub(super) struct Packets<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes that were looked at for nothing.
    wasted: usize,
    /// The number of the stream that is read, and of the page that comes next.
    stream: Option<(u32, u32)>,
    page: Page<'a>,
    ended: bool,
    /// What earlier pages had of a packet that goes on.
    begun: Option<Vec<u8>>,
}

/// A page, or what is left of it.
#[derive(Default)]
struct Page<'a> {
    flags: u8,
    position: Option<u64>,
    stream: u32,
    number: u32,
    lengths: &'a [u8],
    body: &'a [u8],
}

impl<'a> Packets<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let page = Page::default();
        Self { bytes, at: 0, wasted: 0, stream: None, page, ended: false, begun: None }
    }

    /// None at the end, or where the file is cut off.
    ///
    /// # Errors
    /// [`Error::Undecodable`] for a file of other sounds, of more than one, or with too much damage.
    pub fn next(&mut self) -> Result<Option<Packet<'a>>> {
        loop {
            if let Some(packet) = self.page.take(&mut self.begun) {
                return Ok(Some(packet));
            }
            if !self.turn()? {
                return Ok(None);
            }
        }
    }

    /// On to the next page of the stream; false if there is none.
    fn turn(&mut self) -> Result<bool> {
        let mut other = None;
        while let Some(page) = self.read_page()? {
            if page.flags & FIRST != 0 {
                match (page.body.starts_with(b"\x01vorbis"), self.stream) {
                    (true, None) => self.stream = Some((page.stream, page.number)),
                    (true, Some(_)) => return Err(undecodable(FORMAT, "it has several sounds")),
                    (false, _) => other = other.or(name(page.body)),
                }
            }
            match self.stream {
                Some((stream, number)) if stream == page.stream && !self.ended => {
                    let whole = number == page.number && page.flags & CONTINUED != 0;
                    self.begun = self.begun.take().filter(|_| whole);
                    self.stream = Some((stream, page.number.wrapping_add(1)));
                    self.ended = page.flags & LAST != 0;
                    self.page = page;
                    if self.begun.is_none() && self.page.flags & CONTINUED != 0 {
                        // The end of a packet whose beginning is lost.
                        self.page.take(&mut None);
                    }
                    return Ok(true);
                }
                _ => {}
            }
        }
        match self.stream {
            Some(_) => Ok(false),
            None => Err(no_vorbis(other)),
        }
    }

    /// The next page whose sum is right.
    fn read_page(&mut self) -> Result<Option<Page<'a>>> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(start) = rest.windows(MARK.len()).position(|bytes| bytes == MARK) else {
                return Ok(None);
            };
            let rest = rest.get(start..).unwrap_or_default();
            self.at += start;
            match Page::parse(rest) {
                Ok((page, len)) => {
                    self.at += len;
                    return Ok(Some(page));
                }
                Err(looked_at) => {
                    self.at += MARK.len();
                    self.wasted += looked_at;
                }
            }
            if self.wasted > self.bytes.len() {
                return Err(undecodable(FORMAT, "too much of it is damaged"));
            }
        }
    }
}

impl<'a> Page<'a> {
    /// The page that begins here and its length; or, if none does, how many bytes were looked at to know.
    fn parse(bytes: &'a [u8]) -> std::result::Result<(Self, usize), usize> {
        let parts = || {
            let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
            let [_, _, _, _, 0, flags, a, b, c, d, e, f, g, h, tail @ ..] = *head else {
                return None;
            };
            let [s0, s1, s2, s3, n0, n1, n2, n3, c0, c1, c2, c3, segments] = tail;
            let (lengths, rest) = rest.split_at_checked(usize::from(segments))?;
            let len: usize = lengths.iter().map(|len| usize::from(*len)).sum();
            let page = Self {
                flags,
                // All ones where no packet ends on the page.
                position: Some(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
                    .filter(|at| *at >> 63 == 0),
                stream: u32::from_le_bytes([s0, s1, s2, s3]),
                number: u32::from_le_bytes([n0, n1, n2, n3]),
                lengths,
                body: rest.get(..len)?,
            };
            Some((page, u32::from_le_bytes([c0, c1, c2, c3]), head))
        };
        let Some((page, wanted, head)) = parts() else { return Err(HEAD.min(bytes.len())) };
        let len = HEAD + page.lengths.len() + page.body.len();
        let (before, _) = head.split_at(22);
        let sum = [before, &[0; 4], &head[26..], page.lengths, page.body].into_iter().fold(0, sum);
        if sum == wanted { Ok((page, len)) } else { Err(len) }
    }

    /// The next packet that ends on this page. What only begins here is left in `begun`.
    fn take(&mut self, begun: &mut Option<Vec<u8>>) -> Option<Packet<'a>> {
        if self.lengths.is_empty() {
            return None;
        }
        let ends = self.lengths.iter().position(|len| *len < FULL);
        let segments = ends.map_or(self.lengths.len(), |at| at + 1);
        let (lengths, lengths_left) = self.lengths.split_at_checked(segments)?;
        let len: usize = lengths.iter().map(|len| usize::from(*len)).sum();
        let (data, body_left) = self.body.split_at_checked(len)?;
        (self.lengths, self.body) = (lengths_left, body_left);
        let data = match begun.take() {
            // In place: what goes on over many pages would be copied with each.
            Some(mut before) => {
                before.extend_from_slice(data);
                Cow::Owned(before)
            }
            None => Cow::Borrowed(data),
        };
        if ends.is_none() {
            *begun = Some(data.into_owned());
            return None;
        }
        let is_last_here = self.lengths.iter().all(|len| *len == FULL);
        let position = self.position.filter(|_| is_last_here);
        Some(Packet { data, position, last: is_last_here && self.flags & LAST != 0 })
    }
}

/// Who reads an Ogg file without Vorbis is told what is in it.
fn no_vorbis(other: Option<&str>) -> Error {
    let reason = match other {
        Some(name) => format!("its sound is {name}; of Ogg only Vorbis is read"),
        None => "no Vorbis sound begins in it".to_owned(),
    };
    undecodable(FORMAT, &reason)
}

fn name(body: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 3] =
        [(b"OpusHead", "Opus"), (b"\x7FFLAC", "FLAC"), (b"Speex   ", "Speex")];
    known.into_iter().find(|(start, _)| body.starts_with(start)).map(|(_, name)| name)
}

/// The sum of a page, its own four bytes taken as zeros: a remainder by 0x04C11DB7, highest bit first.
fn sum(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| {
        let [top, ..] = sum.to_be_bytes();
        sum << 8 ^ REMAINDERS[usize::from(top ^ byte)]
    })
}

const REMAINDERS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (mut remainder, mut bit) = ((byte as u32) << 24, 0);
        while bit < 8 {
            let carried = if remainder >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
            remainder = remainder << 1 ^ carried;
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};
