//! Golden: `MoCo` v2's queue over several steps, `MoCo` v3's loss, whole step and positions.

use candle_core::{Device, Tensor, Var};
use reid_backbones::init::Init;
use reid_backbones::ops::linear_gelu;
use reid_backbones::optim::ema_update;
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::vit::sincos_moco;
use reid_backbones::{ParamStore, Params};
use reid_objectives::Result;
use reid_objectives::math::distance::l2_normalize;
use reid_objectives::random::init_source;
use reid_objectives::up_reid::heads::{Mlp, NormedMlp, Norms, Place};
use reid_objectives::up_reid::losses::Similarities;
use reid_objectives::up_reid::queue::Queue;
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::{gradient_of, values};

/// Losses, relative.
const F32_LOSS: f64 = 1e-5;
/// `MoCo` v2's logits, absolute.
const LOGITS: f64 = 1e-5;
/// Its queue, absolute.
const QUEUE: f64 = 1e-6;
/// Its gradients, relative to each tensor's largest.
const QUEUE_GRADIENT: f64 = 1e-4;
/// `MoCo` v3's gradients of a whole step.
const STEP_GRADIENT: f64 = 2e-4;
/// Its averaged parameters and running statistics, for which the file names no tolerance: one rounding.
const STATE: f64 = 1e-6;
/// Positions, absolute.
const POSITIONS: f64 = 1e-6;

fn close(golden: &Golden, key: &str, actual: &Tensor, tolerance: f64) {
    let worst = relative_to_max(&values(actual), &golden.f64s(key));
    assert!(worst <= tolerance, "{key}: {worst:e}");
}

/// Every tensor of the store from the file, by `prefix` and its own name.
fn fill(store: &ParamStore, golden: &Golden, key: impl Fn(&str) -> String) -> Result<()> {
    let names: Vec<String> = store.names().map(str::to_owned).collect();
    for name in names {
        store.set(&name, &golden.tensor(&key(&name)))?;
    }
    Ok(())
}

#[test]
fn moco_v2_queues_keys_over_steps() -> Result<()> {
    let golden = Golden::load("moco_v2_queue");
    let (dim, steps, batch): (usize, usize, usize) =
        (golden.param("dim"), golden.param("steps"), golden.param("batch"));
    let (size, inputs): (usize, usize) = (golden.param("K"), golden.param("in_dim"));
    let (temperature, momentum, rate): (f64, f64, f64) = (golden.param("T"), golden.param("m"), golden.param("lr"));
    let hidden = golden.shape("in.encoder_q.fc.0.weight")[0];

    let source = init_source(0);
    let mut student = ParamStore::new(&Device::Cpu);
    let head = Mlp::build([inputs, hidden, dim], Place { prefix: "fc.", layer: 0, source: &source }, &mut student)?;
    let teacher = student.duplicate()?;
    fill(&student, &golden, |name| format!("in.encoder_q.{name}"))?;
    fill(&teacher, &golden, |name| format!("in.encoder_k.{name}"))?;
    // The authors' queue has a column for every key.
    let mut queue = Queue::from_keys(&golden.tensor("in.queue").t()?)?;

    for step in 0..steps {
        ema_update(&teacher, &student, momentum)?;
        let query = l2_normalize(&head.forward(&student.training(), &golden.tensor(&format!("in.s{step}.x_q")))?)?;
        let key = l2_normalize(&head.forward(&teacher.frozen(), &golden.tensor(&format!("in.s{step}.x_k")))?)?;
        let similarities = Similarities::with_queue(&query, &key, queue.keys())?;
        let loss = similarities.info_nce(temperature)?;
        let logits = (&similarities.all / temperature)?;
        let worst = max_abs(&values(&logits), &golden.f64s(&format!("out.s{step}.logits")));
        assert!(worst <= LOGITS, "step {step}: logits {worst:e}");
        close(&golden, &format!("out.s{step}.loss"), &loss, F32_LOSS);

        let gradients = student.gradients(&mut loss.backward()?)?;
        let names: Vec<String> = student.names().map(str::to_owned).collect();
        for name in &names {
            let gradient = gradient_of(&student, &gradients, name);
            close(&golden, &format!("out.s{step}.grad.{name}"), &gradient, QUEUE_GRADIENT);
            let averaged = teacher.get(name).expect("the same parameters")?;
            close(&golden, &format!("out.s{step}.encoder_k.{name}"), &averaged, STATE);
        }
        queue.push(&key, step)?;
        let worst = max_abs(&values(&queue.keys().t()?.contiguous()?), &golden.f64s(&format!("out.s{step}.queue")));
        assert!(worst <= QUEUE, "step {step}: queue {worst:e}");
        assert_eq!(queue.next() as i64, golden.i64s(&format!("out.s{step}.ptr"))[0]);
        assert_eq!(queue.next(), (step + 1) * batch % size);
        for name in &names {
            let value = student.get(name).expect("the name is the store's")?;
            let gradient = gradient_of(&student, &gradients, name).reshape(value.shape())?;
            student.set(name, &(value - (gradient * rate)?)?)?;
        }
    }
    Ok(())
}

