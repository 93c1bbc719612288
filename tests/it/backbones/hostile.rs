//! Weight files that mean harm, and damaged ones: refused in words, with nothing executed, allocated or broken.

use std::path::Path;

use reid_backbones::weights::Checkpoint;
use reid_tests::golden::workspace_root;

/// CRC-32, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
    };
    !bytes.iter().fold(!0, step)
}

/// A zip archive of uncompressed entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let offset = file.len() as u32;
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc32(data).to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(*data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, count) = (file.len() as u32, entries.len() as u16);
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

fn open(bytes: &[u8]) -> Result<Checkpoint, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    std::fs::write(&path, bytes).unwrap();
    let opened = Checkpoint::open(&path).map_err(|error| error.to_string());
    // Every number of what is accepted can be asked for.
    if let Ok(checkpoint) = &opened {
        for name in checkpoint.names() {
            drop(checkpoint.read(name));
        }
    }
    opened
}

fn refused(pickle: &[u8]) -> String {
    open(&archive(&[("archive/data.pkl", pickle), ("archive/version", b"3\n")])).expect_err("a hostile file")
}

/// A call of a function by name with one text, as `__reduce__` makes it.
fn call(module: &str, name: &str) -> Vec<u8> {
    let command = b"touch /tmp/executed";
    let global = format!("c{module}\n{name}\n");
    [b"\x80\x02", global.as_bytes(), b"X", &(command.len() as u32).to_le_bytes(), command, b"\x85R."].concat()
}

#[test]
fn no_function_is_called_by_any_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("__builtin__", "eval"),
        ("subprocess", "Popen"),
        ("importlib", "import_module"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "load"),
        ("torch.serialization", "load"),
        ("functools", "partial"),
        ("runpy", "run_path"),
        ("codecs", "decode"),
    ] {
        let error = refused(&call(module, name));
        assert!(error.contains(&format!("{module}.{name}")) && error.contains("nothing was executed"), "{error}");
    }
    // The same by operations of later protocols, where the name comes from the stack or from memory.
    let stack = b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02ls\x94\x85\x94R\x94.";
    assert!(refused(stack).contains("posix.system"));
    // Operations that call without naming the call, and extension codes.
    for pickle in
        [&b"(S'ls'\nios\nsystem\n."[..], b"(cos\nsystem\nX\x02\x00\x00\x00lso.", b"\x80\x02\x82\x01.", b"P1\n."]
    {
        refused(pickle);
    }
}

#[test]
fn declared_sizes_are_not_believed() {
    for pickle in [
        &b"\x80\x02X\xff\xff\xff\xff."[..],
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x80\x02\x8b\xff\xff\xff\xff.",
        b"\x80\x02\x8a\xff",
        b"\x80\x02B\xff\xff\xff\x7f.",
        b"",
        b".",
        b"R.",
        b"t.",
        b"(.",
        b"\x86.",
        b"\x85.",
        b"s.",
        b"}u.",
        b"}(K\x01u.",
        b"h\x05.",
        b"j\xff\xff\xff\xff.",
        b"NNR.",
        b"N(b.",
        b"0.",
        b"\xff.",
        b"c\xff\n\xff\n.",
        b"ccollections",
    ] {
        refused(pickle);
    }
}

