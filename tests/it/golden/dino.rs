//! Golden `dino_*`, `ibot_*`, `block_mask_ibot`: `mim_dino` against DINO's and iBOT's code.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use reid_backbones::optim::spec::{AdamwSpec, DecayRule, OptimSpec};
use reid_backbones::optim::{Course, Optimizer};
use reid_backbones::spec::{Positions, VitDims, VitSize, VitSpec};
use reid_backbones::{Encoder, Input, MaskedPatches, ParamStore, Vit};
use reid_data::rng::{Key, Rng, Stream};
use reid_objectives::Result;
use reid_objectives::math::mask::Grid;
use reid_objectives::math::schedule::{RunLength, temperature};
use reid_objectives::mim_dino::spec::{
    Balance, Centering, DinoHeadSpec, MaskRatio, MimDinoSpec, MimMaskKind, MimMaskSpec,
};
use reid_objectives::mim_dino::{
    Crops, DinoHead, MimDino, Temperatures, class_loss, distributions, draw_mask, moved, patch_loss,
};
use reid_objectives::protocols::ENCODER;
use reid_objectives::spec::{CosineMomentum, Duration, Momentum, TemperatureSpec};
use reid_objectives::task::{Clock, StepOutput, Task};
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::{gradient_of, values};

use super::mae::Replay;

/// Tolerances of the golden README.
const LOSS: f64 = 1e-5;
const LOSS_GRADIENT: f64 = 1e-5;
const CENTER: f64 = 1e-6;
const HEAD: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;
const TOKENS: f64 = 2e-5;
const STEP_GRADIENT: f64 = 2e-4;
const STEP_PARAMETER: f64 = 2e-5;
/// Below this gradient Adam turns rounding into a whole step.
const SMALLEST_GRADIENT: f64 = 1e-6;
const SCHEDULE: f64 = 1e-12;
const CELL_FREQUENCY: f64 = 0.06;

fn relative(ours: f64, expected: f64) -> f64 {
    (ours - expected).abs() / expected.abs()
}

fn centering(golden: &Golden) -> Balance {
    let momentum = golden.param("center_momentum");
    Balance::Centering(Centering { momentum, patch_momentum: momentum })
}

fn run(golden: &Golden) -> RunLength {
    let epochs: usize = golden.param("epochs");
    RunLength { steps: 3 * epochs, epochs: epochs as f64 }
}

#[test]
fn dino_loss() -> Result<()> {
    let golden = Golden::load("dino_loss");
    let ramp = TemperatureSpec {
        start: golden.param("warmup_teacher_temp"),
        end: golden.param("teacher_temp"),
        ramp: Duration::Epochs(golden.param("warmup_teacher_temp_epochs")),
    };
    let run = run(&golden);
    let at = |epoch| temperature(ramp, Duration::Steps(0.0), epoch, run);
    let course: Vec<f64> = (0..run.epochs as usize).map(at).collect();
    assert!(max_abs(&course, &golden.f64s("out.teacher_temp_schedule")) <= SCHEDULE);

    let balance = centering(&golden);
    let mut center = Tensor::zeros((1, golden.param::<usize>("out_dim")), candle_core::DType::F32, &Device::Cpu)?;
    for step in ["s0", "s1", "s2"] {
        let teacher = golden.tensor(&format!("in.{step}.teacher"));
        let epoch = golden.scalar(&format!("in.{step}.epoch")) as usize;
        let targets = distributions(balance, &teacher, &center, at(epoch))?;
        let student = Var::from_tensor(&golden.tensor(&format!("in.{step}.student")))?;
        let loss = class_loss(&student, &targets, golden.param("student_temp"))?;
        assert!(relative(values(&loss)[0], golden.scalar(&format!("out.{step}.loss"))) <= LOSS, "{step}");
        let gradient = loss.backward()?.remove(&student).expect("a gradient");
        let off = relative_to_max(&values(&gradient), &golden.f64s(&format!("out.{step}.grad_student")));
        assert!(off <= LOSS_GRADIENT, "{step}: {off:e}");
        center = moved(&center, &teacher.mean_keepdim(0)?, golden.param("center_momentum"))?;
        assert!(max_abs(&values(&center), &golden.f64s(&format!("out.{step}.center_after"))) <= CENTER, "{step}");
    }
    Ok(())
}

