//! A memory of two domains (SpCL, Ge et al., arXiv 2006.02713, section 3.1): a place for every identity of the source and for
//! every picture of the target, and classes of places.

use candle_core::{Device, Tensor};
use reid_backbones::{Result, ops};

use crate::math::distance::normalize_rows;

/// A label of places that belong to no class: pictures that cannot be read.
pub const NOWHERE: u32 = u32::MAX;

/// Places, and classes of them.
#[derive(Clone, Debug)]
pub struct HybridMemory {
    /// `[m, d]`, rows of length 1.
    places: Vec<f32>,
    /// `[m]`, the class of each place.
    labels: Vec<u32>,
    /// Places of each class.
    members: Vec<Vec<u32>>,
    /// `[c, d]`, means of the places of each class.
    centres: Vec<f32>,
    width: usize,
    device: Device,
}

impl HybridMemory {
    /// From places of length 1 and the class of each.
    ///
    /// # Shapes
    /// - `places`: `[m, d]`, row-major, `d = width`; `labels`: `[m]`, dense from 0, or [`NOWHERE`]
    pub fn new(places: Vec<f32>, width: usize, labels: Vec<u32>, device: &Device) -> Self {
        let classes = labels.iter().filter(|&&label| label != NOWHERE).max().map_or(0, |last| *last as usize + 1);
        let mut members = vec![Vec::new(); classes];
        for (place, &label) in (0..).zip(&labels) {
            if label != NOWHERE {
                members[label as usize].push(place);
            }
        }
        let centres = vec![0.0; classes * width];
        let mut memory = Self { places, labels, members, centres, width, device: device.clone() };
        for class in 0..classes {
            memory.centre(class);
        }
        memory
    }

    /// From what [`Self::tensors`] gave.
    ///
    /// # Shapes
    /// - `places`: `[m, d]`; `labels`: `[m]`
    ///
    /// # Errors
    /// If they are no matrix of f32 and vector of u32.
    pub fn from_tensors(places: &Tensor, labels: &Tensor, device: &Device) -> Result<Self> {
        let (_, width) = places.dims2()?;
        Ok(Self::new(places.flatten_all()?.to_vec1()?, width, labels.to_vec1()?, device))
    }

    /// Places and their classes.
    ///
    /// # Shapes
    /// - output: `[m, d]`, `[m]`
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn tensors(&self) -> Result<(Tensor, Tensor)> {
        let count = self.labels.len();
        let places = Tensor::from_slice(&self.places, (count, self.width), &self.device)?;
        Ok((places, Tensor::from_slice(&self.labels, count, &self.device)?))
    }

    /// `[m, d]`, row-major.
    pub fn places(&self) -> &[f32] {
        &self.places
    }

    /// Mean similarity to the places of each class over the temperature: logits of the classes.
    ///
    /// # Shapes
    /// - `features`: `[b, d]`, rows of length 1; output: `[b, c]`
    ///
    /// # Errors
    /// If shapes differ.
    pub fn logits(&self, features: &Tensor, temperature: f64) -> Result<Tensor> {
        let centres = Tensor::from_slice(&self.centres, (self.members.len(), self.width), &self.device)?;
        Ok((ops::dot_products(features, &centres)? / temperature)?)
    }

    /// Lets places follow a batch, one sample after the other, after its gradient has been taken.
    ///
    /// # Shapes
    /// - `features`: `[b, d]`, row-major, rows of length 1; `places`: `[b]`
    pub fn follow(&mut self, features: &[f32], places: &[u32], momentum: f64) {
        let momentum = momentum as f32;
        for (feature, &place) in features.chunks_exact(self.width).zip(places) {
            let own = &mut self.places[place as usize * self.width..][..self.width];
            for (own, value) in own.iter_mut().zip(feature) {
                *own = momentum * *own + (1.0 - momentum) * value;
            }
            normalize_rows(own, self.width);
        }
        let of_place = |&place: &u32| self.labels[place as usize];
        let mut touched: Vec<u32> = places.iter().map(of_place).filter(|&label| label != NOWHERE).collect();
        touched.sort_unstable();
        touched.dedup();
        for class in touched {
            self.centre(class as usize);
        }
    }

    /// Takes a class's mean anew: the same numbers whatever has happened before, also after a resumption.
    fn centre(&mut self, class: usize) {
        let width = self.width;
        let mut sums = vec![0.0_f64; width];
        for &member in &self.members[class] {
            for (sum, value) in sums.iter_mut().zip(&self.places[member as usize * width..][..width]) {
                *sum += f64::from(*value);
            }
        }
        let count = self.members[class].len() as f64;
        for (centre, sum) in self.centres[class * width..][..width].iter_mut().zip(sums) {
            *centre = (sum / count) as f32;
        }
    }
}
