//! A rendered world: which pictures exist, and each picture from its place in the list.

use super::camera::{Camera, SCENES};
use super::canvas::{Canvas, Layer};
use super::draw::{Draws, Group, Purpose, uniform};
use super::identity::Identity;
use super::occluder::Occluder;
use super::person::Figure;
use super::pose::Pose;
use super::scene::PERIOD;
use super::sensor;
use super::stage::{Crop, Stage};
use crate::dataset::Split;
use crate::image::Image;
use crate::rng::Rng;
use crate::spec::{SyntheticDomain, SyntheticSpec};

/// Pool cameras for each labelled one: the pool is the more varied part.
const POOL_CAMERAS: usize = 2;

/// Largest number of identities of each labelled part; the second domain counts on from there.
pub(super) const MOST_IDENTITIES: i64 = 100_000;

/// Share of the person that an occluder hides in ordinary pictures, smallest and largest.
const HIDDEN: [f32; 2] = [0.04, 0.75];

/// The same in the occluded test set.
const HIDDEN_TEST: [f32; 2] = [0.2, 0.7];

/// Occluders tried before a plain board takes their place.
const ATTEMPTS: usize = 24;

/// One picture of the world, not yet rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Part of the data set.
    pub split: Split,
    /// Identity as in the file name; -1 in the pool.
    pub pid: i64,
    /// Camera, 0-based; the pool's follow the labelled ones.
    pub camera: u32,
    /// Scene of the camera, 0-based.
    pub scene: u32,
    /// Running number among the pictures of the same kind.
    pub number: u32,
    person: u32,
    pictures: Group,
}

/// A picture and what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendering {
    /// Pixels before JPEG.
    pub image: Image,
    /// Exact share of the person's samples within the picture that an occluder covers; 0 without one.
    pub hidden: f32,
}

/// Everything that a spec describes.
pub struct World {
    spec: SyntheticSpec,
    draws: Draws,
    cameras: Vec<Camera>,
}

impl Shot {
    /// Path below the data set's root.
    pub fn path(&self) -> String {
        let (camera, scene, number) = (self.camera + 1, self.scene + 1, self.number);
        match self.split {
            Split::Pool => format!("pool/pool_c{camera}s{scene}_{number:06}.jpg"),
            split => format!("{}/{:04}_c{camera}s{scene}_{number:06}_00.jpg", folder(split), self.pid),
        }
    }

    /// Group that the person belongs to.
    fn people(&self) -> Group {
        if self.pictures == Group::Occluded { Group::Test } else { self.pictures }
    }
}

/// Folder of a split, named as in Market-1501.
pub(super) fn folder(split: Split) -> &'static str {
    match split {
        Split::Pool => "pool",
        Split::Train => "bounding_box_train",
        Split::ValidationQuery => "validation_query",
        Split::ValidationGallery => "validation_gallery",
        Split::Query => "query",
        Split::Gallery => "bounding_box_test",
        Split::OccludedQuery => "occluded_query",
    }
}

/// All splits, in the order in which they are written.
pub const SPLITS: [Split; 7] = [
    Split::Train,
    Split::ValidationQuery,
    Split::ValidationGallery,
    Split::Query,
    Split::Gallery,
    Split::OccludedQuery,
    Split::Pool,
];

impl World {
    /// The world of a spec. Only cameras are made; people and pictures follow on demand.
    pub fn new(spec: &SyntheticSpec) -> Self {
        let draws = Draws::new(spec);
        let labelled = (0..spec.cameras as u32).map(|index| Camera::of(draws, spec.domain, Group::Train, index));
        let pool =
            (0..(POOL_CAMERAS * spec.cameras) as u32).map(|index| Camera::of(draws, spec.domain, Group::Pool, index));
        Self { spec: spec.clone(), draws, cameras: labelled.chain(pool).collect() }
    }

    /// Who is in a picture.
    pub fn identity(&self, shot: &Shot) -> Identity {
        Identity::of(self.draws, shot.people(), shot.person)
    }

    /// The pictures of a split, in path order for each identity.
    ///
    /// An identity is seen by half as many cameras as it has pictures (two at least), so that each
    /// of them has a picture left for the gallery when the first one is the query.
    pub fn shots(&self, split: Split) -> Vec<Shot> {
        let sightings = self.sightings() as u32;
        let images = self.spec.images_per_identity as u32;
        let (pictures, people) = match split {
            Split::Pool => (Group::Pool, self.spec.pool_factor * self.spec.train_identities),
            Split::Train => (Group::Train, self.spec.train_identities),
            Split::ValidationQuery | Split::ValidationGallery => (Group::Validation, self.spec.validation_identities),
            Split::Query | Split::Gallery => (Group::Test, self.spec.test_identities),
            Split::OccludedQuery => (Group::Occluded, self.spec.test_identities),
        };
        let takes = match split {
            Split::Pool | Split::Train => 0..images,
            Split::ValidationQuery | Split::Query | Split::OccludedQuery => 0..sightings,
            Split::ValidationGallery | Split::Gallery => sightings..images,
        };
        let people = 0..people as u32;
        people
            .flat_map(|person| takes.clone().map(move |take| (person, take)))
            .map(|(person, take)| self.shot(split, pictures, person, take, person * images + take))
            .collect()
    }

    /// Renders a picture.
    pub fn render(&self, shot: &Shot) -> Rendering {
        let (scene, figure) = (self.background(shot), self.identity(shot));
        let (canvas, _) = self.peopled(shot, scene, &figure);
        Rendering { hidden: canvas.hidden(), image: self.exposed(shot, &canvas) }
    }

