//! Layers at several places: the same answers as where everything is at one. The second place computes in 64 bits with
//! candle's operations; candle mixes no types, so what a layer was not brought is an error, as it is between devices.

use crate::answers::{ask, greedy, load};
use crate::distance::check_at;
use crate::golden::is_rounded;
use candle_core::{DType, Device};
use mistralrs_core::LayerMap;
use mistralrs_core::loading::device_map::DeviceLayers;
use mistralrs_core::places::{LayerPlaces, Place};
use mistralrs_testkit::{GGUF_MODELS, HF_MODELS, fixture, golden};

/// More layers than any of the models has.
const LAYERS: usize = 8;

fn elsewhere() -> Place {
    Place::new(Device::Cpu, DType::F64)
}

/// Layers at both places in turn, and all else at the first.
fn in_turn(first: Place, second: Place) -> LayerMap {
    let pairs = [first.clone(), second].into_iter().cycle();
    LayerMap::Places(LayerPlaces::new(first, pairs.take(LAYERS).collect()))
}

/// Weights of every type, experts, latent attention, layers that borrow the keys of others: what is there is computed
/// exactly, so rounded models are near their reference, too.
#[test]
fn every_model_may_be_elsewhere() {
    for name in HF_MODELS.iter().chain(GGUF_MODELS) {
        let here = name.contains("moe") || name.contains("mixtral") || name.contains("deepseek");
        if !(here && is_rounded(name)) {
            check_at(name, LayerMap::Places(LayerPlaces::new(elsewhere(), Vec::new())));
        }
    }
}

/// Every border between layers is one between places; of layers that borrow keys, some lie elsewhere than those.
#[test]
fn every_model_may_be_split() {
    for name in HF_MODELS.iter().chain(GGUF_MODELS).filter(|name| !is_rounded(name)) {
        check_at(name, in_turn(Place::default(), elsewhere()));
        check_at(name, in_turn(elsewhere(), Place::default()));
    }
}

/// A map may know fewer layers than the model, or more.
#[test]
fn a_map_of_another_length_is_filled_up() {
    let name = "gemma3n";
    let case = &golden(name).cases[0];
    let answer = |places| {
        let llm = load(&fixture(name), |o| o.layers = LayerMap::Places(places));
        ask(&llm, &case.prompt, greedy(6)).token_ids
    };
    let wanted = answer(LayerPlaces::default());
    assert_eq!(answer(LayerPlaces::new(Place::default(), vec![elsewhere()])), wanted);
    assert_eq!(answer(LayerPlaces::new(Place::default(), vec![elsewhere(); 40])), wanted);
}

#[test]
fn devices_that_are_not_there_are_refused() {
    let mut options = crate::answers::options(&fixture("qwen3"));
    options.layers = LayerMap::Counts(vec![DeviceLayers { ordinal: 7, layers: 1 }]);
    let error = mistralrs_core::Llm::load(options).unwrap_err().to_string();
    assert!(error.contains("--num-device-layers") && error.contains("device 7"), "{error}");
}