#[test]
fn ibot_loss() -> Result<()> {
    let golden = Golden::load("ibot_loss");
    let run = run(&golden);
    let ramp = |suffix: &str| TemperatureSpec {
        start: golden.param(&format!("warmup_teacher_temp{suffix}")),
        end: golden.param(&format!("teacher_temp{suffix}")),
        ramp: Duration::Epochs(golden.param("warmup_epochs")),
    };
    let (class, patch) = (ramp(""), ramp("2"));
    let start = Duration::Epochs(golden.param("mim_start_epoch"));
    let class_at = |epoch| temperature(class, Duration::Steps(0.0), epoch, run);
    let patch_at = |epoch| temperature(patch, start, epoch, run);
    let courses: [Vec<f64>; 2] =
        [(0..run.epochs as usize).map(class_at).collect(), (0..run.epochs as usize).map(patch_at).collect()];
    assert!(max_abs(&courses[0], &golden.f64s("out.teacher_temp_schedule")) <= SCHEDULE);
    assert!(max_abs(&courses[1], &golden.f64s("out.teacher_temp2_schedule")) <= SCHEDULE);

    let balance = centering(&golden);
    let zeros = |width: &str| Tensor::zeros((1, golden.param::<usize>(width)), candle_core::DType::F32, &Device::Cpu);
    let (mut center, mut center2) = (zeros("out_dim")?, zeros("patch_out_dim")?);
    let student_temperature = golden.param("student_temp");
    for step in ["s0", "s1", "s2"] {
        let input = |name: &str| golden.tensor(&format!("in.{step}.{name}"));
        let epoch = golden.scalar(&format!("in.{step}.epoch")) as usize;
        let locals = format!("in.{step}.student_local_cls");
        let globals = Var::from_tensor(&input("student_cls"))?;
        let mut students = vec![globals.as_tensor().clone()];
        let locals =
            if golden.keys(&locals).is_empty() { None } else { Some(Var::from_tensor(&golden.tensor(&locals))?) };
        students.extend(locals.iter().map(|locals| locals.as_tensor().clone()));
        let targets = distributions(balance, &input("teacher_cls"), &center, class_at(epoch))?;
        let class = class_loss(&Tensor::cat(&students, 0)?, &targets, student_temperature)?;

        let hidden: Vec<bool> = values(&input("mask")).into_iter().map(|hidden| hidden > 0.0).collect();
        let masked: Vec<u32> = (0..).zip(&hidden).filter(|&(_, &hidden)| hidden).map(|(i, _)| i).collect();
        let masked = Tensor::from_slice(&masked, masked.len(), &Device::Cpu)?;
        let patches = Var::from_tensor(&input("student_patch"))?;
        let teacher = input("teacher_patch").flatten(0, 1)?;
        let targets = distributions(balance, &teacher.index_select(&masked, 0)?, &center2, patch_at(epoch))?;
        let chosen = patches.flatten(0, 1)?.index_select(&masked, 0)?;
        let patch = patch_loss(&chosen, &targets, &hidden, patches.dim(0)?, student_temperature)?;

        let lambdas: [f64; 2] = [golden.param("lambda1"), golden.param("lambda2")];
        let loss = ((&class * lambdas[0])? + (&patch * lambdas[1])?)?;
        for (what, ours) in
            [("loss", (loss.clone(), 1.0)), ("cls", (class, lambdas[0])), ("patch", (patch, lambdas[1]))]
        {
            let off = relative(values(&ours.0)[0] * ours.1, golden.scalar(&format!("out.{step}.{what}")));
            assert!(off <= LOSS, "{step} {what}: {off:e}");
        }
        let gradients = loss.backward()?;
        let mut vars = vec![("student_cls", &globals), ("student_patch", &patches)];
        vars.extend(locals.iter().map(|locals| ("student_local_cls", locals)));
        for (name, var) in vars {
            let ours = values(gradients.get(var).expect("a gradient"));
            let off = relative_to_max(&ours, &golden.f64s(&format!("out.{step}.grad_{name}")));
            assert!(off <= LOSS_GRADIENT, "{step} {name}: {off:e}");
        }
        center = moved(&center, &input("teacher_cls").mean_keepdim(0)?, golden.param("center_momentum"))?;
        center2 = moved(&center2, &teacher.mean_keepdim(0)?, golden.param("center_momentum2"))?;
        for (name, ours) in [("center_after", &center), ("center2_after", &center2)] {
            assert!(max_abs(&values(ours), &golden.f64s(&format!("out.{step}.{name}"))) <= CENTER, "{step} {name}");
        }
    }
    Ok(())
}