    /// The same scene, crop, occluder and noise with the person and the person's shadow left out.
    pub fn render_without_person(&self, shot: &Shot) -> Image {
        let mut empty = self.background(shot);
        let (_, occluder) = self.peopled(shot, empty.clone(), &self.identity(shot));
        if let Some(occluder) = occluder {
            occluder.draw(&mut empty, &self.stage(shot));
        }
        self.exposed(shot, &empty)
    }

    /// JPEG quality of the shot's camera.
    pub fn quality(&self, shot: &Shot) -> u8 {
        self.camera(shot).quality
    }

    /// A camera's viewpoint and its scenes as text, to tell cameras and scenes apart.
    ///
    /// # Panics
    /// If no camera has this number.
    pub fn describe_camera(&self, camera: u32) -> (String, Vec<String>) {
        let camera = &self.cameras[camera as usize];
        (camera.viewpoint(), camera.scenes.iter().map(|scene| format!("{scene:?}")).collect())
    }

    /// Cameras that see one identity.
    fn sightings(&self) -> usize {
        (self.spec.images_per_identity / 2).max(2).min(self.spec.cameras)
    }

    fn shot(&self, split: Split, pictures: Group, person: u32, take: u32, number: u32) -> Shot {
        let (first_camera, cameras) = match pictures {
            Group::Pool => (self.spec.cameras, POOL_CAMERAS * self.spec.cameras),
            _ => (0, self.spec.cameras),
        };
        let mut order: Vec<usize> = (first_camera..first_camera + cameras).collect();
        let people = if pictures == Group::Occluded { Group::Test } else { pictures };
        self.draws.stream(Purpose::Sighting, people, person).shuffle(&mut order);
        let camera = order[take as usize % self.sightings()] as u32;
        let scene = self.draws.stream(Purpose::Place, pictures, number).below(SCENES as usize) as u32;
        Shot { split, pid: self.pid(pictures, person), camera, scene, number, person, pictures }
    }

    /// Identities are numbered from 1 through train, validation and test.
    fn pid(&self, pictures: Group, person: u32) -> i64 {
        let before = match pictures {
            Group::Pool | Group::Passer => return -1,
            Group::Train => 0,
            Group::Validation => self.spec.train_identities,
            Group::Test | Group::Occluded => self.spec.train_identities + self.spec.validation_identities,
        };
        let domain = match self.spec.domain {
            SyntheticDomain::First => 0,
            SyntheticDomain::Second => 3 * MOST_IDENTITIES,
        };
        domain + before as i64 + i64::from(person) + 1
    }

    fn camera(&self, shot: &Shot) -> &Camera {
        &self.cameras[shot.camera as usize]
    }

    fn stream(&self, shot: &Shot, purpose: Purpose) -> Rng {
        self.draws.stream(purpose, shot.pictures, shot.number)
    }

    /// Samples to a pixel along each side: small pictures need more.
    fn factor(&self) -> usize {
        if self.spec.size.0 < 96 { 3 } else { 2 }
    }

    /// Where along the scene the person stands, in meters.
    fn place(&self, shot: &Shot) -> f32 {
        let mut rng = self.stream(shot, Purpose::Place);
        // The first number of the stream chose the scene.
        rng.next_u64();
        uniform(&mut rng, 0.0, PERIOD)
    }

    fn stage(&self, shot: &Shot) -> Stage {
        let mut rng = self.stream(shot, Purpose::Crop);
        let crop = Crop {
            right: uniform(&mut rng, -0.035, 0.035),
            down: uniform(&mut rng, -0.03, 0.03),
            zoom: uniform(&mut rng, 0.95, 1.07),
        };
        let factor = self.factor();
        Stage::new(self.camera(shot), crop, self.spec.size.0 * factor, self.spec.size.1 * factor)
    }

    fn background(&self, shot: &Shot) -> Canvas {
        let factor = self.factor();
        let mut canvas = Canvas::new(self.spec.size.0 * factor, self.spec.size.1 * factor);
        self.camera(shot).scenes[shot.scene as usize].paint(&mut canvas, &self.stage(shot), self.place(shot));
        canvas
    }

    /// Adds the person and, where one is due, an occluder to a background.
    fn peopled(&self, shot: &Shot, mut canvas: Canvas, identity: &Identity) -> (Canvas, Option<Occluder>) {
        let stage = self.stage(shot);
        let pose = Pose::drawn(&mut self.stream(shot, Purpose::Pose));
        let figure = Figure::new(identity, &pose, &stage);
        figure.draw_shadow(&mut canvas);
        canvas.layer = Layer::Person;
        figure.draw(&mut canvas);

        let mut rng = self.stream(shot, Purpose::Occluder);
        let bounds = match shot.pictures {
            Group::Occluded => HIDDEN_TEST,
            _ if rng.chance(self.spec.occlusion) => HIDDEN,
            _ => return (canvas, None),
        };
        for _ in 0..ATTEMPTS {
            let occluder = Occluder::drawn(&mut rng, self.draws);
            let mut tried = canvas.clone();
            occluder.draw(&mut tried, &stage);
            if (bounds[0]..=bounds[1]).contains(&tried.hidden()) {
                return (tried, Some(occluder));
            }
        }
        let board = Occluder::board(&mut rng, canvas.row_above(f32::midpoint(bounds[0], bounds[1])));
        board.draw(&mut canvas, &stage);
        (canvas, Some(board))
    }

    fn exposed(&self, shot: &Shot, canvas: &Canvas) -> Image {
        let (camera, stage, place) = (self.camera(shot), self.stage(shot), self.place(shot));
        let scene = &camera.scenes[shot.scene as usize];
        let light =
            |x: f32, y: f32| scene.light((x - stage.foot[0]) / stage.scale + place, (stage.foot[1] - y) / stage.scale);
        sensor::expose(canvas, self.factor(), camera, &mut self.stream(shot, Purpose::Sensor), light)
    }
}
