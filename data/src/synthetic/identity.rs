//! Who people are: everything about a person that does not change between pictures.

use super::draw::{Draws, Group, Purpose, pick, pick_weighted, uniform};
use super::palette;
use crate::rng::Rng;

/// Index of a color in its palette.
pub(super) type ColorIndex = u8;

/// Hair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HairStyle {
    /// None.
    Bald,
    /// Cap of hair.
    Short,
    /// Down to the shoulders.
    Long,
    /// Tied at the back.
    Ponytail,
    /// Knot on top.
    Bun,
}

/// Kind of upper garment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpperKind {
    /// Long sleeves.
    LongSleeve,
    /// Sleeves to above the elbow.
    ShortSleeve,
    /// Long sleeves and a skirt to the middle of the thigh.
    Coat,
}

/// Kind of lower garment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowerKind {
    /// Long trousers.
    Trousers,
    /// To the knee.
    Shorts,
    /// To the knee, one piece.
    Skirt,
}

/// Pattern in a garment's second color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Stripes around the body.
    HorizontalStripes,
    /// Stripes along the body.
    VerticalStripes,
    /// Checkerboard.
    Checks,
    /// Dots on a lattice.
    Dots,
    /// Lower half in the second color.
    ColorBlock,
}

/// A garment's colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cloth {
    /// Base color, an index of the clothes palette.
    pub base: u8,
    /// Pattern and its color; none if plain.
    pub pattern: Option<(Pattern, u8)>,
}

/// Shape of a logo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoShape {
    /// Filled circle.
    Disc,
    /// Filled square.
    Square,
    /// Upright cross.
    Cross,
    /// Horizontal bar.
    Bar,
}

/// Print on the front of the upper garment, seen from the front only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logo {
    /// Shape.
    pub shape: LogoShape,
    /// Index of the clothes palette.
    pub color: u8,
    /// -1 the wearer's left, 0 the middle, 1 right.
    pub place: i8,
}

/// Kind of bag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BagKind {
    /// On the back; only its straps show from the front.
    Backpack,
    /// At the hip, on a strap across the chest.
    Shoulder,
    /// In the hand.
    Hand,
}

/// Kind of hat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HatKind {
    /// With a peak.
    Cap,
    /// Knitted, down to the ears.
    Beanie,
}

/// All attributes of a person. Colors are indices into fixed palettes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Identity {
    /// Height in meters.
    pub height: f32,
    /// Width of the trunk, relative to the average.
    pub girth: f32,
    /// Thickness of the limbs, relative to the average.
    pub limbs: f32,
    /// Skin tone, an index of the skin palette.
    pub skin: u8,
    /// Hair style.
    pub hair: HairStyle,
    /// Hair color, an index of the hair palette.
    pub hair_color: u8,
    /// Kind of upper garment.
    pub upper: UpperKind,
    /// Colors of the upper garment.
    pub upper_cloth: Cloth,
    /// Print on the chest.
    pub logo: Option<Logo>,
    /// Kind of lower garment.
    pub lower: LowerKind,
    /// Colors of the lower garment.
    pub lower_cloth: Cloth,
    /// Shoes, an index of the clothes palette.
    pub shoes: u8,
    /// Bag and its color.
    pub bag: Option<(BagKind, u8)>,
    /// Hat and its color.
    pub hat: Option<(HatKind, u8)>,
}

/// People come in blocks of this many; the second of each block is the first one's look-alike, so
/// that two fifths of a long list, and never less than a third, have one.
const BLOCK: u32 = 5;

impl Identity {
    /// Person `index` of a group.
    pub(super) fn of(draws: Draws, group: Group, index: u32) -> Self {
        if index % BLOCK != 1 {
            return Self::drawn(&mut draws.stream(Purpose::Identity, group, index));
        }
        let twin = Self::drawn(&mut draws.stream(Purpose::Identity, group, index - 1));
        twin.look_alike(&mut draws.stream(Purpose::LookAlike, group, index))
    }

    fn drawn(rng: &mut Rng) -> Self {
        let upper =
            [UpperKind::LongSleeve, UpperKind::ShortSleeve, UpperKind::Coat][pick_weighted(rng, &[0.4, 0.4, 0.2])];
        let lower = [LowerKind::Trousers, LowerKind::Shorts, LowerKind::Skirt][pick_weighted(rng, &[0.6, 0.2, 0.2])];
        let hair = [HairStyle::Bald, HairStyle::Short, HairStyle::Long, HairStyle::Ponytail, HairStyle::Bun];
        let upper_cloth = cloth(rng, 0.55);
        Self {
            height: uniform(rng, 1.55, 1.92),
            girth: uniform(rng, 0.85, 1.25),
            limbs: uniform(rng, 0.85, 1.2),
            skin: rng.below(palette::SKIN.len()) as ColorIndex,
            hair: hair[pick_weighted(rng, &[0.08, 0.42, 0.28, 0.12, 0.1])],
            hair_color: rng.below(palette::HAIR.len()) as ColorIndex,
            upper,
            upper_cloth,
            logo: rng.chance(0.35).then(|| logo(rng, upper_cloth.base)),
            lower,
            lower_cloth: cloth(rng, 0.2),
            shoes: clothes_color(rng),
            bag: rng.chance(0.5).then(|| bag(rng)),
            hat: rng.chance(0.3).then(|| hat(rng)),
        }
    }

