//! EmbeddingGemma: Gemma 3's layers in which tokens see both ways (rows H1, P-H1). A window of `w`
//! in the file reaches `w / 2` tokens to each side, as in the reference.
//! Source: arXiv 2509.20354; `modeling_gemma3.py` of Hugging Face transformers.

use super::decoder::{self, DecoderEncoder};
use super::{Encoder, EncoderArchitecture, EncoderShape};
use crate::attention::BidirectionalAttention;
use crate::error::LoadError;
use crate::forward::EncoderBatch;
use crate::layers::SandwichLayer;
use crate::models::Architecture;
use crate::models::gemma::GemmaConfig;
use crate::models::gemma3::Gemma3;
use crate::weights::Weights;
use candle_core::{Result, Tensor};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// A loaded EmbeddingGemma.
pub struct EmbeddingGemma(DecoderEncoder<SandwichLayer>);

/// Gemma's keys, and whether tokens see what follows them.
#[derive(Debug, Clone)]
pub struct EmbeddingGemmaConfig {
    gemma: GemmaConfig,
    both_ways: bool,
}

impl EncoderArchitecture for EmbeddingGemma {
    type Config = EmbeddingGemmaConfig;

    const READS: &'static [&'static str] = &[
        "query_pre_attn_scalar",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "use_bidirectional_attention",
    ];

    fn config(file: &Path, json: &Value) -> std::result::Result<EmbeddingGemmaConfig, LoadError> {
        let mut gemma = Gemma3::config(file, json)?;
        let both_ways = json.get("use_bidirectional_attention").and_then(Value::as_bool);
        let both_ways = both_ways.unwrap_or(false);
        if both_ways {
            gemma.text.sliding_window = gemma.text.sliding_window.map(|window| window / 2 + 1);
        }
        gemma.text.headless = true;
        Ok(EmbeddingGemmaConfig { gemma, both_ways })
    }

    fn shape(config: &EmbeddingGemmaConfig) -> EncoderShape {
        decoder::shape(&config.gemma.text)
    }

    fn load(
        config: &EmbeddingGemmaConfig,
        weights: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let mut weights = decoder::under_text_names(weights);
        if config.both_ways {
            weights = weights.with_attention(Arc::new(BidirectionalAttention));
        }
        let Gemma3(lm) = Gemma3::load(&config.gemma, &weights)?;
        Ok(Self(DecoderEncoder::new(&config.gemma.text, lm)?))
    }
}

impl Encoder for EmbeddingGemma {
    fn encode(&mut self, batch: &EncoderBatch) -> Result<Tensor> {
        self.0.encode(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn half_the_window_on_each_side_if_both_ways() {
        let window = |both: Value| {
            let json = json!({
                "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 6,
                "sliding_window": 512, "use_bidirectional_attention": both,
            });
            let config = EmbeddingGemma::config(Path::new("config.json"), &json).unwrap();
            (config.both_ways, config.gemma.window(0), config.gemma.window(5))
        };
        assert_eq!(window(json!(true)), (true, Some(257), None));
        assert_eq!(window(json!(false)), (false, Some(512), None));
        assert_eq!(window(json!(null)), (false, Some(512), None));
    }
}
