//! Tests of the built-in data: equal bytes everywhere, disjoint parts, and no shortcut.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use reid_data::DataError;
use reid_data::dataset::Split;
use reid_data::spec::{Size, SyntheticDomain, SyntheticSpec};
use reid_data::synthetic::{
    AuditFeature, AuditFeatures, Identity, RENDERER_VERSION, SPLITS, Shot, World, audit_features, chance_map,
    contact_sheet, encode_jpeg, materialise, write_dataset,
};
use reid_tests::golden::workspace_root;

const LABELLED: [Split; 6] = [
    Split::Train,
    Split::ValidationQuery,
    Split::ValidationGallery,
    Split::Query,
    Split::Gallery,
    Split::OccludedQuery,
];

fn silent(_: &str, _: usize, _: usize) {}

fn tiny() -> SyntheticSpec {
    SyntheticSpec {
        size: Size(32, 16),
        train_identities: 2,
        validation_identities: 2,
        test_identities: 3,
        images_per_identity: 5,
        cameras: 3,
        ..SyntheticSpec::default()
    }
}

/// Every file below a folder, by its path.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    let cache = tempfile::tempdir().unwrap();
    let rendered = [1, 2, 5].map(|threads| {
        let place = materialise(&tiny(), &cache.path().join(threads.to_string()), threads, &silent).unwrap();
        files(&place)
    });
    // 2 + 2 + 3 identities with 5 pictures, 3 with 2 occluded ones, 20 of the pool, and three texts.
    assert_eq!(rendered[0].len(), 35 + 6 + 100 + 3);
    assert_eq!(rendered[0], rendered[1]);
    assert_eq!(rendered[0], rendered[2]);
}

#[test]
fn seeds_and_domains_give_other_worlds() {
    let first = tiny();
    let other_seed = SyntheticSpec { seed: 1, ..tiny() };
    let other_domain = SyntheticSpec { domain: SyntheticDomain::Second, ..tiny() };
    let pixels = [first, other_seed, other_domain].map(|spec| {
        let world = World::new(&spec);
        world.shots(Split::Train).iter().map(|shot| world.render(shot).image.data).collect::<Vec<_>>()
    });
    assert_ne!(pixels[0], pixels[1]);
    assert_ne!(pixels[0], pixels[2]);
    assert_ne!(pixels[1], pixels[2]);
}

#[test]
fn a_rendered_world_is_kept_and_races_are_harmless() {
    let cache = tempfile::tempdir().unwrap();
    let places: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> =
            (0..3).map(|_| scope.spawn(|| materialise(&tiny(), cache.path(), 1, &silent).unwrap())).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(places.iter().all(|place| place == &places[0]));
    let left: Vec<_> = fs::read_dir(cache.path().join("synthetic")).unwrap().collect();
    assert_eq!(left.len(), 1, "unfinished folders remain");
    let modified = fs::metadata(&places[0]).unwrap().modified().unwrap();
    let again = |_: &str, _: usize, _: usize| panic!("rendered again");
    assert_eq!(materialise(&tiny(), cache.path(), 1, &again).unwrap(), places[0]);
    assert_eq!(fs::metadata(&places[0]).unwrap().modified().unwrap(), modified);
}

#[test]
fn an_output_folder_of_somebody_else_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let fresh = out.path().join("new/world");
    write_dataset(&tiny(), &fresh, 2, &silent).unwrap();
    write_dataset(&tiny(), &fresh, 2, &silent).unwrap();
    let other = SyntheticSpec { seed: 9, ..tiny() };
    let error = write_dataset(&other, &fresh, 2, &silent).unwrap_err();
    assert!(matches!(&error, DataError::Invalid { problem, .. } if problem.contains("another rendered world")));

    let foreign = out.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "three years").unwrap();
    let error = write_dataset(&tiny(), &foreign, 2, &silent).unwrap_err();
    assert!(matches!(&error, DataError::Invalid { problem, .. } if problem.contains("not ours")));
    assert_eq!(files(&foreign).len(), 1);
}