/// A head with the case's weights; its last layers' lengths are free or, as stored, all 1.
fn head(golden: &Golden, norm_last_layer: bool, patch_prototypes: usize) -> Result<(DinoHead, ParamStore)> {
    let spec = DinoHeadSpec {
        hidden: golden.param("hidden"),
        bottleneck: golden.param("bottleneck"),
        prototypes: golden.param("out_dim"),
        patch_prototypes,
        norm_last_layer,
    };
    let mut store = ParamStore::new(&Device::Cpu);
    let head = DinoHead::build(&spec, golden.param("in_dim"), 1, &mut store, &|_| Box::new(|| 0.5))?;
    load_head(&store, "in.w.", golden)?;
    Ok((head, store))
}

/// Copies a head's weights; where lengths are no parameters of ours, they must be 1.
fn load_head(store: &ParamStore, prefix: &str, golden: &Golden) -> Result<()> {
    for key in golden.keys(prefix) {
        let name = format!("head.{}", key.trim_start_matches(prefix));
        let value = golden.tensor(&key);
        if store.get(&name).is_some() {
            store.set(&name, &value)?;
        } else if name.ends_with("weight_g") && store.get(&name.replace("weight_g", "weight_v")).is_some() {
            assert!(values(&value).iter().all(|&g| (g - 1.0).abs() < 1e-12), "{key} is not 1");
        } else {
            assert!(name.contains("last_layer2"), "{key} has no place");
        }
    }
    Ok(())
}

fn check_head_gradients(golden: &Golden, store: &ParamStore, x: &Var, loss: &Tensor) -> Result<()> {
    let mut gradients = loss.backward()?;
    let of_x = values(gradients.get(x).expect("a gradient"));
    assert!(relative_to_max(&of_x, &golden.f64s("out.grad_x")) <= GRADIENT);
    let gradients = store.gradients(&mut gradients)?;
    let keys = golden.keys("out.grad.w.");
    assert!(keys.len() >= 7);
    for key in keys {
        let name = format!("head.{}", key.trim_start_matches("out.grad.w."));
        let off = relative_to_max(&values(&gradient_of(store, &gradients, &name)), &golden.f64s(&key));
        assert!(off <= GRADIENT, "{key}: {off:e}");
    }
    Ok(())
}

fn check_dino_head(golden: &Golden) -> Result<()> {
    let (head, store) = head(golden, golden.text("norm_last_layer") == "True", 0)?;
    let x = Var::from_tensor(&golden.tensor("in.x"))?;
    let params = store.training();
    let y = head.class_logits(&params, &head.embed(&params, &x)?)?;
    assert!(max_abs(&values(&y), &golden.f64s("out.y")) <= HEAD);
    check_head_gradients(golden, &store, &x, &(y * golden.tensor("in.cotangent"))?.sum_all()?)
}

#[test]
fn dino_head() -> Result<()> {
    check_dino_head(&Golden::load("dino_head"))
}

#[test]
fn dino_head_free_g() -> Result<()> {
    check_dino_head(&Golden::load("dino_head_free_g"))
}

fn check_ibot_head(golden: &Golden) -> Result<()> {
    let own = if golden.text("shared") == "True" { 0 } else { golden.param("patch_out_dim") };
    let (head, store) = head(golden, true, own)?;
    let x = Var::from_tensor(&golden.tensor("in.x"))?;
    let params = store.training();
    let (b, n, _) = x.dims3()?;
    let class = head.class_logits(&params, &head.embed(&params, &x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)?)?;
    let patches = x.narrow(1, 1, n - 1)?.contiguous()?.flatten(0, 1)?;
    let patch = head.patch_logits(&params, &head.embed(&params, &patches)?)?.reshape((b, n - 1, ()))?;
    assert!(max_abs(&values(&class), &golden.f64s("out.cls")) <= HEAD);
    assert!(max_abs(&values(&patch), &golden.f64s("out.patch")) <= HEAD);
    let of_class = (class * golden.tensor("in.cotangent_cls"))?.sum_all()?;
    let of_patch = (patch * golden.tensor("in.cotangent_patch"))?.sum_all()?;
    check_head_gradients(golden, &store, &x, &(of_class + of_patch)?)
}

#[test]
fn ibot_head_shared() -> Result<()> {
    check_ibot_head(&Golden::load("ibot_head_shared"))
}

#[test]
fn ibot_head() -> Result<()> {
    check_ibot_head(&Golden::load("ibot_head"))
}

