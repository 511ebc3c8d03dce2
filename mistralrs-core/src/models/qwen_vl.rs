//! Qwen2-VL, Qwen2.5-VL, Qwen3-VL and its mixture of experts: a tower beside a text model of the same
//! generation that rotates by time, height and width.
//! Source: `modeling_qwen2_vl.py`, `modeling_qwen2_5_vl.py`, `modeling_qwen3_vl.py` of Hugging Face
//! transformers; arXiv 2409.12191, 2502.13923.

use super::config::TextConfig;
use super::qwen2::Qwen2;
use super::qwen3::Qwen3;
use super::qwen3_moe::Qwen3Moe;
use super::vision::qwen::Tower;
use super::vision::qwen2_vl::{Qwen2_5Tower, Qwen2Tower};
use super::vision::qwen3_vl::Qwen3Tower;
use super::{Architecture, MediaEncoder, Model, ModelShape, decoder};
use crate::error::LoadError;
use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use crate::layers::RotaryEmbedding;
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded model of generation `G`.
pub struct QwenVl<G: Generation> {
    text: G::Text,
    /// `None` where the checkpoint has only the text model's weights.
    tower: Option<G::Tower>,
}

/// The keys of both halves.
pub struct QwenVlConfig<G: Generation> {
    text: <G::Text as Architecture>::Config,
    /// `None` where the file does not speak of it.
    tower: Option<<G::Tower as Tower>::Config>,
    /// By which axis each frequency of the text model turns.
    axes: Vec<usize>,
}

/// What differs from one generation to the next.
pub trait Generation: 'static {
    /// The half that speaks.
    type Text: Architecture + Turning;
    /// The half that sees.
    type Tower: Tower;

    /// The numbers of frequencies that turn by time, height and width, where a file is silent; and
    /// whether they take turns, or follow one another.
    const SECTIONS: ([usize; 3], Turns);
}

/// A text model whose rotations can be given axes.
pub trait Turning {
    /// The rotations of all its layers.
    fn rope(&mut self) -> &mut RotaryEmbedding;
}

impl Turning for Qwen2 {
    fn rope(&mut self) -> &mut RotaryEmbedding {
        &mut self.0.rope
    }
}

impl Turning for Qwen3 {
    fn rope(&mut self) -> &mut RotaryEmbedding {
        &mut self.0.rope
    }
}

impl Turning for Qwen3Moe {
    fn rope(&mut self) -> &mut RotaryEmbedding {
        &mut self.0.rope
    }
}

/// Qwen2-VL.
pub struct Second;

impl Generation for Second {
    type Text = Qwen2;
    type Tower = Qwen2Tower;
    const SECTIONS: ([usize; 3], Turns) = ([16, 24, 24], Turns::OneAfterTheOther);
}

/// Qwen2.5-VL.
pub struct SecondAndHalf;

impl Generation for SecondAndHalf {
    type Text = Qwen2;
    type Tower = Qwen2_5Tower;
    const SECTIONS: ([usize; 3], Turns) = Second::SECTIONS;
}

/// Qwen3-VL.
pub struct Third;

impl Generation for Third {
    type Text = Qwen3;
    type Tower = Qwen3Tower;
    const SECTIONS: ([usize; 3], Turns) = ([24, 20, 20], Turns::InTurn);
}

/// Qwen3-VL with a mixture of experts.
pub struct ThirdMoe;

impl Generation for ThirdMoe {
    type Text = Qwen3Moe;
    type Tower = Qwen3Tower;
    const SECTIONS: ([usize; 3], Turns) = Third::SECTIONS;
}

/// How the frequencies are dealt to the axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// All of time, all of height, all of width.
    OneAfterTheOther,
    /// Time, height, width, time, height, width, while height and width have any left; the rest is time.
    InTurn,
}

impl Turns {
    /// The axis of each of `pairs` frequencies; `None` if the sections do not fit.
    fn axes(self, sections: [usize; 3], pairs: usize) -> Option<Vec<usize>> {
        let [time, height, width] = sections;
        match self {
            Self::OneAfterTheOther => {
                let axes = [
                    vec![0; time.min(pairs)],
                    vec![1; height.min(pairs)],
                    vec![2; width.min(pairs)],
                ];
                Some(axes.concat()).filter(|axes| axes.len() == pairs)
            }
            Self::InTurn => {
                let axis = |pair: usize| match pair % 3 {
                    1 if pair / 3 < height => 1,
                    2 if pair / 3 < width => 2,
                    _ => 0,
                };
                let all = time.checked_add(height)?.checked_add(width)?;
                (all == pairs).then(|| (0..pairs).map(axis).collect())
            }
        }
    }
}

impl<G: Generation> Architecture for QwenVl<G> {
    type Config = QwenVlConfig<G>;

