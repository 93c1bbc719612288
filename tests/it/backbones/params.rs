//! The parameter store: names, buffers, copies and refusals.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::params::{ParamDef, Role};
use reid_backbones::{BackboneError, ParamStore, Result};
use reid_tests::tensors::{bits, normal, values};

use super::fixture::tiny;

#[test]
fn tensors_come_back_as_they_were_set() -> Result<()> {
    let (_, store) = tiny()?;
    let mut given = BTreeMap::new();
    for (seed, (name, old)) in store.tensors()?.into_iter().enumerate() {
        let tensor = normal(seed as u64, old.dims());
        store.set(&name, &tensor)?;
        given.insert(name, bits(&tensor));
    }
    let after: BTreeMap<String, Vec<u32>> =
        store.tensors()?.into_iter().map(|(name, tensor)| (name, bits(&tensor))).collect();
    assert_eq!(after, given, "setting one tensor leaves its neighbors alone");
    assert_eq!(store.len(), given.values().map(Vec::len).sum::<usize>());
    assert!(store.names().is_sorted() && !store.is_empty());
    Ok(())
}

#[test]
fn setting_converts_and_copies() -> Result<()> {
    let (_, store) = tiny()?;
    let doubles = normal(1, 24).to_dtype(DType::F64)?;
    store.set("norm.bias", &doubles)?;
    let get = || store.get("norm.bias").expect("a parameter");
    assert_eq!(values(&get()?), values(&doubles));

    // A copy that was taken stays as it is, whatever happens to the store; a view may be set, too.
    let (taken, before) = (get()?, values(&get()?));
    store.set("norm.bias", &normal(2, (24, 2)).t()?.get(0)?)?;
    assert_eq!(values(&taken), before);
    assert_eq!(values(&get()?), values(&normal(2, (24, 2)).t()?.get(0)?));
    Ok(())
}

#[test]
fn unknown_names_and_wrong_shapes_are_refused() -> Result<()> {
    let (_, store) = tiny()?;
    let before = store.buffers("")?;
    assert!(store.get("norm.gain").is_none());
    let error = store.set("norm.gain", &normal(3, 24)).unwrap_err();
    assert!(matches!(&error, BackboneError::UnknownParameter { name } if name == "norm.gain"), "{error}");
    let error = store.set("cls_token", &normal(3, 24)).unwrap_err();
    assert_eq!(error.to_string(), "parameter cls_token has shape [1, 1, 24], got [24]");
    for ((_, before), (name, after)) in before.iter().zip(store.buffers("")?) {
        assert_eq!(bits(before), bits(&after), "{name}");
    }
    Ok(())
}

#[test]
fn buffers_restore_the_exact_state() -> Result<()> {
    let (_, store) = tiny()?;
    let saved: BTreeMap<String, Tensor> = store.buffers("student.")?.into_iter().collect();
    assert_eq!(saved.len(), store.modules().len());
    let before = store.tensors()?;
    store.set("cls_token", &normal(4, (1, 1, 24)))?;
    store.set("blocks.1.mlp.fc1.bias", &normal(5, 96))?;
    store.restore("student.", &saved)?;
    for (name, tensor) in store.tensors()? {
        assert_eq!(bits(&tensor), bits(&before[&name]), "{name}");
    }

    let error = store.restore("teacher.", &saved).unwrap_err();
    assert!(matches!(&error, BackboneError::UnknownParameter { name } if name == "teacher.cls_token"), "{error}");
    let mut short = saved;
    short.insert("student.norm".to_owned(), normal(6, 47));
    let error = store.restore("student.", &short).unwrap_err();
    assert_eq!(error.to_string(), "parameter student.norm has shape [48], got [47]");
    Ok(())
}

#[test]
fn a_duplicate_has_numbers_of_its_own() -> Result<()> {
    let (_, store) = tiny()?;
    let copy = store.duplicate()?;
    for ((name, original), (copied_name, copied)) in store.buffers("")?.iter().zip(copy.buffers("")?) {
        assert_eq!((name, bits(original)), (&copied_name, bits(&copied)));
    }
    let before = values(&store.get("norm.bias").expect("a parameter")?);
    copy.set("norm.bias", &normal(7, 24))?;
    assert_eq!(values(&store.get("norm.bias").expect("a parameter")?), before);
    assert_ne!(values(&copy.get("norm.bias").expect("a parameter")?), before);
    Ok(())
}

#[test]
fn modules_describe_their_buffers() -> Result<()> {
    let (_, store) = tiny()?;
    for module in store.modules() {
        let mut end = 0;
        for entry in module.entries.iter() {
            assert_eq!(entry.offset, end, "{}: without gaps", entry.name);
            assert!(!entry.is_empty());
            end += entry.len();
            let expected = module.var().as_detached_tensor().narrow(0, entry.offset, entry.len())?;
            assert_eq!(values(&store.get(&entry.name).expect("a parameter")?), values(&expected), "{}", entry.name);
        }
        assert_eq!((module.len(), module.is_empty()), (end, false), "{}", module.name);
    }
    let layers: Vec<(&str, usize)> = store.modules().iter().map(|m| (m.name.as_str(), m.layer)).collect();
    let expected = [
        ("cls_token", 0),
        ("pos_embed", 0),
        ("patch_embed.proj", 0),
        ("blocks.0", 1),
        ("blocks.1", 2),
        ("blocks.2", 3),
        ("norm", 4),
    ];
    assert_eq!(layers, expected);
    Ok(())
}

#[test]
fn gradients_accumulate_and_scale() -> Result<()> {
    let mut store = ParamStore::new(&Device::Cpu);
    let token = |name| ParamDef { name, shape: vec![3], role: Role::Token, init: Init::Constant(2.0) };
    let used = store.add("used", 0, &[token("")], &|_| Box::new(|| 0.5))?;
    store.add("idle", 0, &[token("a"), token("b")], &|_| Box::new(|| 0.5))?;
    let loss = store.training().tensor(used)?.sqr()?.sum_all()?;
    let mut gradients = store.gradients(&mut loss.backward()?)?;
    assert_eq!(values(&gradients.buffers[0]), [4.0; 3]);
    assert_eq!(values(&gradients.buffers[1]), [0.0; 6], "a module that took no part");
    let other = store.gradients(&mut loss.backward()?)?;
    gradients.accumulate(&other)?;
    gradients.scale(0.25)?;
    assert_eq!(values(&gradients.buffers[0]), [2.0; 3]);
    assert_eq!(values(&other.buffers[0]), [4.0; 3]);
    Ok(())
}