/// An encoder built for the case's base grid.
fn backbone(golden: &Golden, grid: &str, patch: usize) -> (VitDims, VitSpec) {
    let (rows, cols) = grid.split_once('x').expect("rows x columns");
    let side = |cells: &str| patch * cells.parse::<usize>().expect("cells");
    let dims = VitDims { width: golden.param("dim"), depth: golden.param("depth"), heads: golden.param("heads") };
    let spec = VitSpec {
        size: VitSize::Micro,
        image: [side(rows), side(cols)],
        patch,
        positions: Positions::Learned,
        drop_path: 0.0,
        ..VitSpec::default()
    };
    (dims, spec)
}

#[test]
fn ibot_vit_masked() -> Result<()> {
    let golden = Golden::load("ibot_vit_masked");
    let (dims, spec) = backbone(&golden, golden.text("base_grid"), golden.param("patch"));
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(dims, &spec, "", &mut store, &|_| Box::new(|| 0.5))?;
    let token = Var::from_tensor(&golden.tensor("in.w.masked_embed"))?;
    for key in golden.keys("in.w.").into_iter().filter(|key| !key.ends_with("masked_embed")) {
        store.set(key.trim_start_matches("in.w."), &golden.tensor(&key))?;
    }
    let hidden: Vec<bool> = golden.f64s("in.mask").into_iter().map(|hidden| hidden > 0.0).collect();
    let mask = MaskedPatches { hidden: &hidden, token: &token.unsqueeze(0)? };
    let input = Input { mask: Some(mask), ..Input::default() };
    let tokens = vit.forward(&store.training(), &golden.tensor("in.image"), &input)?;
    assert!(max_abs(&values(&tokens.all), &golden.f64s("out.tokens")) <= TOKENS);
    let class = tokens.class()?.sqr()?.sum(1)?.mean_all()?;
    let loss = (class + tokens.patches()?.sqr()?.mean_all()?)?;
    assert!(relative(values(&loss)[0], golden.scalar("out.loss")) <= LOSS);
    let mut gradients = loss.backward()?;
    let of_token = values(gradients.get(&token).expect("a gradient"));
    assert!(relative_to_max(&of_token, &golden.f64s("out.grad.masked_embed")) <= GRADIENT);
    let gradients = store.gradients(&mut gradients)?;
    for key in golden.keys("out.grad.").into_iter().filter(|key| !key.ends_with("masked_embed")) {
        let name = key.trim_start_matches("out.grad.");
        let off = relative_to_max(&values(&gradient_of(&store, &gradients, name)), &golden.f64s(&key));
        assert!(off <= GRADIENT, "{name}: {off:e}");
    }
    Ok(())
}

/// iBOT's tiny model with the case's weights in student and teacher.
fn build_ibot(golden: &Golden) -> Result<MimDino> {
    let cells = golden.shape("in.student.backbone.pos_embed")[1] - 1;
    let side = (cells as f64).sqrt() as usize;
    let patch = golden.shape("in.student.backbone.patch_embed.proj.weight")[2];
    let (dims, backbone) = backbone(golden, &format!("{side}x{side}"), patch);
    let spec = MimDinoSpec {
        head: DinoHeadSpec {
            hidden: golden.param("hidden"),
            bottleneck: golden.param("bottleneck"),
            prototypes: golden.param("out_dim"),
            patch_prototypes: 0,
            norm_last_layer: true,
        },
        // Constant over the two steps.
        teacher_momentum: Momentum::Cosine(CosineMomentum {
            start: golden.param("momentum"),
            end: golden.param("momentum"),
        }),
        freeze_last_layer: Duration::Epochs(golden.param("freeze_last_layer")),
        ..MimDinoSpec::default()
    };
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(dims, &backbone, ENCODER, &mut store, &|_| Box::new(|| 0.5))?;
    let task = MimDino::assemble(spec, backbone, 2, vit, store, &|_| Box::new(|| 0.5))?;
    for (prefix, store) in [("in.student.", task.trainable()), ("in.teacher.", task.teacher())] {
        for key in golden.keys(&format!("{prefix}backbone.")) {
            store.set(&our_name(key.trim_start_matches(prefix)), &golden.tensor(&key))?;
        }
        load_head(store, &format!("{prefix}head."), golden)?;
    }
    Ok(task)
}

fn our_name(name: &str) -> String {
    match name.strip_prefix("backbone.") {
        Some("masked_embed") => "masked_embed".to_owned(),
        Some(rest) => format!("{ENCODER}{rest}"),
        None => name.to_owned(),
    }
}

