//! Parameters: one contiguous f32 buffer per module, a table of what lies in it, and views by name.
//!
//! A module is what one fused operator reads: a transformer block, a linear layer, a norm, a
//! table of tokens. Gradients have the same layout, so clipping, averaging, the optimiser and a
//! reduction across processes are passes over whole buffers.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use crate::error::{BackboneError, Result};
use crate::init::{Init, InitSource};
use crate::spec::Precision;

/// Role of a parameter; decides weight decay and bias rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Matrix of a linear layer or a patch embedding.
    Weight,
    /// Additive vector.
    Bias,
    /// Scale of a norm.
    Scale,
    /// Learnt token or position table.
    Token,
    /// Running mean or variance: part of the model, moved by batches instead of gradients.
    Statistic,
}

/// What a module is made of, before it has values.
#[derive(Clone, Debug)]
pub struct ParamDef {
    /// Name inside the module, such as `attn.qkv.weight`; empty for a module that is one tensor.
    pub name: &'static str,
    /// Shape.
    pub shape: Vec<usize>,
    /// Role.
    pub role: Role,
    /// Initial values.
    pub init: Init,
}

/// One tensor of a module.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Full name, timm's where timm has the tensor.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// First element in the module's buffer.
    pub offset: usize,
    /// Role.
    pub role: Role,
}

impl Entry {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A contiguous buffer and the table of its tensors.
#[derive(Clone, Debug)]
pub struct Module {
    /// Name, such as `blocks.0`.
    pub name: String,
    /// Layer index for layer-wise rates: 0 the embedding, i + 1 block i, depth + 1 all else.
    pub layer: usize,
    /// Tensors in order; offsets ascend without gaps.
    pub entries: Arc<[Entry]>,
    /// Whether it keeps its values: no gradient reaches it, and no update changes it.
    pub frozen: bool,
    var: Var,
}

impl Module {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.var.elem_count()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer, `[len]`.
    pub fn var(&self) -> &Var {
        &self.var
    }
}

/// Handle of a module in the store that built it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleId(usize);

impl ModuleId {
    /// Its place among the store's modules.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// Named parameters in contiguous buffers.
#[derive(Clone, Debug)]
pub struct ParamStore {
    modules: Vec<Module>,
    index: BTreeMap<String, (usize, usize)>,
    device: Device,
    compute: Compute,
}

/// How forward and backward passes through a store are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compute {
    /// Number format of matrix products.
    pub precision: Precision,
    /// Transformer blocks keep only their input, and compute the rest once more in the backward pass (Chen
    /// et al., arXiv 1604.06174). Changes memory and time, no number.
    pub recompute: bool,
}

/// Gradients of a store: one flat tensor per module, same order and layout. Changed in place, so they
/// are not to be shared: there is no `Clone`.
#[derive(Debug)]
pub struct Gradients {
    /// `[len]` per module.
    pub buffers: Vec<Tensor>,
}

impl ParamStore {
    /// An empty store.
    pub fn new(device: &Device) -> Self {
        Self { modules: Vec::new(), index: BTreeMap::new(), device: device.clone(), compute: Compute::default() }
    }

    /// Where the buffers live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How later forward passes are computed.
    pub fn set_compute(&mut self, compute: Compute) {
        self.compute = compute;
    }

    /// Adds a module with initial values keyed by each parameter's full name.
    ///
    /// # Panics
    /// If a name is taken: two parts of a model share a prefix, which is our bug.
    ///
    /// # Errors
    /// If the parameters do not fit, or candle refuses.
    pub fn add(&mut self, name: &str, layer: usize, defs: &[ParamDef], source: &InitSource) -> Result<ModuleId> {
        // Grown piece by piece it would keep room for twice as many.
        let len = defs.iter().map(|def| def.shape.iter().product::<usize>()).sum();
        let mut values = Vec::with_capacity(len);
        let mut entries = Vec::with_capacity(defs.len());
        for def in defs {
            let full = if def.name.is_empty() { name.to_owned() } else { format!("{name}.{}", def.name) };
            let entry = Entry { name: full, shape: def.shape.clone(), offset: values.len(), role: def.role };
            values.extend(def.init.values(&entry.name, entry.len(), source));
            let taken = self.index.insert(entry.name.clone(), (self.modules.len(), entries.len()));
            assert!(taken.is_none(), "parameter {} defined twice", entry.name);
            entries.push(entry);
        }
        let var = Var::from_vec(values, len, &self.device)?;
        self.modules.push(Module { name: name.to_owned(), layer, entries: entries.into(), frozen: false, var });
        Ok(ModuleId(self.modules.len() - 1))
    }

    /// Makes the modules whose names begin so keep their values from now on.
    ///
    /// # Panics
    /// If there is none, which is our bug.
    pub fn freeze(&mut self, prefix: &str) {
        let mut modules = self.modules.iter_mut().filter(|module| module.name.starts_with(prefix)).peekable();
        assert!(modules.peek().is_some(), "no module {prefix} to freeze");
        modules.for_each(|module| module.frozen = true);
    }

    /// A copy with buffers of its own, such as a teacher.
    ///
    /// # Errors
    /// If the parameters do not fit, or candle refuses.
    pub fn duplicate(&self) -> Result<Self> {
        let mut copy = self.clone();
        for module in &mut copy.modules {
            module.var = Var::from_tensor(&module.var.as_detached_tensor().copy()?)?;
        }
        Ok(copy)
    }

