//! Files in, answers and complaints out.

use super::*;

fn read(text: &str) -> Topology {
    Topology::parse(Path::new("t.yml"), text).unwrap()
}

/// What is wrong with a file.
fn wrong(text: &str) -> String {
    Topology::parse(Path::new("t.yml"), text).unwrap_err().to_string()
}

fn ty(name: &str) -> Option<QuantType> {
    QuantType::from_name(name)
}

fn layer_types(text: &str, layers: &[usize]) -> Vec<Option<&'static str>> {
    let topology = read(text);
    let of = |layer: &usize| topology.layer(*layer)?.isq.map(QuantType::name);
    layers.iter().map(of).collect()
}

/// Row E3.
#[test]
fn of_overlapping_ranges_the_one_that_ends_last_decides_then_the_later_one() {
    let (q3, q4, q6) = (Some("Q3_K"), Some("Q4_K"), Some("Q6_K"));
    let crossing = "0-4: {isq: q4k}\n2-6: {isq: q6k}\n";
    assert_eq!(layer_types(crossing, &[0, 1, 2, 5, 6]), [q4, q4, q6, q6, None]);
    let turned = "2-6: {isq: q6k}\n0-4: {isq: q4k}\n";
    assert_eq!(layer_types(turned, &[0, 1, 2, 5, 6]), [q4, q4, q6, q6, None]);
    let together = "0-4: {isq: q4k}\n2-4: {isq: q3k}\n";
    assert_eq!(layer_types(together, &[1, 2, 3, 4]), [q4, q3, q3, None]);
    let turned = "2-4: {isq: q3k}\n0-4: {isq: q4k}\n";
    assert_eq!(layer_types(turned, &[1, 2, 3]), [q4, q4, q4]);
    // A layer ends where it begins, so what goes on behind it decides.
    assert_eq!(layer_types("2: {isq: q6k}\n0-4: {isq: q4k}\n", &[2]), [q4]);
    assert_eq!(layer_types("0-3: {isq: q4k}\n2: {isq: q6k}\n", &[1, 2]), [q4, q6]);
}

#[test]
fn the_whole_entry_is_replaced() {
    let topology = read("0-4:\n  isq: q4k\n  device: cpu\n2-6:\n  device: cuda[1]\n4-6: {}\n");
    let entry = |isq, device| Some(TopologyEntry { isq, device });
    assert_eq!(topology.layer(0).copied(), entry(ty("Q4_K"), Some(DeviceName::Cpu)));
    assert_eq!(topology.layer(2).copied(), entry(None, Some(DeviceName::Cuda(1))));
    assert_eq!(topology.layer(5).copied(), entry(None, None));
    assert_eq!(topology.device_of_layer(3), Some(&DeviceName::Cuda(1)));
    // Beyond what the file says nothing is said; nor by it where an entry is silent.
    assert_eq!((topology.device_of_layer(4), topology.device_of_layer(6)), (None, None));
    let all: Vec<_> = topology.devices().copied().collect();
    assert_eq!(all, [DeviceName::Cpu, DeviceName::Cuda(1)]);
    let (isq, _) = topology.isq(ty("Q8_0"));
    let of = |layer| isq.of(&format!("model.layers.{layer}.mlp.up_proj.weight"));
    assert_eq!([of(0), of(2), of(5), of(6)], [ty("Q4_K"), ty("Q8_0"), ty("Q8_0"), ty("Q8_0")]);
}

/// Row E3.
#[test]
fn of_expressions_the_last_that_matches_decides() {
    let topology = read("'/ffn\\./':\n  isq: q4k\n/ffn\\.weight$/:\n  isq: q6k\n");
    let name = "model.layers.3.ffn.weight";
    assert_eq!(topology.named(name).unwrap().isq, ty("Q6_K"));
    assert_eq!(topology.named("model.layers.3.ffn.bias").unwrap().isq, ty("Q4_K"));
    assert_eq!(topology.named("model.layers.3.attn.weight"), None);
    let order: Vec<_> = topology.overrides().map(|(pattern, _)| pattern.as_str()).collect();
    assert_eq!(order, [r"ffn\.weight$", r"ffn\."]);
    let (isq, _) = topology.isq(None);
    assert_eq!((isq.of(name), isq.of("model.layers.3.attn.weight")), (ty("Q6_K"), None));
}

/// An entry without a type has that of its layer, which without one has that of all.
#[test]
fn expressions_then_layers_then_all() {
    let text = "/q_proj/: {device: cpu}\n0-2: {isq: q5k}\n1: {isq: q4k}\n/k_proj/: {isq: q6k}\n";
    let (isq, _) = read(text).isq(ty("Q8_0"));
    let of = |layer: usize, name: &str| {
        isq.of(&format!("model.layers.{layer}.self_attn.{name}.weight")).map(QuantType::name)
    };
    let found =
        [0, 1, 2].map(|layer| ["q_proj", "k_proj", "v_proj"].map(|it| of(layer, it).unwrap()));
    let wanted = [["Q5_K", "Q6_K", "Q5_K"], ["Q4_K", "Q6_K", "Q4_K"], ["Q8_0", "Q6_K", "Q8_0"]];
    assert_eq!(found, wanted);
}