#[test]
fn moco_v3_contrasts_within_the_batch() -> Result<()> {
    let golden = Golden::load("moco_v3_loss");
    let temperature: f64 = golden.param("T");
    let queries = [Var::from_tensor(&golden.tensor("in.q1"))?, Var::from_tensor(&golden.tensor("in.q2"))?];
    let contrast = |query: &Var, key: &str| -> Result<Tensor> {
        let (query, key) = (l2_normalize(query.as_tensor())?, l2_normalize(&golden.tensor(key))?);
        Ok((Similarities::in_batch(&query, &key)?.info_nce(temperature)? * (2.0 * temperature))?)
    };
    let (first, second) = (contrast(&queries[0], "in.k2")?, contrast(&queries[1], "in.k1")?);
    close(&golden, "out.loss_q1k2", &first, F32_LOSS);
    close(&golden, "out.loss_q2k1", &second, F32_LOSS);
    let total = (first + second)?;
    close(&golden, "out.total", &total, F32_LOSS);
    let gradients = total.backward()?;
    for (query, key) in queries.iter().zip(["out.grad_q1", "out.grad_q2"]) {
        close(&golden, key, gradients.get(query).expect("the loss depends on the query"), F32_LOSS);
    }
    Ok(())
}

/// `MoCo` v3's encoder of the file: a linear layer, GELU, and the projector.
struct Encoder {
    body: ModuleId,
    projector: NormedMlp,
}

impl Encoder {
    fn forward(
        &self,
        params: &Params,
        x: &Tensor,
    ) -> Result<(Tensor, Vec<reid_objectives::protocols::neck::BatchStats>)> {
        self.projector.forward(params, &linear_gelu(x, params, self.body)?)
    }
}

