//! Images to tensors: decoding, resizing, patches. Will know `image` and candle, never core or a network.
//! Empty until the first model with eyes arrives.
#![forbid(unsafe_code)]