    /// A copy that differs in one local attribute that can be seen.
    fn look_alike(mut self, rng: &mut Rng) -> Self {
        loop {
            let before = self;
            match rng.below(6) {
                0 => self.logo = (self.logo.is_none() || rng.chance(0.5)).then(|| logo(rng, self.upper_cloth.base)),
                1 => self.bag = (self.bag.is_none() || rng.chance(0.5)).then(|| bag(rng)),
                2 => self.hat = (self.hat.is_none() || rng.chance(0.5)).then(|| hat(rng)),
                3 => self.shoes = clothes_color(rng),
                4 if self.hair != HairStyle::Bald => self.hair_color = rng.below(palette::HAIR.len()) as ColorIndex,
                5 => {
                    if let Some((_, color)) = &mut self.upper_cloth.pattern {
                        *color = other_color(rng, self.upper_cloth.base);
                    }
                }
                _ => {}
            }
            if before != self {
                return self;
            }
        }
    }

    /// How many attributes of two people differ. A logo, a bag, a hat and a pattern's color each
    /// count as one.
    pub fn differences(&self, other: &Self) -> usize {
        let pattern = |cloth: &Cloth| cloth.pattern.map(|(pattern, _)| pattern);
        let second = |cloth: &Cloth| cloth.pattern.map(|(_, color)| color);
        [
            self.height.to_bits() != other.height.to_bits(),
            self.girth.to_bits() != other.girth.to_bits(),
            self.limbs.to_bits() != other.limbs.to_bits(),
            self.skin != other.skin,
            self.hair != other.hair,
            self.hair_color != other.hair_color,
            self.upper != other.upper,
            self.upper_cloth.base != other.upper_cloth.base,
            pattern(&self.upper_cloth) != pattern(&other.upper_cloth),
            second(&self.upper_cloth) != second(&other.upper_cloth),
            self.logo != other.logo,
            self.lower != other.lower,
            self.lower_cloth.base != other.lower_cloth.base,
            pattern(&self.lower_cloth) != pattern(&other.lower_cloth),
            second(&self.lower_cloth) != second(&other.lower_cloth),
            self.shoes != other.shoes,
            self.bag != other.bag,
            self.hat != other.hat,
        ]
        .iter()
        .filter(|&&differs| differs)
        .count()
    }
}

fn clothes_color(rng: &mut Rng) -> ColorIndex {
    pick_weighted(rng, &palette::CLOTHES_WEIGHTS) as ColorIndex
}

/// A color that can be told from `base`.
fn other_color(rng: &mut Rng, base: ColorIndex) -> ColorIndex {
    loop {
        let color = clothes_color(rng);
        let distance: f32 = (0..3)
            .map(|c| (palette::CLOTHES[usize::from(color)][c] - palette::CLOTHES[usize::from(base)][c]).abs())
            .sum();
        if distance > 0.45 {
            return color;
        }
    }
}

fn cloth(rng: &mut Rng, patterned: f64) -> Cloth {
    let patterns =
        [Pattern::HorizontalStripes, Pattern::VerticalStripes, Pattern::Checks, Pattern::Dots, Pattern::ColorBlock];
    let base = clothes_color(rng);
    let pattern = rng.chance(patterned).then(|| (pick(rng, &patterns), other_color(rng, base)));
    Cloth { base, pattern }
}

fn logo(rng: &mut Rng, base: ColorIndex) -> Logo {
    let shape = pick(rng, &[LogoShape::Disc, LogoShape::Square, LogoShape::Cross, LogoShape::Bar]);
    Logo { shape, color: other_color(rng, base), place: pick(rng, &[-1, 0, 1]) }
}

fn bag(rng: &mut Rng) -> (BagKind, ColorIndex) {
    (pick(rng, &[BagKind::Backpack, BagKind::Shoulder, BagKind::Hand]), clothes_color(rng))
}

fn hat(rng: &mut Rng) -> (HatKind, ColorIndex) {
    (pick(rng, &[HatKind::Cap, HatKind::Beanie]), clothes_color(rng))
}
