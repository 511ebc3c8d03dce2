//! What can be wrong with a picture, a sound or a processor's configuration. Every refusal names the
//! limit it met.

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More bytes than allowed.
    #[error("the {what} has {bytes} bytes, the limit is {limit} bytes")]
    TooManyBytes {
        /// `image` or `audio`.
        what: &'static str,
        /// The length of the file.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More pixels than allowed, by the header.
    #[error("the image has {width} × {height} pixels, the limit is {limit} pixels")]
    TooManyPixels {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit of their product.
        limit: u64,
    },
    /// More frames than allowed.
    #[error("the video has more than {limit} frames, which is the limit")]
    TooManyFrames {
        /// The limit.
        limit: usize,
    },
    /// Frames of a video have too many pixels together.
    #[error("the frames of the video have more than {limit} pixels together, which is the limit")]
    TooLargeClip {
        /// The limit.
        limit: u64,
    },
    /// The sound is too long.
    #[error("the audio is longer than {limit} seconds, which is the limit")]
    TooLong {
        /// The limit in seconds.
        limit: u64,
    },
    /// The sound has too many samples.
    #[error("the audio has more than {limit} samples in all its channels, which is the limit")]
    TooManySamples {
        /// The limit.
        limit: usize,
    },
    /// There is nothing in it.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// The first bytes are those of no known format.
    #[error("the file is in no known format; known are {known}")]
    UnknownFormat {
        /// The formats.
        known: &'static str,
    },
    /// The file is damaged or of a kind that is not supported.
    #[error("the {format} file cannot be decoded: {reason}")]
    Undecodable {
        /// `PNG` and the like.
        format: String,
        /// What the decoder says.
        reason: String,
    },
    /// A stripe.
    #[error("the image is {width} × {height}: one side may be at most {limit} times the other")]
    AspectRatio {
        /// Pixels per row.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit.
        limit: u32,
    },
    /// Frames of one video differ in size.
    #[error(
        "frame {frame} of the video is {found:?} pixels (width, height), the first is {first:?}"
    )]
    FrameSize {
        /// The number of the frame, from 0.
        frame: usize,
        /// Its width and height.
        found: (u32, u32),
        /// Those of the first frame.
        first: (u32, u32),
    },
    /// A number that a caller gave makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The model family knows nothing of it.
    #[error("this model takes no {0}")]
    NotTaken(&'static str),
    /// A processor's configuration cannot be used.
    #[error("the processor's configuration: {0}")]
    Config(String),
    /// Tensor arithmetic failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
