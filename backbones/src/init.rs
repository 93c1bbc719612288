//! Initial values, keyed by the parameter's name: adding a layer moves no other layer's numbers.

/// Uniform numbers in [0, 1) for a parameter's name.
pub type InitSource<'a> = dyn Fn(&str) -> Box<dyn FnMut() -> f64> + 'a;

/// Distribution of initial values.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// All equal.
    Constant(f32),
    /// Given values.
    Fixed(Vec<f32>),
    /// Normal with this standard deviation.
    Normal(f64),
    /// Normal with this standard deviation, redrawn outside two units (timm's `trunc_normal_`
    /// cuts at an absolute 2, which never happens at std 0.02; so do we).
    TruncNormal(f64),
    /// Uniform in `[-bound, bound]` (PyTorch's default of a linear layer: `bound = 1 / sqrt(fan in)`).
    Uniform(f64),
    /// Uniform in +-sqrt(6 / (fan in + fan out)) (Glorot and Bengio, 2010).
    Xavier {
        /// Inputs.
        fan_in: usize,
        /// Outputs.
        fan_out: usize,
    },
}

impl Init {
    /// `len` values for the parameter `name`.
    ///
    /// # Panics
    /// If [`Self::Fixed`] holds another number of values, which is our bug.
    pub fn values(&self, name: &str, len: usize, source: &InitSource) -> Vec<f32> {
        match self {
            Self::Constant(value) => vec![*value; len],
            Self::Fixed(values) => {
                assert_eq!(values.len(), len, "fixed values of {name}");
                values.clone()
            }
            Self::Normal(std) => {
                let mut uniform = source(name);
                (0..len).map(|_| (std * normal(&mut *uniform)) as f32).collect()
            }
            Self::TruncNormal(std) => {
                let mut uniform = source(name);
                (0..len).map(|_| truncated(*std, &mut *uniform)).collect()
            }
            Self::Uniform(bound) => {
                let mut uniform = source(name);
                (0..len).map(|_| ((2.0 * uniform() - 1.0) * bound) as f32).collect()
            }
            Self::Xavier { fan_in, fan_out } => {
                Self::Uniform((6.0 / (fan_in + fan_out) as f64).sqrt()).values(name, len, source)
            }
        }
    }
}

/// Box-Muller, one of the pair: simple, and initialisation is not hot.
fn normal(uniform: &mut dyn FnMut() -> f64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform()).cos()
}

fn truncated(std: f64, uniform: &mut dyn FnMut() -> f64) -> f32 {
    loop {
        let value = std * normal(uniform);
        if value.abs() <= 2.0 {
            return value as f32;
        }
    }
}
