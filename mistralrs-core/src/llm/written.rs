//! How families write pictures and clips into a prompt: the text that stands in the place of a template's mark,
//! with a placeholder for each piece. Knows no pixels.
//! Source: the processors of Hugging Face transformers (`processing_*.py`).

use std::fmt::Write as _;

const FAKE: &str = "<fake_token_around_image>";

/// Gemma's picture, and crops of it; `token` stands for each.
pub fn crops(crops: usize, token: &str) -> String {
    let one = format!("\n\n<start_of_image>{token}<end_of_image>\n\n");
    if crops == 0 {
        return one;
    }
    let more = vec![one.as_str(); crops].join(" ");
    format!(
        "Here is the original image {one} and here are some crops to help you see better {more}"
    )
}

/// Idefics3's tiles, row by row, and the whole picture behind them.
pub fn tiles(rows: usize, columns: usize) -> String {
    let mut text = String::new();
    for row in 1..=rows {
        for column in 1..=columns {
            // Writing to a string does not fail, here and below.
            let _ = write!(text, "{FAKE}<row_{row}_col_{column}><image>");
        }
        text.push('\n');
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text + &whole_picture()
}

/// SmolVLM's clip: how many frames of how long a video, then each behind its time. How long it is, its last
/// frame says.
pub fn frames(timestamps: &[f64]) -> String {
    let count = in_words(timestamps.len());
    let last = timestamps.last().map_or(0, |seconds| *seconds as u64);
    let days = match last / 86_400 {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    };
    let (hours, minutes, seconds) = (last / 3600 % 24, last / 60 % 60, last % 60);
    let mut text = format!(
        "You are provided the following series of {count} frames from a \
         {days}{hours}:{minutes:02}:{seconds:02} [H:MM:SS] video.\n"
    );
    for time in timestamps {
        let (minutes, seconds) = ((time / 60.) as u64, (time % 60.) as u64);
        let _ = write!(text, "\nFrame from {minutes:02}:{seconds:02}:{}", whole_picture());
    }
    text + "\n\n"
}

/// Qwen3-VL's clip: each pair of frames by itself, behind its time.
pub fn pairs(timestamps: &[f64]) -> String {
    let mut text = String::new();
    for seconds in timestamps {
        let _ = write!(text, "<{seconds:.1} seconds><|vision_start|><|video_pad|><|vision_end|>");
    }
    text
}

fn whole_picture() -> String {
    format!("{FAKE}<global-img><image>{FAKE}")
}

/// A number below 1000 in English words.
fn in_words(number: usize) -> String {
    const ONES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] =
        ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let one = |number: usize| ONES.get(number).copied().unwrap_or_default();
    let ten = |number: usize| TENS.get(number).copied().unwrap_or_default();
    match (number / 100, number % 100) {
        (0, rest @ 0..20) => one(rest).to_owned(),
        (0, rest) if rest % 10 == 0 => ten(rest / 10).to_owned(),
        (0, rest) => format!("{}-{}", ten(rest / 10), one(rest % 10)),
        (hundreds @ 1..10, 0) => format!("{} hundred", one(hundreds)),
        (hundreds @ 1..10, rest) => format!("{} hundred and {}", one(hundreds), in_words(rest)),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::tiles;
    use mistralrs_testkit::{fixture, read_json};
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Clip {
        frames: usize,
        fps: f64,
        /// Without repetitions of the placeholder.
        text: String,
    }

    #[test]
    fn frames_stand_where_the_reference_writes_them() {
        let clips: Vec<Clip> = read_json(&fixture("vision/clip_texts.json"));
        for Clip { frames, fps, text } in &clips {
            let timestamps: Vec<f64> = (0..*frames).map(|frame| frame as f64 / fps).collect();
            assert_eq!(super::frames(&timestamps), *text, "{frames} at {fps}");
        }
        assert!(clips.len() >= 10);
    }

    #[test]
    fn tiles_are_announced_by_row_and_column() {
        assert_eq!(
            tiles(0, 0),
            "<fake_token_around_image><global-img><image><fake_token_around_image>"
        );
        let fake = "<fake_token_around_image>";
        let wanted = format!(
            "{fake}<row_1_col_1><image>{fake}<row_1_col_2><image>\n{fake}<row_2_col_1><image>{fake}\
             <row_2_col_2><image>\n\n{fake}<global-img><image>{fake}"
        );
        assert_eq!(tiles(2, 2), wanted);
    }
}
