//! Where what encoders made of media enters a decoder: in place of the placeholders' embeddings, and
//! behind the first layers. Knows a step's rows; not what they stand for.

use crate::forward::ForwardBatch;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::Place;

/// The embeddings `x` `[tokens, hidden]` of a step, with those of media in their rows. `x` itself is
/// written to: it must be nobody else's.
///
/// # Errors
/// When shapes disagree.
pub fn place_media(x: Tensor, batch: &ForwardBatch) -> Result<Tensor> {
    if batch.media.is_empty() {
        return Ok(x);
    }
    let x = x.contiguous()?;
    for span in &batch.media {
        set_rows(&x, &span.embeddings()?, span.rows.start)?;
    }
    Ok(x)
}

/// Adds what media have for the output `x` `[tokens, hidden]` of layer number `layer`. `x` itself is
/// written to: it must be nobody else's.
///
/// # Errors
/// When shapes disagree.
pub fn add_deepstack(x: Tensor, batch: &ForwardBatch, layer: usize) -> Result<Tensor> {
    for span in &batch.media {
        if let Some(features) = span.deepstack(layer)? {
            let features = Place::of(&x).take(&features)?;
            let rows = (x.narrow(0, span.rows.start, span.rows.len())? + features)?;
            set_rows(&x, &rows, span.rows.start)?;
        }
    }
    Ok(x)
}

fn set_rows(x: &Tensor, rows: &Tensor, first: usize) -> Result<()> {
    if x.dims().last() != rows.dims().last() {
        bail!("rows of {:?} for media, of {:?} for text", rows.dims(), x.dims());
    }
    x.slice_set(&Place::of(x).take(rows)?.contiguous()?, 0, first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{Encoded, MediaSpan};
    use candle_core::Device;
    use std::sync::Arc;

    #[test]
    fn rows_of_media_replace_or_are_added() {
        let tensor = |rows: &[[f32; 2]]| {
            Tensor::from_vec(rows.concat(), (rows.len(), 2), &Device::Cpu).unwrap()
        };
        let x = || tensor(&[[0., 1.], [2., 3.], [4., 5.], [6., 7.]]);
        let encoded = Arc::new(Encoded {
            embeddings: tensor(&[[10., 11.], [12., 13.], [14., 15.]]),
            deepstack: vec![tensor(&[[100., 100.], [200., 200.], [300., 300.]])],
        });
        // The last two of three rows.
        let media = vec![MediaSpan { rows: 1..3, first: 1, encoded }];
        let batch = ForwardBatch { media, ..ForwardBatch::default() };
        let numbers = |x: Tensor| x.to_vec2::<f32>().unwrap();
        let placed = numbers(place_media(x(), &batch).unwrap());
        assert_eq!(placed, [[0., 1.], [12., 13.], [14., 15.], [6., 7.]]);
        let added = numbers(add_deepstack(x(), &batch, 0).unwrap());
        assert_eq!(added, [[0., 1.], [202., 203.], [304., 305.], [6., 7.]]);
        assert_eq!(numbers(add_deepstack(x(), &batch, 1).unwrap()), numbers(x()));
        let narrow = Tensor::new(&[[1f32], [2.], [3.]], &Device::Cpu).unwrap();
        assert!(place_media(narrow, &batch).is_err());
    }
}
