//! Patches of a picture or clip as numbers: their order, their places, the frames and windows in which
//! they see each other, and the positions that their tokens have in the prompt. Knows no tensor.
//!
//! Patches come in the order of the processor: frame by frame, in each frame square by square of
//! `merge × merge` patches, in each square row by row. A square becomes one token.

use crate::forward::{MediaItem, RopePositions};
use candle_core::{Result, bail};
use std::ops::Range;

/// Patches along time, height and width, of which `merge × merge` become a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchGrid {
    frames: usize,
    height: usize,
    width: usize,
    merge: usize,
}

impl PatchGrid {
    /// # Errors
    /// When a length is 0 or no multiple of `merge`, or the numbers are beyond all memory.
    pub fn new([frames, height, width]: [usize; 3], merge: usize) -> Result<Self> {
        let patches = frames.checked_mul(height).and_then(|n| n.checked_mul(width));
        let fits = merge > 0 && height.is_multiple_of(merge) && width.is_multiple_of(merge);
        if !fits || patches.is_none_or(|n| n == 0 || n > u32::MAX as usize) {
            bail!("a grid of {frames} × {height} × {width} patches, {merge} × {merge} to a token");
        }
        Ok(Self { frames, height, width, merge })
    }

    /// All of them.
    pub fn patches(&self) -> usize {
        self.frames * self.height * self.width
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Patches of a frame.
    pub fn patches_per_frame(&self) -> usize {
        self.height * self.width
    }

    /// Height and width of a frame.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Row and column of each patch of a frame.
    pub fn places(&self) -> Vec<[u32; 2]> {
        let (merge, mut places) = (self.merge, Vec::with_capacity(self.patches_per_frame()));
        for (top, left) in grid(self.height / merge, self.width / merge) {
            let inside = grid(merge, merge);
            places
                .extend(inside.map(|(y, x)| [(top * merge + y) as u32, (left * merge + x) as u32]));
        }
        places
    }

    /// The tokens of a frame in an order in which windows of `side × side` of them follow one another, and
    /// the patches of each window in that order.
    pub fn windows(&self, side: usize) -> (Vec<u32>, Vec<Range<usize>>) {
        let (rows, columns) = (self.height / self.merge, self.width / self.merge);
        let side = side.max(1);
        let (mut order, mut spans) = (Vec::with_capacity(rows * columns), Vec::new());
        let patches_per_token = self.merge * self.merge;
        for (top, left) in grid(rows.div_ceil(side), columns.div_ceil(side)) {
            let start = order.len();
            for y in top * side..rows.min((top + 1) * side) {
                let tokens = left * side..columns.min((left + 1) * side);
                order.extend(tokens.map(|x| (y * columns + x) as u32));
            }
            spans.push(start * patches_per_token..order.len() * patches_per_token);
        }
        (order, spans)
    }

    /// Positions of its tokens along time, height and width, from 0; a step in time is `step` long.
    pub fn token_positions(&self, step: f32) -> Vec<[u32; 3]> {
        let (rows, columns) = (self.height / self.merge, self.width / self.merge);
        let frame = |number: usize| {
            let time = (number as f32 * step) as u32;
            grid(rows, columns).map(move |(y, x)| [time, y as u32, x as u32])
        };
        (0..self.frames).flat_map(frame).collect()
    }
}

fn grid(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |y| (0..columns).map(move |x| (y, x)))
}

