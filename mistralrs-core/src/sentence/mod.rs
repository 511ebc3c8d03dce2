//! From hidden states to what was asked for: the chain of a sentence encoder (pooling, dense layers,
//! normalization) or the score of a cross-encoder. Knows encoders and weights, no text, no queue.
//! Source: the modules of sentence-transformers.

mod config;
mod gguf;

pub use config::{DenseWeights, SentenceConfig, StepConfig, is_sentence_model};

use crate::attention;
use crate::error::LoadError;
use crate::forward::EncoderBatch;
use crate::layers::encoder::{Activation, ClassificationHead, Pooling, pool};
use crate::models::encoders::Encoder;
use crate::weights::Weights;
use candle_core::{D, Result, Tensor};
use mistralrs_quant::Place;
use mistralrs_quant::{Linear, WeightOptions, open_safetensors};
use std::ops::Range;
use std::path::Path;

/// Below this a vector's length counts as this: nothing is divided by zero.
const SHORTEST: f64 = 1e-12;

/// What turns packed texts into numbers; the engine's thread owns one.
pub trait TextModel: Send {
    /// Each text's numbers, in the batch's order.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    fn compute(&mut self, batch: &EncoderBatch) -> Result<Vec<Vec<f32>>>;
}

/// An encoder and what follows it.
pub struct SentenceModel {
    encoder: Box<dyn Encoder>,
    head: Head,
}

/// What follows an encoder.
#[derive(Debug)]
pub enum Head {
    /// One vector per text.
    Vector(Chain),
    /// One number per pair of texts.
    Score(ClassificationHead),
}

impl SentenceModel {
    /// Puts the two together.
    pub fn new(encoder: Box<dyn Encoder>, head: Head) -> Self {
        Self { encoder, head }
    }
}

impl TextModel for SentenceModel {
    fn compute(&mut self, batch: &EncoderBatch) -> Result<Vec<Vec<f32>>> {
        let hidden = self.encoder.encode(batch)?;
        match &self.head {
            Head::Vector(chain) => chain.forward(&hidden, &batch.spans)?.to_vec2(),
            Head::Score(head) => head.forward(&hidden, &batch.spans)?.to_vec2(),
        }
    }
}

/// Pooling, and what is done to the pooled.
#[derive(Debug)]
pub struct Chain {
    pooling: Vec<Pooling>,
    steps: Vec<Step>,
    width: usize,
}

#[derive(Debug)]
enum Step {
    Dense(Linear, Activation),
    Normalize,
}

impl Chain {
    /// Reads the weights of the dense steps; `hidden` is the width of the encoder, `model` its weights.
    ///
    /// # Errors
    /// When a step's file is missing or wrong, or its input is not as wide as the step before.
    pub fn load(
        config: &SentenceConfig,
        hidden: usize,
        model: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let mut width = hidden * config.pooling.len();
        let mut steps = Vec::new();
        for step in &config.steps {
            steps.push(match step {
                StepConfig::Normalize => Step::Normalize,
                StepConfig::Dense { weights, input, output, bias, activation } => {
                    if *input != width {
                        return Err(LoadError::BadFile {
                            file: weights.named().to_owned(),
                            reason: format!("`in_features` is {input}, what comes in has {width}"),
                        });
                    }
                    width = *output;
                    let weights = weights.open(model)?;
                    Step::Dense(weights.linear(*output, *input, *bias)?, *activation)
                }
            });
        }
        Ok(Self { pooling: config.pooling.clone(), steps, width })
    }

    /// Numbers per vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `[tokens, hidden]` → `[texts, width]`.
    fn forward(&self, hidden: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        let mut x = pool(hidden, spans, &self.pooling)?;
        for step in &self.steps {
            x = match step {
                Step::Dense(linear, activation) => activation.forward(linear.forward(&x)?)?,
                Step::Normalize => {
                    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
                    x.broadcast_div(&length.maximum(SHORTEST)?)?
                }
            };
        }
        Ok(x)
    }
}

impl DenseWeights {
    fn named(&self) -> &Path {
        match self {
            Self::File(file) => file,
            Self::Model(name) => Path::new(name),
        }
    }

    fn open(&self, model: &Weights) -> std::result::Result<Weights, LoadError> {
        match self {
            Self::Model(name) => Ok(model.pp(name)),
            Self::File(file) => {
                let checkpoint = open_safetensors(std::slice::from_ref(file))?;
                let backend = attention::select(&Place::default());
                let weights =
                    Weights::new(checkpoint, WeightOptions::default(), backend, |_, _| ());
                Ok(weights.pp("linear"))
            }
        }
    }
}

/// Cuts a vector to its first `dimensions` numbers and gives it length 1 again.
pub fn shorten(vector: &mut Vec<f32>, dimensions: usize) {
    vector.truncate(dimensions);
    let squares: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
    let length = squares.sqrt().max(SHORTEST);
    for x in vector {
        *x = (f64::from(*x) / length) as f32;
    }
}

/// The cosine of the angle between two vectors; 0 if one of them is nothing.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Some encoder's.
    pub(super) fn model_weights() -> Weights {
        let file = mistralrs_testkit::fixture("bert-plain").join("model.safetensors");
        let checkpoint = open_safetensors(&[file]).unwrap();
        let backend = attention::select(&Place::default());
        Weights::new(checkpoint, WeightOptions::default(), backend, |_, _| ())
    }

    #[test]
    fn shortened_vectors_have_length_one() {
        let mut vector = vec![3.0, 4.0, 12.0];
        shorten(&mut vector, 2);
        assert_eq!(vector, [0.6, 0.8]);
        let mut nothing = vec![0.0, 0.0];
        shorten(&mut nothing, 1);
        assert_eq!(nothing, [0.0]);
    }

    #[test]
    fn cosines_of_known_angles() {
        assert!((cosine(&[2., 0.], &[3., 3.]) - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6);
        assert_eq!(cosine(&[1., 2.], &[-1., -2.]), -1.0);
        assert_eq!(cosine(&[0., 0.], &[1., 2.]), 0.0);
    }

    #[test]
    fn a_chain_pools_and_normalizes() {
        let config = SentenceConfig::plain();
        let chain = Chain::load(&config, 2, &model_weights()).unwrap();
        let x = Tensor::new(&[[1f32, 0.], [5., 8.], [0., 2.]], &Device::Cpu).unwrap();
        let out = chain.forward(&x, &[0..2, 2..3]).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(out, [[0.6, 0.8], [0., 1.]]);
    }
}