#[test]
fn specs_without_a_rendering_are_refused() {
    let cache = tempfile::tempdir().unwrap();
    let broken = [
        SyntheticSpec { cameras: 1, ..tiny() },
        SyntheticSpec { images_per_identity: 3, ..tiny() },
        SyntheticSpec { size: Size(4, 16), ..tiny() },
        SyntheticSpec { occlusion: f64::NAN, ..tiny() },
        SyntheticSpec { pool_factor: usize::MAX, ..tiny() },
        SyntheticSpec { train_identities: usize::MAX, ..tiny() },
    ];
    for spec in broken {
        let error = materialise(&spec, cache.path(), 1, &silent).unwrap_err();
        assert!(matches!(error, DataError::Invalid { .. }), "{spec:?}: {error}");
    }
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn names_follow_market_1501() {
    let world = World::new(&tiny());
    assert_eq!(world.shots(Split::Train)[1].path().split('_').next(), Some("bounding"));
    let name = |split: Split| world.shots(split)[0].path().rsplit('/').next().unwrap().to_owned();
    let camera = world.shots(Split::Query)[0].camera + 1;
    assert!(name(Split::Query).starts_with(&format!("0005_c{camera}s")), "{}", name(Split::Query));
    assert!(name(Split::Query).ends_with("_000000_00.jpg"));
    assert!(name(Split::Pool).starts_with("pool_c"));
    let paths: Vec<String> = SPLITS.iter().flat_map(|&split| world.shots(split)).map(|shot| shot.path()).collect();
    assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
}

#[test]
fn parts_share_no_identity_and_the_pool_no_camera() {
    let spec = SyntheticSpec::default();
    let world = World::new(&spec);
    let people = |split: Split| -> BTreeSet<[u32; 3]> {
        world.shots(split).iter().map(|shot| body(&world.identity(shot))).collect()
    };
    let parts = [Split::Pool, Split::Train, Split::ValidationQuery, Split::Query].map(people);
    for (at, part) in parts.iter().enumerate() {
        assert!(parts[at + 1..].iter().all(|other| part.is_disjoint(other)));
    }
    assert_eq!(people(Split::Query), people(Split::Gallery));
    assert_eq!(people(Split::Query), people(Split::OccludedQuery));

    let cameras = |split: Split| -> BTreeSet<u32> { world.shots(split).iter().map(|shot| shot.camera).collect() };
    let pool = cameras(Split::Pool);
    assert!(LABELLED.iter().all(|&split| cameras(split).is_disjoint(&pool)));
    assert!(LABELLED.iter().all(|&split| cameras(split).iter().all(|&camera| (camera as usize) < spec.cameras)));
    let pictures = |split: Split| world.shots(split).len();
    assert!(pictures(Split::Pool) >= 10 * pictures(Split::Train));
}

/// Continuous measures, which tell people apart; look-alikes share them and never leave their part.
fn body(identity: &Identity) -> [u32; 3] {
    [identity.height.to_bits(), identity.girth.to_bits(), identity.limbs.to_bits()]
}

#[test]
fn domains_share_nothing() {
    let first = SyntheticSpec::default();
    let second = SyntheticSpec { domain: SyntheticDomain::Second, ..first.clone() };
    let worlds = [World::new(&first), World::new(&second)];
    let people = worlds.each_ref().map(|world| {
        let shots: Vec<Shot> = SPLITS.iter().flat_map(|&split| world.shots(split)).collect();
        let bodies: BTreeSet<_> = shots.iter().map(|shot| body(&world.identity(shot))).collect();
        let pids: BTreeSet<i64> = shots.iter().map(|shot| shot.pid).filter(|&pid| pid >= 0).collect();
        (bodies, pids)
    });
    assert!(people[0].0.is_disjoint(&people[1].0));
    assert!(people[0].1.is_disjoint(&people[1].1));
    // Labelled cameras and the pool's, of both worlds: all distinct, and so are their scenes.
    let total = 3 * first.cameras as u32;
    let cameras: Vec<_> = worlds.iter().flat_map(|w| (0..total).map(|camera| w.describe_camera(camera))).collect();
    assert_eq!(cameras.iter().map(|camera| &camera.0).collect::<BTreeSet<_>>().len(), cameras.len());
    let scenes: Vec<&String> = cameras.iter().flat_map(|camera| &camera.1).collect();
    assert_eq!(scenes.iter().collect::<BTreeSet<_>>().len(), scenes.len());
}

#[test]
fn a_third_of_the_identities_have_a_look_alike() {
    for identities in [2, 3, 5, 6, 7, 11, 16, 64, 101] {
        let world = World::new(&SyntheticSpec { test_identities: identities, ..SyntheticSpec::default() });
        let mut shots = world.shots(Split::Query);
        shots.dedup_by_key(|shot| shot.pid);
        let people: Vec<Identity> = shots.iter().map(|shot| world.identity(shot)).collect();
        assert_eq!(people.len(), identities);
        for (at, person) in people.iter().enumerate() {
            assert!(people[at + 1..].iter().all(|other| person.differences(other) > 0), "two equal people");
        }
        let alike = |person: &Identity| people.iter().any(|other| person.differences(other) == 1);
        let count = people.iter().filter(|person| alike(person)).count();
        assert!(3 * count >= identities, "{count} of {identities}");
    }
}

#[test]
fn each_query_has_a_match_in_another_camera() {
    for (images, cameras) in [(4, 2), (5, 6), (8, 6), (9, 3), (30, 6)] {
        let spec = SyntheticSpec { images_per_identity: images, cameras, ..SyntheticSpec::default() };
        let world = World::new(&spec);
        for (queries, gallery) in [
            (Split::Query, Split::Gallery),
            (Split::ValidationQuery, Split::ValidationGallery),
            (Split::OccludedQuery, Split::Gallery),
        ] {
            let (queries, gallery) = (world.shots(queries), world.shots(gallery));
            let seen: BTreeSet<(i64, u32)> = queries.iter().map(|shot| (shot.pid, shot.camera)).collect();
            assert_eq!(seen.len(), queries.len(), "one query for an identity and camera");
            for query in &queries {
                assert!(gallery.iter().any(|shot| shot.pid == query.pid && shot.camera != query.camera));
            }
        }
    }
}

#[test]
fn hidden_shares_are_known() {
    let spec = SyntheticSpec { size: Size(64, 32), test_identities: 12, ..SyntheticSpec::default() };
    let shares = |occlusion: f64, split: Split| -> Vec<f32> {
        let world = World::new(&SyntheticSpec { occlusion, ..spec.clone() });
        world.shots(split).iter().map(|shot| world.render(shot).hidden).collect()
    };
    assert!(shares(0.0, Split::Gallery).iter().all(|&share| share == 0.0));
    assert!(shares(1.0, Split::Gallery).iter().all(|&share| share > 0.0 && share < 1.0));
    let occluded = shares(0.0, Split::OccludedQuery);
    assert!(occluded.iter().all(|share| (0.2..=0.7).contains(share)), "{occluded:?}");
    let mean = occluded.iter().sum::<f32>() / occluded.len() as f32;
    assert!((0.3..0.6).contains(&mean), "mean hidden share {mean}");
}

#[test]
fn hidden_shares_are_written_for_every_labelled_picture() {
    let out = tempfile::tempdir().unwrap();
    let place = out.path().join("world");
    write_dataset(&tiny(), &place, 2, &silent).unwrap();
    let world = World::new(&tiny());
    let table = fs::read_to_string(place.join("hidden.csv")).unwrap();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("path,share"));
    for split in [
        Split::Train,
        Split::ValidationQuery,
        Split::ValidationGallery,
        Split::Query,
        Split::Gallery,
        Split::OccludedQuery,
    ] {
        for shot in world.shots(split) {
            let (path, share) = lines.next().unwrap().split_once(',').unwrap();
            assert_eq!(path, shot.path());
            assert_eq!(share.parse::<f32>().unwrap().to_bits(), world.render(&shot).hidden.to_bits());
            assert!(place.join(path).is_file());
        }
    }
    assert_eq!(lines.next(), None);
    assert_eq!(fs::read_to_string(place.join("attributes.csv")).unwrap().lines().count(), 1 + 2 + 2 + 3);
}