#[test]
fn ibot_train_step() -> Result<()> {
    let golden = Golden::load("ibot_train_step");
    let mut task = build_ibot(&golden)?;
    let optim = OptimSpec::Adamw(AdamwSpec {
        betas: [0.9, 0.999],
        weight_decay: 1.0,
        decay: DecayRule::NotVectors,
        ..AdamwSpec::default()
    });
    let mut optimizer = Optimizer::new(&optim, task.trainable());
    let decays: Vec<f64> =
        golden.text("weight_decay").split(" then ").map(|decay| decay.parse().expect("a number")).collect();
    let (rate, clip): (f64, f64) = (golden.param("lr"), golden.param("clip"));
    // Parameters whose gradients have so far been large enough to compare the values after an update.
    let mut comparable: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for (epoch, step) in ["s0", "s1"].into_iter().enumerate() {
        let flat = |name: &str| golden.tensor(&format!("in.{step}.{name}")).flatten(0, 1);
        let crops = Crops { globals: flat("global")?, locals: Some(flat("local")?) };
        let hidden: Vec<bool> = golden.f64s(&format!("in.{step}.mask")).into_iter().map(|h| h > 0.0).collect();
        let losses = task.losses(&crops, &hidden, Temperatures { class: 0.04, patch: 0.04 }, None)?;
        let (class, patch) = (losses.class.expect("a class term"), losses.patch.expect("a patch term"));
        let loss = (&class + &patch)?;
        for (name, ours) in [("loss", &loss), ("cls", &class), ("patch", &patch)] {
            let off = relative(values(ours)[0], golden.scalar(&format!("out.{step}.{name}")));
            assert!(off <= LOSS, "{step} {name}: {off:e}");
        }
        let student = losses.student_class.expect("outputs");
        let globals = losses.teacher_class.dim(0)?;
        let locals = student.narrow(0, globals, student.dim(0)? - globals)?;
        for (name, ours) in [
            ("teacher_cls", &losses.teacher_class),
            ("student_cls", &student.narrow(0, 0, globals)?),
            ("student_local_cls", &locals),
        ] {
            let off = max_abs(&values(ours), &golden.f64s(&format!("out.{step}.{name}")));
            assert!(off <= TOKENS, "{step} {name}: {off:e}");
        }

        let mut gradients = task.trainable().gradients(&mut loss.backward()?)?;
        for key in golden.keys(&format!("out.{step}.grad.")) {
            let name = our_name(key.trim_start_matches(&format!("out.{step}.grad.")));
            let expected = golden.f64s(&key);
            let ours = values(&gradient_of(task.trainable(), &gradients, &name));
            let off = relative_to_max(&ours, &expected);
            assert!(off <= STEP_GRADIENT, "{step} {name}: {off:e}");
            let large: Vec<bool> = expected.iter().map(|gradient| gradient.abs() > SMALLEST_GRADIENT).collect();
            let known = comparable.entry(name).or_insert_with(|| vec![true; large.len()]);
            known.iter_mut().zip(large).for_each(|(known, large)| *known &= large);
        }
        gradients.clip_tensors(task.trainable(), clip)?;
        let clock = Clock { epoch, epochs: 2.0, step: epoch, steps: 2, seed: 0 };
        let course = Course { rate: &|_| rate, decay: &|_| decays[epoch], held: &task.held(clock) };
        optimizer.step(task.trainable(), &gradients, &course)?;
        let mut carried = vec![("class_mean", losses.class_mean)];
        carried.extend(losses.patch_mean.map(|mean| ("patch_mean", mean)));
        task.after_step(&[StepOutput { loss: loss.detach(), stats: Vec::new(), tokens: 0, carried }], clock)?;

        for (name, ours) in [("center", &task.centers().class), ("center2", &task.centers().patch)] {
            let off = max_abs(&values(ours), &golden.f64s(&format!("out.{step}.{name}")));
            assert!(off <= CENTER, "{step} {name}: {off:e}");
        }
        let prefixes = [format!("out.{step}.student."), format!("out.{step}.teacher.")];
        for (prefix, store) in prefixes.iter().zip([task.trainable(), task.teacher()]) {
            let mut compared = 0;
            for key in golden.keys(prefix) {
                let name = our_name(key.trim_start_matches(prefix.as_str()));
                let Some(ours) = store.get(&name) else {
                    assert!(name.ends_with("weight_g"), "{name} is no parameter of ours");
                    continue;
                };
                let off = values(&ours?).into_iter().zip(golden.f64s(&key)).enumerate().map(|(i, (ours, expected))| {
                    let counts = comparable.get(&name).is_none_or(|known| known[i]);
                    if counts { (ours - expected).abs() } else { 0.0 }
                });
                let off = off.fold(0.0, f64::max);
                assert!(off <= STEP_PARAMETER, "{step} {name}: {off:e}");
                compared += 1;
            }
            assert!(compared >= 4, "{prefix} {compared}");
        }
    }
    Ok(())
}