    /// All modules, in order of definition.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// One module.
    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0]
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.modules.iter().map(Module::len).sum()
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sorted names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// A detached copy of one tensor.
    pub fn get(&self, name: &str) -> Option<Result<Tensor>> {
        let &(module, entry) = self.index.get(name)?;
        let module = &self.modules[module];
        Some(view(&module.var.as_detached_tensor(), &module.entries[entry]).and_then(|t| Ok(t.copy()?)))
    }

    /// Overwrites one tensor.
    ///
    /// # Errors
    /// If there is no such tensor, or its shape differs.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<()> {
        let &(module, entry) =
            self.index.get(name).ok_or_else(|| BackboneError::UnknownParameter { name: name.to_owned() })?;
        let module = &self.modules[module];
        let entry = &module.entries[entry];
        if value.dims() != entry.shape {
            return Err(BackboneError::Shape {
                name: name.to_owned(),
                expected: entry.shape.clone(),
                found: value.dims().to_vec(),
            });
        }
        let flat = value.to_device(&self.device)?.to_dtype(candle_core::DType::F32)?.flatten_all()?;
        let whole = module.var.as_detached_tensor();
        let (before, after) = (entry.offset, entry.offset + entry.len());
        let pieces = [whole.narrow(0, 0, before)?, flat, whole.narrow(0, after, module.len() - after)?];
        let kept: Vec<&Tensor> = pieces.iter().filter(|piece| piece.elem_count() > 0).collect();
        Ok(module.var.set(&Tensor::cat(&kept, 0)?)?)
    }

    /// Every tensor by name, copied.
    ///
    /// # Errors
    /// If the parameters do not fit, or candle refuses.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        self.index.keys().map(|name| Ok((name.clone(), self.get(name).unwrap_or_else(|| unreachable!())?))).collect()
    }

    /// Every buffer by module name, copied: the exact state, for checkpoints.
    ///
    /// # Errors
    /// If the parameters do not fit, or candle refuses.
    pub fn buffers(&self, prefix: &str) -> Result<Vec<(String, Tensor)>> {
        let copy = |module: &Module| Ok((format!("{prefix}{}", module.name), module.var.as_detached_tensor().copy()?));
        self.modules.iter().map(copy).collect()
    }

    /// Restores every buffer that [`Self::buffers`] wrote.
    ///
    /// # Errors
    /// If one is missing or has another length.
    pub fn restore(&self, prefix: &str, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for module in &self.modules {
            let name = format!("{prefix}{}", module.name);
            let saved = state.get(&name).ok_or_else(|| BackboneError::UnknownParameter { name: name.clone() })?;
            if saved.dims() != module.var.dims() {
                let (expected, found) = (module.var.dims().to_vec(), saved.dims().to_vec());
                return Err(BackboneError::Shape { name, expected, found });
            }
            module.var.set(&saved.to_device(&self.device)?)?;
        }
        Ok(())
    }

    /// This store's gradients out of a backward pass; zeros for modules that took no part.
    ///
    /// # Errors
    /// If the parameters do not fit, or candle refuses.
    pub fn gradients(&self, grads: &mut GradStore) -> Result<Gradients> {
        let take = |module: &Module| match grads.remove(module.var.as_tensor()) {
            Some(grad) => Ok(grad.flatten_all()?.contiguous()?),
            None => Ok(module.var.zeros_like()?.detach()),
        };
        Ok(Gradients { buffers: self.modules.iter().map(take).collect::<Result<_>>()? })
    }

    /// Parameters for a forward pass that records a graph.
    pub fn training(&self) -> Params<'_> {
        Params { store: self, tracked: true }
    }

    /// Parameters for a forward pass that records nothing.
    pub fn frozen(&self) -> Params<'_> {
        Params { store: self, tracked: false }
    }
}

impl Gradients {
    /// Adds another pass's gradients.
    ///
    /// # Errors
    /// If the parameters do not fit, or candle refuses.
    pub fn accumulate(&mut self, other: &Self) -> Result<()> {
        for (sum, add) in self.buffers.iter_mut().zip(&other.buffers) {
            *sum = (&*sum + add)?;
        }
        Ok(())
    }
}

/// A store as a forward pass sees it: with or without a graph.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    store: &'a ParamStore,
    tracked: bool,
}

impl Params<'_> {
    /// Whether gradients are wanted.
    pub fn tracked(&self) -> bool {
        self.tracked
    }

    /// How passes are computed.
    pub fn compute(&self) -> Compute {
        self.store.compute
    }

    /// Number format of matrix products.
    pub fn precision(&self) -> Precision {
        self.store.compute.precision
    }

    /// A module's buffer, `[len]`.
    pub fn buffer(&self, id: ModuleId) -> Tensor {
        let Module { var, frozen, .. } = &self.store.modules[id.0];
        if self.tracked && !frozen { var.as_tensor().clone() } else { var.as_detached_tensor() }
    }

    /// A module's only tensor, in its shape.
    ///
    /// # Panics
    /// If the module holds several, which is our bug.
    ///
    /// # Errors
    /// If the parameters do not fit, or candle refuses.
    pub fn tensor(&self, id: ModuleId) -> Result<Tensor> {
        let module = &self.store.modules[id.0];
        assert_eq!(module.entries.len(), 1, "module {} holds several tensors", module.name);
        Ok(self.buffer(id).reshape(module.entries[0].shape.as_slice())?)
    }

    /// The tables' entries of a module.
    pub fn entries(&self, id: ModuleId) -> &[Entry] {
        &self.store.modules[id.0].entries
    }
}

/// One tensor of a flat buffer.
pub(crate) fn view(buffer: &Tensor, entry: &Entry) -> Result<Tensor> {
    Ok(buffer.narrow(0, entry.offset, entry.len())?.reshape(entry.shape.as_slice())?)
}