#[test]
fn painting_a_person_out_leaves_the_rest() {
    let spec = SyntheticSpec { size: Size(64, 32), occlusion: 0.0, ..tiny() };
    let world = World::new(&spec);
    for shot in world.shots(Split::Train) {
        let (with, without) = (world.render(&shot).image, world.render_without_person(&shot));
        let differs = |x: usize, y: usize| {
            let at = (y * with.width + x) * 3;
            with.data[at..at + 3] != without.data[at..at + 3]
        };
        // Around the person the scene, its light and its noise are the same to the bit.
        let changed = (0..64 * 32).filter(|at| differs(at % 32, at / 32)).count();
        assert!((150..1300).contains(&changed), "{changed} pixels of the person");
    }
}

#[test]
fn contact_sheets_have_the_asked_size() {
    let sheet = contact_sheet(&tiny(), 4, 3);
    assert_eq!((sheet.height, sheet.width), (3 * 34 + 2, 4 * 18 + 2));
    assert!(sheet.data.iter().any(|&byte| byte < 128));
}

/// BLAKE3 over the pixels and over the JPEG bytes of every picture of two small worlds, which
/// cover both domains and both supersampling factors.
fn fingerprint() -> String {
    let small = SyntheticSpec {
        seed: 7,
        size: Size(64, 32),
        train_identities: 3,
        validation_identities: 2,
        test_identities: 7,
        images_per_identity: 4,
        cameras: 4,
        occlusion: 0.3,
        ..SyntheticSpec::default()
    };
    let second = SyntheticSpec { domain: SyntheticDomain::Second, size: Size(128, 64), ..small.clone() };
    let mut text = String::new();
    for spec in [small, second] {
        let world = World::new(&spec);
        let (mut pixels, mut jpegs) = (blake3::Hasher::new(), blake3::Hasher::new());
        for shot in SPLITS.iter().flat_map(|&split| world.shots(split)) {
            let image = world.render(&shot).image;
            pixels.update(&image.data);
            jpegs.update(shot.path().as_bytes());
            jpegs.update(&encode_jpeg(&image, world.quality(&shot)).unwrap());
        }
        writeln!(text, "pixels {}\njpegs {}", pixels.finalize(), jpegs.finalize()).unwrap();
    }
    text
}

