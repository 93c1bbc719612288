//! The built-in data: a procedural renderer of people, so that the program works with nothing
//! downloaded.
//!
//! A spec describes a *world*: identities (body, skin, hair, clothes with patterns and logos,
//! shoes, bag, hat), cameras (scenes, viewpoint, light, color cast, blur, noise, JPEG quality) and
//! pictures (pose, heading, crop jitter, occluder). Two fifths of the identities, and never less
//! than a third, come in pairs that differ in one local attribute. Each picture is a pure function
//! of the spec and its place in the list, so any number of threads writes the same bytes; camera,
//! scene, pose, crop and occluder are keyed by the picture and not by the person, which makes them
//! independent of identity. (An occluder is drawn again until it hides a share of the person within
//! bounds, 4 to 75 % in ordinary pictures and 20 to 70 % in the occluded test set; only through that
//! does it depend on the silhouette.)
//!
//! The pool has people, cameras and scenes of its own. The second domain has other kinds of scenes
//! and light, and shares no random number with the first.
//!
//! Arithmetic uses `+ - * /` and `sqrt` only, which IEEE 754 fixes to the last bit: pixels do not
//! depend on the machine. A committed fingerprint freezes them; whoever changes a pixel raises
//! [`RENDERER_VERSION`].
//!
//! Not here: decoding, splitting, training. What is written is an ordinary folder in Market-1501
//! layout, opened like any other.

mod audit;
mod camera;
mod canvas;
mod cloth;
mod draw;
mod identity;
mod math;
mod occluder;
mod palette;
mod person;
mod pose;
mod scene;
mod sensor;
mod sheet;
mod stage;
mod world;
mod write;

pub use audit::{AuditFeature, AuditFeatures, attribute_vector, audit_features, chance_map, stripe_histograms};
pub use identity::{BagKind, Cloth, HairStyle, HatKind, Identity, Logo, LogoShape, LowerKind, Pattern, UpperKind};
pub use sheet::contact_sheet;
pub use world::{Rendering, SPLITS, Shot, World};
pub use write::{encode_jpeg, materialise, write_dataset};

/// Version of the renderer: part of every fingerprint of built-in data, raised whenever a pixel
/// changes.
pub const RENDERER_VERSION: u32 = 1;
