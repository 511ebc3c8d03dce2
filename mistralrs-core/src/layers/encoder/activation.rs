//! Activations by the names that configurations give them.
//! Source of the names: `ACT2FN` of Hugging Face transformers, `torch.nn`.

use crate::slices::with_f32;
use candle_core::{Result, Tensor};
use mistralrs_quant::has_kernels;

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x`
    Identity,
    /// GELU, exact.
    Gelu,
    /// GELU by way of tanh.
    GeluTanh,
    /// GELU by way of a sigmoid: `x · sigmoid(1.702 x)`.
    QuickGelu,
    /// `max(x, 0)`
    Relu,
    /// `x · sigmoid(x)`
    Silu,
    /// `tanh(x)`
    Tanh,
    /// `1 / (1 + e^-x)`
    Sigmoid,
}

impl Activation {
    /// By a configuration's name (`gelu_new`) or a torch class (`torch.nn.modules.linear.Identity`).
    pub fn from_name(name: &str) -> Option<Self> {
        let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
        Some(match last.as_str() {
            "identity" | "linear" => Self::Identity,
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Self::GeluTanh,
            "quick_gelu" => Self::QuickGelu,
            "relu" => Self::Relu,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            _ => return None,
        })
    }

    /// Number by number; in place where `x` is contiguous and nobody else's.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(self, x: Tensor) -> Result<Tensor> {
        if !has_kernels(&x) {
            return self.by_tensors(x);
        }
        match self {
            Self::Identity => Ok(x),
            Self::Gelu => in_place(x, mistralrs_kernels::gelu),
            Self::GeluTanh => in_place(x, mistralrs_kernels::gelu_tanh),
            Self::QuickGelu => in_place(x, mistralrs_kernels::quick_gelu),
            Self::Silu => in_place(x, mistralrs_kernels::silu),
            Self::Relu => x.relu(),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => sigmoid(&x),
        }
    }

    fn by_tensors(self, x: Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x),
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::QuickGelu => &x * sigmoid(&(&x * 1.702)?)?,
            Self::Silu => x.silu(),
            Self::Relu => x.relu(),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => sigmoid(&x),
        }
    }
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

fn in_place(x: Tensor, kernel: fn(&mut [f32])) -> Result<Tensor> {
    let x = x.contiguous()?;
    with_f32(&x, "activation", kernel)?;
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn each_name_is_its_formula() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        // gelu(1) from tables of the normal distribution: 1 · 0.8413447.
        type Formula = fn(f64) -> f64;
        let table: [(&str, Formula); 5] = [
            ("quick_gelu", |x| x / (1.0 + (-1.702 * x).exp())),
            ("torch.nn.modules.linear.Identity", |x| x),
            ("relu", |x| x.max(0.0)),
            ("torch.nn.modules.activation.Tanh", f64::tanh),
            ("gelu_new", |x| 0.5 * x * (1.0 + (0.797_884_56 * (x + 0.044715 * x * x * x)).tanh())),
        ];
        let at = |name: &str, x: f32| {
            let x = Tensor::new(&[[x]], &Device::Cpu).unwrap();
            Activation::from_name(name).unwrap().forward(x).unwrap().to_vec2::<f32>().unwrap()[0][0]
        };
        for x in [-2.5f32, -0.5, 0.0, 1.0, 3.0] {
            let wide = f64::from(x);
            for (name, formula) in table {
                assert!((f64::from(at(name, x)) - formula(wide)).abs() < 1e-5, "{name}({x})");
            }
            assert!((f64::from(at("sigmoid", x)) - sigmoid(wide)).abs() < 1e-6);
            assert!((f64::from(at("silu", x)) - wide * sigmoid(wide)).abs() < 1e-6);
        }
        assert!((at("gelu", 1.0) - 0.841_344_7).abs() < 1e-6);
        assert!((at("gelu", -1.0) + 0.158_655_3).abs() < 1e-6);
        assert_eq!(Activation::from_name("softplus"), None);
    }
}