/// The cases of `block_mask_ibot` that have traces or statistics, as specs.
fn mask_cases(golden: &Golden) -> Vec<(String, MimDinoSpec)> {
    let keys = golden.keys("in.");
    let names = keys.iter().filter_map(|key| key.strip_prefix("in.")?.strip_suffix(".ratio"));
    let case = |name: &str| {
        let means = golden.f64s(&format!("in.{name}.ratio"));
        let spreads = golden.f64s(&format!("in.{name}.ratio_var"));
        let ratios = means.into_iter().zip(spreads).map(|(mean, spread)| MaskRatio { mean, spread }).collect();
        let traced = !golden.keys(&format!("in.{name}.trace.")).is_empty();
        let kind = if traced { MimMaskKind::Block } else { MimMaskKind::Random };
        (name.to_owned(), MimDinoSpec { mask: MimMaskSpec { kind, ratios }, ..MimDinoSpec::default() })
    };
    let cases: Vec<_> = names.map(case).collect();
    assert!(cases.len() >= 5);
    cases
}

fn mask_grid(golden: &Golden) -> Grid {
    let (rows, cols) = golden.text("grid").split_once('x').expect("rows x columns");
    Grid { rows: rows.parse().expect("rows"), cols: cols.parse().expect("columns") }
}

#[test]
fn block_mask_ibot_traces() {
    let golden = Golden::load("block_mask_ibot");
    let grid = mask_grid(&golden);
    let mut replayed = 0;
    for (name, spec) in mask_cases(&golden).iter().filter(|(_, spec)| spec.mask.kind == MimMaskKind::Block) {
        let draws = golden.f64s(&format!("in.{name}.trace.draws"));
        let (draws, _) = draws.as_chunks::<4>();
        let offsets = golden.i64s(&format!("in.{name}.trace.offsets"));
        let masks = golden.i64s(&format!("out.{name}.trace.masks"));
        for (bounds, expected) in offsets.windows(2).zip(masks.chunks(grid.cells())) {
            let mut replay = Replay { choices: draws[bounds[0] as usize..bounds[1] as usize].iter() };
            let hidden = draw_mask(spec, grid, &mut replay);
            let hidden: Vec<i64> = hidden.into_iter().map(i64::from).collect();
            assert_eq!(hidden, expected, "{name}: mask of choices {bounds:?}");
            assert_eq!(replay.choices.len(), 0, "{name}: choices left over");
            replayed += 1;
        }
    }
    assert!(replayed > 20);
}

#[test]
fn block_mask_ibot_statistics() {
    let golden = Golden::load("block_mask_ibot");
    let grid = mask_grid(&golden);
    let n: u32 = 10 * golden.param::<u32>("draws");
    for (name, spec) in mask_cases(&golden) {
        let mut counts = Vec::new();
        let mut frequency = vec![0.0; grid.cells()];
        for draw in 0..n {
            let key = Key { seed: 0, stream: Stream::Mask, epoch: 0, draw, view: 0 };
            let hidden = draw_mask(&spec, grid, &mut Rng::new(key));
            counts.push(hidden.iter().filter(|&&hidden| hidden).count() as f64);
            for (share, _) in frequency.iter_mut().zip(&hidden).filter(|&(_, &hidden)| hidden) {
                *share += 1.0 / f64::from(n);
            }
        }
        let mean = counts.iter().sum::<f64>() / f64::from(n);
        let standard_error = golden.scalar(&format!("out.{name}.count_std")) / golden.param::<f64>("draws").sqrt();
        let off = (mean - golden.scalar(&format!("out.{name}.count_mean"))).abs();
        assert!(off <= 4.0 * standard_error + 1e-9, "{name}: {mean} cells on average, off by {off}");
        let worst = max_abs(&frequency, &golden.f64s(&format!("out.{name}.cell_freq")));
        assert!(worst <= CELL_FREQUENCY, "{name}: a cell's frequency is off by {worst}");
    }
}
