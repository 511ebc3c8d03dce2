//! At which place each layer of a model is. Knows devices by way of [`Place`] and numbers of layers; nothing else.

pub use mistralrs_quant::Place;

/// The places of a model's layers, in order; what is no layer (embeddings, last norm, head) is at the first.
#[derive(Debug, Clone, Default)]
pub struct LayerPlaces {
    primary: Place,
    of_layers: Vec<Place>,
}

impl LayerPlaces {
    /// Layer `i` is at `of_layers[i]`, further ones and everything else at `primary`.
    pub fn new(primary: Place, of_layers: Vec<Place>) -> Self {
        Self { primary, of_layers }
    }

    /// Where everything is that is no layer.
    pub fn primary(&self) -> &Place {
        &self.primary
    }

    /// Where a layer is. Caches may have fewer layers than a model, and models fewer than somebody planned for:
    /// whoever asks for a layer that was not planned gets the primary place.
    pub fn of_layer(&self, number: usize) -> &Place {
        self.of_layers.get(number).unwrap_or(&self.primary)
    }

    /// Whether this project's kernels compute everything.
    pub fn are_all_here(&self) -> bool {
        self.primary.has_kernels() && self.of_layers.iter().all(Place::has_kernels)
    }
}