    fn config(file: &Path, json: &Value) -> Result<Self::Config, LoadError> {
        let json = with_text_keys(json);
        let text = TextConfig::parse_with(file, &json, json!({"head_dim": null}))?;
        let text = Frame { hidden: text.hidden_size, pairs: text.head_dim / 2 };
        let bad = |reason: String| LoadError::BadFile { file: file.to_owned(), reason };
        let (silent, turns) = G::SECTIONS;
        let sections = sections(&json).unwrap_or(Ok(silent)).map_err(bad)?;
        let axes = turns.axes(sections, text.pairs).ok_or_else(|| {
            bad(format!("`mrope_section` {sections:?} does not make {} frequencies", text.pairs))
        })?;
        let vision = json.get("vision_config").filter(|config| config.is_object());
        Ok(QwenVlConfig {
            text: G::Text::config(file, &json)?,
            tower: vision.map(|json| G::Tower::config(file, json, text.hidden)).transpose()?,
            axes,
        })
    }

    fn shape(config: &Self::Config) -> ModelShape {
        let tower = config.tower.as_ref().map(G::Tower::shape);
        ModelShape { tower, ..G::Text::shape(&config.text) }
    }

    fn load(config: &Self::Config, weights: &Weights) -> Result<Self, LoadError> {
        let mut text = G::Text::load(&config.text, &decoder::text_part(weights))?;
        let rope = text.rope();
        *rope = rope.clone().with_axes(config.axes.clone());
        // Newer files keep it beside the text model.
        let visual = [weights.pp("model").pp("visual"), weights.pp("visual")];
        let visual = visual.into_iter().find(Weights::has_any).map(|visual| visual.of_tower());
        let tower = match (&config.tower, visual) {
            (Some(config), Some(weights)) => Some(G::Tower::load(config, &weights)?),
            (_, weights) => {
                tracing::warn!("the checkpoint has no vision tower: the model reads text only");
                weights.iter().for_each(Weights::ignore);
                None
            }
        };
        Ok(Self { text, tower })
    }
}

impl<G: Generation> Model for QwenVl<G> {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.text.forward(batch, kv)
    }

    fn media_encoder(&self) -> Option<&dyn MediaEncoder> {
        self.tower.as_ref().map(|tower| tower as &dyn MediaEncoder)
    }
}

/// What of the text model both halves need.
struct Frame {
    hidden: usize,
    pairs: usize,
}

/// The file with what its text model takes for granted. Whether the head is the embedding is said at the
/// top (row G2); the first files of transformers 5 say it beside the other keys of the text.
fn with_text_keys(json: &Value) -> Value {
    let mut json = json.clone();
    let tied = json.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
    let model_type = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let second = model_type.starts_with("qwen2");
    let nested = json.get_mut("text_config").and_then(Value::as_object_mut);
    if let Some(text) = nested {
        let inside = text.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
        text.insert("tie_word_embeddings".into(), (tied || (second && inside)).into());
        // The mixture always makes its chosen experts' shares add up to one, and no file says so.
        text.insert("norm_topk_prob".into(), true.into());
    }
    for text in ["", "/text_config"] {
        let rope = json.pointer_mut(&format!("{text}/rope_scaling")).and_then(Value::as_object_mut);
        // The oldest name of "as trained": the sections say the rest.
        if let Some(rope) = rope.filter(|rope| rope.get("type") == Some(&"mrope".into())) {
            rope.insert("type".into(), "default".into());
        }
    }
    json
}

/// `mrope_section` where the file has it.
fn sections(json: &Value) -> Option<Result<[usize; 3], String>> {
    let text = json.get("text_config").unwrap_or(json);
    let rope = ["rope_parameters", "rope_scaling"].into_iter().find_map(|key| {
        text.get(key).or_else(|| json.get(key)).and_then(|rope| rope.get("mrope_section"))
    })?;
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let numbers =
        rope.as_array().and_then(|all| all.iter().map(number).collect::<Option<Vec<_>>>());
    let numbers = numbers.and_then(|numbers| <[usize; 3]>::try_from(numbers).ok());
    Some(numbers.ok_or_else(|| format!("`mrope_section` is {rope}, not three numbers")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_of_the_published_sections() {
        let contiguous = Turns::OneAfterTheOther.axes([16, 24, 24], 64).unwrap();
        assert_eq!(contiguous, [vec![0; 16], vec![1; 24], vec![2; 24]].concat());
        let in_turn = Turns::InTurn.axes([24, 20, 20], 64).unwrap();
        let of = |axis| (0..64).filter(|i| in_turn[*i] == axis).collect::<Vec<_>>();
        assert!(of(1).into_iter().eq((0..20).map(|i| 3 * i + 1)));
        assert!(of(2).into_iter().eq((0..20).map(|i| 3 * i + 2)));
        for turns in [Turns::OneAfterTheOther, Turns::InTurn] {
            assert_eq!(turns.axes([16, 24, 23], 64), None);
            assert_eq!(turns.axes([usize::MAX, 24, 24], 64), None);
        }
    }

    #[test]
    fn the_head_is_the_embedding_where_the_top_says_so() {
        let tied =
            |json: Value| with_text_keys(&json)["text_config"]["tie_word_embeddings"].clone();
        let inside = json!({"tie_word_embeddings": true});
        let said = |model: &str, top: bool, text: Value| {
            tied(json!({"model_type": model, "tie_word_embeddings": top, "text_config": text}))
        };
        assert_eq!(said("qwen3_vl", true, json!({})), true);
        assert_eq!(said("qwen3_vl", false, json!({})), false);
        assert_eq!(said("qwen3_vl_moe", false, inside.clone()), false);
        assert_eq!(said("qwen2_5_vl", false, inside), true);
    }
}