/// Row E3: once a file without ranges had no last one.
#[test]
fn files_may_say_nothing_or_only_names() {
    for text in ["", "\n# nothing\n", "# a\n---\n", "{}", "/a/:\n", "/a/: {}\n", "//: {isq: 4}\n"] {
        let topology = read(text);
        assert_eq!(topology.layer(0), None, "{text:?}");
        assert_eq!(topology.device_of_layer(0), None);
        assert_eq!(topology.devices().count(), 0);
        topology.check_devices().unwrap();
    }
    assert_eq!(read("//: {isq: 4}").named("x").unwrap().isq, ty("Q4_K"));
}

#[test]
fn layers_are_those_of_the_text() {
    for (name, layer) in [
        ("model.layers.12.self_attn.q_proj.weight", Some(12)),
        ("language_model.model.layers.3.mlp.up_proj.weight", Some(3)),
        ("model.text_model.layers.0.mlp.up_proj.weight", Some(0)),
        ("encoder.layer.5.attention.self.query.weight", Some(5)),
        ("layers.7.attn.Wqkv.weight", Some(7)),
        ("model.layers.1.mlp.experts.9.up_proj.weight", Some(1)),
        ("model.visual.blocks.3.attn.qkv.weight", None),
        ("model.vision_tower.vision_model.encoder.layers.3.mlp.fc1.weight", None),
        ("model.audio_tower.layers.3.weight", None),
        ("model.embed_tokens.weight", None),
        ("model.layers.norm.weight", None),
        ("lm_head.weight", None),
    ] {
        assert_eq!(layer_of(name), layer, "{name}");
    }
}

#[test]
fn types_and_devices_by_name() {
    for (name, wanted) in [("8", "Q8_0"), ("q4k", "Q4_K"), ("Q5_1", "Q5_1"), ("'6'", "Q6_K")] {
        assert_eq!(read(&format!("0: {{isq: {name}}}")).layer(0).unwrap().isq, ty(wanted));
    }
    for (name, wanted) in [
        ("cpu", DeviceName::Cpu),
        ("cuda[0]", DeviceName::Cuda(0)),
        ("metal[12]", DeviceName::Metal(12)),
    ] {
        let topology = read(&format!("0-2:\n  device: {name}\n"));
        assert_eq!(topology.device_of_layer(1), Some(&wanted));
        assert_eq!(wanted.to_string(), name);
    }
}

/// Row E3. File, selector, and what is allowed.
#[test]
fn what_is_wrong_is_said() {
    for (text, parts) in [
        ("4-4: {isq: q4k}", &["selector `4-4`", "larger than the first", "`4-5`"] as &[&str]),
        ("4-2: {isq: q4k}", &["selector `4-2`", "larger"]),
        ("/(/: {isq: q4k}", &["selector `/(/`", "unclosed group"]),
        ("0: {device: gpu0}", &["selector `0`", "device", "`gpu0`", "cuda[0]", "metal[0]"]),
        ("0:\n  device: cuda\n", &["`cuda`", "cuda[0]"]),
        ("0:\n  device: cuda[x]\n", &["`cuda[x]`", "cuda[0]"]),
        ("0:\n  device: rocm[0]\n", &["`rocm[0]`", "cuda[0]"]),
        ("0: {device: 3}", &["`3`", "cuda[0]"]),
        ("0: {isq: q9}", &["selector `0`", "isq: q9", "no such type", "q4k"]),
        ("/q/: {isq: afq4}", &["selector `/q/`", "isq: afq4", "not built yet"]),
        ("0: {isq: [4]}", &["selector `0`", "isq"]),
        ("0: {isq: q4k, sort: 3}", &["selector `0`", "unknown key `sort`", "device"]),
        ("0: q4k", &["selector `0`", "`q4k` is no entry", "isq: q4k"]),
        ("0: {isq: q4k, isq: q6k}", &["isq"]),
        ("0-4: {isq: q4k}\n0-4: {isq: q6k}", &["selector `0-4`", "twice"]),
        ("4: {isq: q4k}\n'4': {isq: q6k}", &["selector `4`", "twice"]),
        ("-4: {isq: q4k}", &["selector `-4`", "0-8", "/q_proj/"]),
        ("1-2-3: {isq: q4k}", &["selector `1-2-3`", "0-8"]),
        ("1.5: {isq: q4k}", &["selector `1.5`", "0-8"]),
        ("q_proj: {isq: q4k}", &["selector `q_proj`", "/q_proj/"]),
        ("/: {isq: q4k}", &["selector `/`", "/q_proj/"]),
        ("true: {isq: q4k}", &["selector `true`", "0-8"]),
        ("18446744073709551615: {isq: q4k}", &["no selector"]),
        ("- 0-4", &["a map from selectors"]),
        ("0-4: {isq", &["line 1"]),
    ] {
        let error = wrong(text);
        assert!(error.starts_with("t.yml: "), "{error}");
        for part in parts {
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
    let missing = Topology::read(Path::new("no/such/file.yml")).unwrap_err();
    assert!(missing.to_string().starts_with("no/such/file.yml: "), "{missing}");
}

#[test]
fn other_devices_than_the_cpu_are_refused() {
    let table = [
        ("0-2:\n  device: cpu\n3:\n  device: cuda[0]\n", "this build has no such device"),
        ("/q/:\n  device: metal[1]\n", "stay where their layer is"),
    ];
    for (text, why) in table {
        let error = read(text).check_devices().unwrap_err().to_string();
        for part in ["t.yml: selector `", "[", why, "device: cpu"] {
            assert!(error.contains(part), "{error}");
        }
    }
    read("0-2:\n  device: cpu\n").check_devices().unwrap();
}
