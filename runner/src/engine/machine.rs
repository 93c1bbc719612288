//! What computes: a device, its instructions, threads.

use candle_core::Device;
use reid_experiments::settings::{DeviceName, Settings};

use crate::exit::RunError;

/// The machine as its settings describe it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Device of all tensors.
    pub device: Device,
    /// Its class, such as `cpu`: an unfinished stage is resumed on the same class only.
    pub class: &'static str,
    /// Vector instructions of the numeric kernels.
    pub instruction_set: &'static str,
    /// Stages that are computed at the same time.
    pub jobs: usize,
    /// Threads that compute a stage; 0 for one per processor.
    pub threads: usize,
    /// Loader threads.
    pub workers: usize,
}

impl Machine {
    /// Opens the device.
    ///
    /// # Errors
    /// If this build cannot use it, or it is not there.
    pub fn open(settings: &Settings) -> Result<Self, RunError> {
        let name: DeviceName = settings.device.parse().map_err(RunError::Usage)?;
        let (device, class) = match name {
            DeviceName::Cpu => (Ok(Device::Cpu), "cpu"),
            DeviceName::Cuda(number) => (Device::new_cuda(number), "cuda"),
            DeviceName::Metal => (Device::new_metal(0), "metal"),
        };
        let available = match name {
            DeviceName::Cpu => true,
            DeviceName::Cuda(_) => candle_core::utils::cuda_is_available(),
            DeviceName::Metal => candle_core::utils::metal_is_available(),
        };
        let device = device.map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or_default();
            let name = &settings.device;
            RunError::Usage(if available {
                format!("device `{name}` cannot be opened ({reason}); use `cpu` or another number")
            } else {
                format!("device `{name}` is not in this build; build with `--features {class}` (.github/CONTRIBUTING.md), or use `cpu`")
            })
        })?;
        let Settings { jobs, workers, .. } = *settings;
        let threads = settings.threads_of_a_job();
        let instruction_set = reid_backbones::instruction_set().features();
        Ok(Self { device, class, instruction_set, jobs: jobs.get(), threads, workers })
    }
}