/// Positions along three axes of a prompt of `tokens` tokens: text counts on along all of them, the
/// tokens of a medium stand where `places` says, from the position it begins at; text behind it goes on
/// after its largest.
pub fn positions_along_axes(
    tokens: usize,
    media: &[MediaItem],
    places: impl Fn(&MediaItem) -> Vec<[u32; 3]>,
) -> RopePositions {
    let mut prompt: Vec<[u32; 3]> = Vec::with_capacity(tokens);
    let mut next = 0u32;
    let text = |prompt: &mut Vec<[u32; 3]>, next: &mut u32, end: usize| {
        while prompt.len() < end {
            prompt.push([*next; 3]);
            *next = next.saturating_add(1);
        }
    };
    for item in media {
        text(&mut prompt, &mut next, item.tokens.start);
        let places = places(item);
        let largest = places.iter().flatten().max().map_or(0, |largest| largest.saturating_add(1));
        let places = places.into_iter().take(item.tokens.len());
        prompt.extend(places.map(|place| place.map(|axis| axis.saturating_add(next))));
        next = next.saturating_add(largest);
    }
    text(&mut prompt, &mut next, tokens);
    RopePositions { prompt, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{Media, Modality};
    use std::sync::Arc;

    #[test]
    fn patches_come_square_by_square() {
        let grid = PatchGrid::new([2, 2, 4], 2).unwrap();
        let frame = [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3]];
        assert_eq!(grid.places(), frame);
        assert_eq!((grid.frames(), grid.patches(), grid.patches_per_frame()), (2, 16, 8));
    }

    #[test]
    fn windows_of_the_paper() {
        // Three by five tokens in windows of two: the last ones are cut short, none is empty.
        let grid = PatchGrid::new([1, 6, 10], 2).unwrap();
        let (order, spans) = grid.windows(2);
        assert_eq!(order, [0, 1, 5, 6, 2, 3, 7, 8, 4, 9, 10, 11, 12, 13, 14]);
        assert_eq!(spans, [0..16, 16..32, 32..40, 40..48, 48..56, 56..60]);
        // Row G6: 4×4, 10×6 and 34×46 patches in windows of four tokens.
        for (height, width, windows) in [(4, 4, 1), (10, 6, 2), (34, 46, 30)] {
            let grid = PatchGrid::new([1, height, width], 2).unwrap();
            let (order, spans) = grid.windows(4);
            assert_eq!(spans.len(), windows);
            assert!(spans.windows(2).all(|w| w[0].end == w[1].start && w[0].end > w[0].start));
            assert_eq!(spans.last().unwrap().end, height * width);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..(height * width / 4) as u32));
        }
    }

    fn item(tokens: Range<usize>, grid: [usize; 3]) -> MediaItem {
        let media = Media::new(Modality::Image, vec![0.0], &[1], grid).unwrap();
        MediaItem { tokens, media: Arc::new(media) }
    }

    #[test]
    fn text_goes_on_behind_the_largest_position_of_a_picture() {
        // P-G1's proof: text, 4×6 patches, text, 2×2 patches, text.
        let media = [item(2..8, [1, 4, 6]), item(9..10, [1, 2, 2])];
        let places =
            |item: &MediaItem| PatchGrid::new(item.media.grid(), 2).unwrap().token_positions(1.0);
        let found = positions_along_axes(11, &media, places);
        let wanted = [
            [0, 0, 0],
            [1, 1, 1],
            [2, 2, 2],
            [2, 2, 3],
            [2, 2, 4],
            [2, 3, 2],
            [2, 3, 3],
            [2, 3, 4],
            [5, 5, 5],
            [6, 6, 6],
            [7, 7, 7],
        ];
        assert_eq!(found.prompt, wanted);
        assert_eq!((found.next, found.at(12)), (8, [9; 3]));
    }

    #[test]
    fn time_takes_its_own_steps() {
        let grid = PatchGrid::new([3, 2, 2], 2).unwrap();
        assert_eq!(grid.token_positions(2.5), [[0, 0, 0], [2, 0, 0], [5, 0, 0]]);
        let media = [item(1..4, [3, 2, 2])];
        let found = positions_along_axes(5, &media, |_| grid.token_positions(2.5));
        assert_eq!(found.prompt[4], [7; 3], "behind the last frame");
    }

    #[test]
    fn grids_that_cannot_be_are_errors() {
        for wrong in [[0, 2, 2], [1, 3, 2], [1, 2, 3], [1, 0, 2], [usize::MAX, 2, 2]] {
            assert!(PatchGrid::new(wrong, 2).is_err(), "{wrong:?}");
        }
        assert!(PatchGrid::new([1, 2, 2], 0).is_err());
    }
}