#[test]
fn moco_v3_makes_a_symmetric_step() -> Result<()> {
    let golden = Golden::load("moco_v3_step");
    let (dim, hidden): (usize, usize) = (golden.param("dim"), golden.param("mlp_dim"));
    let (temperature, momentum): (f64, f64) = (golden.param("T"), golden.param("m"));
    let shape = golden.shape("in.w.base_encoder.body.weight");
    let (width, inputs) = (shape[0], shape[1]);

    let source = init_source(0);
    let mut student = ParamStore::new(&Device::Cpu);
    let def = |name, shape, role| ParamDef { name, shape, role, init: Init::Constant(0.0) };
    let defs = [def("weight", vec![width, inputs], Role::Weight), def("bias", vec![width], Role::Bias)];
    let body = student.add("body", 0, &defs, &source)?;
    let place = |prefix| Place { prefix, layer: 0, source: &source };
    let projector = NormedMlp::build(&[width, hidden, hidden, dim], place("head."), &mut student)?;
    let teacher = student.duplicate()?;
    let predictor = NormedMlp::build(&[dim, hidden, dim], place("predictor."), &mut student)?;
    let of_student =
        |name: &str| if name.starts_with("predictor.") { name.to_owned() } else { format!("base_encoder.{name}") };
    fill(&student, &golden, |name| format!("in.w.{}", of_student(name)))?;
    fill(&teacher, &golden, |name| format!("in.w.momentum_encoder.{name}"))?;
    let buffers = |prefix: &str, norms: &NormedMlp| -> Result<Norms> {
        let mut made = Norms::new(norms.norms(), &Device::Cpu)?;
        let names: Vec<String> = made.tensors(prefix).map(|(name, _)| name).collect();
        let stored = names.into_iter().map(|name| (name.clone(), golden.tensor(&format!("in.w.{name}"))));
        made.restore(prefix, &stored.collect())?;
        Ok(made)
    };
    let mut stats = [
        ("base_encoder.", buffers("base_encoder.", &projector)?),
        ("", buffers("", &predictor)?),
        ("momentum_encoder.", buffers("momentum_encoder.", &projector)?),
    ];

    let encoder = Encoder { body, projector };
    let views = [golden.tensor("in.x1"), golden.tensor("in.x2")];
    let mut queries = Vec::new();
    for view in &views {
        let (projected, of_projector) = encoder.forward(&student.training(), view)?;
        let (predicted, of_predictor) = predictor.forward(&student.training(), &projected)?;
        stats[0].1.update(&of_projector)?;
        stats[1].1.update(&of_predictor)?;
        queries.push(l2_normalize(&predicted)?);
    }
    ema_update(&teacher, &student, momentum)?;
    let mut keys = Vec::new();
    for view in &views {
        let (projected, of_projector) = encoder.forward(&teacher.frozen(), view)?;
        stats[2].1.update(&of_projector)?;
        keys.push(l2_normalize(&projected)?);
    }
    let contrast = |query, key| Similarities::in_batch(query, key)?.info_nce(temperature);
    let loss = ((contrast(&queries[0], &keys[1])? + contrast(&queries[1], &keys[0])?)? * (2.0 * temperature))?;
    close(&golden, "out.loss", &loss, F32_LOSS);

    let gradients = student.gradients(&mut loss.backward()?)?;
    for name in student.names() {
        let key = format!("out.grad.{}", of_student(name));
        close(&golden, &key, &gradient_of(&student, &gradients, name), STEP_GRADIENT);
    }
    for name in teacher.names() {
        let averaged = teacher.get(name).expect("the name is the store's")?;
        close(&golden, &format!("out.momentum_encoder.{name}"), &averaged, STATE);
    }
    let mut compared = 0;
    for (name, tensor) in stats.iter().flat_map(|(prefix, norms)| norms.tensors(prefix)) {
        close(&golden, &format!("out.buffer.{name}"), &tensor, F32_LOSS);
        compared += 1;
    }
    assert_eq!(compared, golden.keys("out.buffer.").len());
    Ok(())
}

#[test]
fn moco_v3_places_run_down_columns() {
    let golden = Golden::load("mocov3_sincos_pos_embed");
    let width: usize = golden.param("dim");
    let keys = golden.keys("out.grid");
    assert!(!keys.is_empty(), "no grid in the file");
    for key in keys {
        let grid: Vec<usize> = key["out.grid".len()..].split('x').map(|side| side.parse().expect("a side")).collect();
        let table: Vec<f64> = sincos_moco(width, grid[0], grid[1]).into_iter().map(f64::from).collect();
        let expected = golden.f64s(&key);
        assert!(expected[..width].iter().all(|&value| value == 0.0), "{key}: the class token has no place");
        let worst = max_abs(&table, &expected[width..]);
        assert!(worst <= POSITIONS, "{key}: {worst:e}");
    }
}