/// A tensor of these sizes at the end of a pickle whose storage has two floats.
fn tensor(kind: &str, key: &str, offset: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
    let number = |value: u32| [b"J".as_slice(), &value.to_le_bytes()].concat();
    let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let tuple =
        |items: &[u32]| [b"(".to_vec(), items.iter().flat_map(|&item| number(item)).collect(), b"t".to_vec()].concat();
    [
        b"\x80\x02}".to_vec(),
        text("w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        format!("ctorch\n{kind}\n").into_bytes(),
        text(key),
        text("cpu"),
        b"K\x02tQ".to_vec(),
        number(offset),
        tuple(shape),
        tuple(strides),
        b"\x89}tRs.".to_vec(),
    ]
    .concat()
}

fn with_storage(pickle: &[u8]) -> Result<Checkpoint, String> {
    open(&archive(&[("archive/data.pkl", pickle), ("archive/data/0", &[0; 8])]))
}

#[test]
fn tensors_stay_within_their_storage() {
    let whole = with_storage(&tensor("FloatStorage", "0", 0, &[2], &[1])).unwrap();
    assert_eq!(whole.shape("w"), Some(&[2][..]));
    let big = u32::MAX / 2;
    for (offset, shape, strides) in [
        (1, &[2][..], &[1][..]),
        (0, &[3], &[1]),
        (0, &[2], &[2]),
        (big, &[1], &[1]),
        (0, &[big, big, big, big], &[0, 0, 0, 0]),
        (0, &[big], &[0]),
        (0, &[2, 2], &[0, 1]),
        (0, &[big, 1], &[big, big]),
        (0, &[2], &[1, 1]),
        (u32::MAX, &[1], &[1]),
        (0, &[1], &[u32::MAX]),
        (0, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    ] {
        let error = with_storage(&tensor("FloatStorage", "0", offset, shape, strides)).expect_err("out of bounds");
        assert!(error.contains("tensor w"), "{error}");
    }
    for key in ["1", "../data.pkl", "/etc/passwd", ""] {
        let error = with_storage(&tensor("FloatStorage", key, 0, &[2], &[1])).expect_err("another entry");
        assert!(error.contains("not in the file"), "{error}");
    }
    assert_eq!(with_storage(&tensor("LongStorage", "0", 0, &[2], &[1])).unwrap().names().count(), 0);
}

#[test]
fn nesting_and_sharing_are_bounded() {
    // A list in a list, half a million times.
    let deep = [b"\x80\x02".to_vec(), vec![b']'; 500_000], vec![b'a'; 499_999], b".".to_vec()].concat();
    assert!(refused(&deep).contains("nested"));
    // Thirty lists of two: what is one of the next twice, a thousand million in all.
    let mut shared = b"\x80\x02]q\x00".to_vec();
    for level in 1..30 {
        shared.extend([b']', b'q', level, b'(', b'h', level - 1, b'h', level - 1, b'e']);
    }
    shared.push(b'.');
    let error = refused(&shared);
    assert!(error.contains("beyond all measure"), "{error}");
    // A list that holds itself.
    assert!(refused(b"\x80\x02]q\x00h\x00a.").contains("nested"));
    // A key beyond all length, made of keys.
    let values = [b"\x80\x02(".to_vec(), vec![b'N'; 5_000_000], b"l.".to_vec()].concat();
    assert!(refused(&values).contains("values"));
}

#[test]
fn damaged_files_are_refused_wherever_they_are_cut_or_changed() {
    for name in ["timm_f16.safetensors", "ibot.pt"] {
        let whole = std::fs::read(workspace_root().join("tests/fixtures/weights").join(name)).unwrap();
        for cut in (0..whole.len()).step_by(61) {
            assert!(open(&whole[..cut]).is_err(), "{name} cut at {cut}");
        }
        // A changed byte may go unnoticed in the padding of an archive, but nowhere breaks anything.
        for at in (0..whole.len()).step_by(97) {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            drop(open(&changed));
        }
    }
    let mut changed = std::fs::read(workspace_root().join("tests/fixtures/weights/ibot.pt")).unwrap();
    let at = changed.windows(14).position(|window| window == b"archive/data/0").unwrap() + 14;
    changed[at] ^= 1;
    let checkpoint = open(&changed).unwrap();
    let failed = checkpoint.names().filter(|name| checkpoint.read(name).is_err()).count();
    assert_eq!(failed, checkpoint.names().count(), "the file is gone");
}

#[test]
fn archives_stay_within_the_file() {
    let good = archive(&[("archive/data.pkl", b"\x80\x02}."), ("archive/data/0", &[0; 8])]);
    assert!(open(&good).is_ok());
    let directory = good.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    // Method, size, packed size, and offset of the first entry; number and place of the directory.
    for (at, value) in [
        (directory + 10, 8),
        (directory + 8, 1),
        (directory + 24, 0xff),
        (directory + 20, 0xff),
        (directory + 45, 0x7f),
        (good.len() - 12, 0xff),
        (good.len() - 6, 0xff),
        (good.len() - 3, 0x7f),
    ] {
        let mut changed = good.clone();
        changed[at] = value;
        assert!(open(&changed).is_err(), "byte {at} set to {value}");
    }
    assert!(open(&archive(&[("archive/weights.npy", b"1")])).unwrap_err().contains("data.pkl"));
    assert!(open(&archive(&[("a/data.pkl", b"}."), ("a/constants.pkl", b"")])).unwrap_err().contains("TorchScript"));
}

#[test]
fn safetensors_headers_are_not_believed() {
    let file = |header: &str, data: usize| {
        [(header.len() as u64).to_le_bytes().to_vec(), header.as_bytes().to_vec(), vec![0; data]].concat()
    };
    assert!(open(&file(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8)).is_ok());
    for (header, data) in [
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 7),
        (r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
        (r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}"#, 8),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#, 8),
        (r#"{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8),
        (r#"{"w":{"dtype":"F32","shape":[2]}}"#, 8),
        (r#"{"w":[]}"#, 8),
        (r#"{"w":"#, 8),
    ] {
        assert!(open(&file(header, data)).is_err(), "{header}");
    }
    let mut long = file("{}", 0);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(open(&long).is_err());
    let nested = format!("{{\"w\":{}", "[".repeat(200_000));
    assert!(open(&file(&nested, 0)).is_err());
}

#[test]
fn what_is_no_weight_file_is_named() {
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, word) in [
        (&b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."[..], "before 1.6"),
        (&tar, "before 1.6"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "empty"),
        (b"no weights at all, but some text", "neither"),
    ] {
        let error = open(bytes).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    let missing = Checkpoint::open(Path::new("no/such/file.pth")).unwrap_err().to_string();
    assert!(missing.ends_with("no/such/file.pth"), "{missing}");
    assert!(Checkpoint::open(&workspace_root()).is_err(), "a folder");
}
