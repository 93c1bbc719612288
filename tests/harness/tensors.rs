//! Random tensors and parameters, and views of them as plain numbers.

use candle_core::{DType, Device, Shape, Tensor};
use rayon::ThreadPoolBuilder;
use reid_backbones::params::{Entry, Role};
use reid_backbones::{Gradients, ParamStore};
use reid_data::rng::{Key, Rng, Stream};

/// A stream of its own for each purpose of a test.
pub fn rng(seed: u64, draw: u32) -> Rng {
    Rng::new(Key { seed, stream: Stream::Init, epoch: 0, draw, view: 0 })
}

/// Standard normal values; another seed gives others.
///
/// # Panics
/// If memory is short.
pub fn normal(seed: u64, shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    let mut rng = rng(seed, 0);
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape asks for")
}

/// A tensor's values as f64, flattened.
///
/// # Panics
/// If it holds no numbers.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().and_then(|flat| flat.to_dtype(DType::F64));
    flat.and_then(|flat| flat.to_vec1()).expect("a tensor of numbers")
}

/// The bits of an f32 tensor, flattened.
///
/// # Panics
/// If it is not f32.
pub fn bits(tensor: &Tensor) -> Vec<u32> {
    let flat = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("an f32 tensor");
    flat.into_iter().map(f32::to_bits).collect()
}

/// Gives every parameter values at which it matters: weights that keep the scale of what goes
/// through them, norm scales around 1, biases and tokens that are not 0.
///
/// # Panics
/// If the store refuses its own shapes.
pub fn randomize(store: &ParamStore, seed: u64) {
    let entries = store.modules().iter().flat_map(|module| module.entries.iter());
    for (draw, entry) in entries.enumerate() {
        let mut rng = rng(seed, draw as u32 + 1);
        let inputs = entry.shape.iter().skip(1).product::<usize>() as f64;
        let value = |normal: f64| match entry.role {
            Role::Weight => normal / inputs.sqrt(),
            Role::Bias => 0.2 * normal,
            Role::Scale => 1.0 + 0.2 * normal,
            Role::Token => 0.5 * normal,
            Role::Statistic => 1.0 + 0.2 * normal.abs(),
        };
        let values: Vec<f32> = (0..entry.len()).map(|_| value(rng.normal()) as f32).collect();
        let tensor = Tensor::from_vec(values, entry.shape.as_slice(), store.device()).expect("the entry's shape");
        store.set(&entry.name, &tensor).expect("the store's own name and shape");
    }
}

/// Every parameter with its gradient, `[len]` each.
///
/// # Panics
/// If the gradients are another store's.
pub fn named_gradients(store: &ParamStore, gradients: &Gradients) -> Vec<(Entry, Tensor)> {
    assert_eq!(store.modules().len(), gradients.buffers.len(), "gradients of another store");
    let modules = store.modules().iter().zip(&gradients.buffers);
    let of_module = modules.flat_map(|(module, buffer)| {
        let piece = |entry: &Entry| buffer.narrow(0, entry.offset, entry.len()).expect("an entry lies in its buffer");
        module.entries.iter().map(move |entry| (entry.clone(), piece(entry)))
    });
    of_module.collect()
}

/// The gradient of one parameter.
///
/// # Panics
/// If the store has no such parameter.
pub fn gradient_of(store: &ParamStore, gradients: &Gradients, name: &str) -> Tensor {
    let found = named_gradients(store, gradients).into_iter().find(|(entry, _)| entry.name == name);
    found.unwrap_or_else(|| panic!("no parameter {name}")).1
}

/// Runs something in a pool of its own.
///
/// # Panics
/// If no thread can be started.
pub fn in_pool<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(run)
}