#[test]
fn pixels_change_only_with_the_version() {
    let path = workspace_root().join(format!("tests/fixtures/renderer_v{RENDERER_VERSION}.txt"));
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let rendered = fingerprint();
    assert_eq!(
        committed,
        rendered,
        "the renderer's output changed: raise RENDERER_VERSION, then commit the new fingerprint as {}",
        path.display()
    );
}

/// Mean average precision by brute force, same-camera matches left out.
fn mean_average_precision(features: &AuditFeatures, of: impl Fn(&AuditFeature) -> &[f32]) -> f64 {
    let average_precision = |query: &AuditFeature| {
        let others = features.gallery.iter().filter(|item| (item.pid, item.camera) != (query.pid, query.camera));
        let squares = |item: &AuditFeature| of(query).iter().zip(of(item)).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        let mut ranked: Vec<(f32, bool)> = others.map(|item| (squares(item), item.pid == query.pid)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let hits: Vec<usize> = (0..ranked.len()).filter(|&rank| ranked[rank].1).collect();
        hits.iter().enumerate().map(|(found, rank)| (found + 1) as f64 / (rank + 1) as f64).sum::<f64>()
            / hits.len() as f64
    };
    features.query.iter().map(average_precision).sum::<f64>() / features.query.len() as f64
}

#[test]
fn shortcuts_fail_and_attributes_solve() {
    for domain in [SyntheticDomain::First, SyntheticDomain::Second] {
        let spec = SyntheticSpec { domain, size: Size(64, 32), test_identities: 24, ..SyntheticSpec::default() };
        let features = audit_features(&spec, 2).unwrap();
        let place = |part: &[AuditFeature]| part.iter().map(|item| (item.pid, item.camera)).collect::<Vec<_>>();
        let chance = chance_map(&place(&features.query), &place(&features.gallery));
        let histograms = mean_average_precision(&features, |item| &item.histogram);
        let painted_out = mean_average_precision(&features, |item| &item.without_person);
        let oracle = mean_average_precision(&features, |item| &item.oracle);
        assert!(histograms < 0.35, "histograms {histograms}");
        assert!((painted_out - chance).abs() < 0.02, "painted out {painted_out}, chance {chance}");
        assert!(oracle > 0.95, "oracle {oracle}");
    }
}

#[test]
fn chance_is_the_mean_over_all_orders() {
    // Two matches and two others: the six patterns of hits have these average precisions.
    let gallery = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 0)];
    let patterns = [[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]];
    let precisions = patterns.iter().map(|[a, b]| 1.0 / f64::from(*a) + 2.0 / f64::from(*b));
    let exact = precisions.sum::<f64>() / 12.0;
    assert!((chance_map(&[(1, 0)], &gallery) - exact).abs() < 1e-12);
    assert!((chance_map(&[(1, 0)], &[(1, 1)]) - 1.0).abs() < 1e-12);
    assert!(chance_map(&[(3, 0)], &gallery).abs() < 1e-12);
}
