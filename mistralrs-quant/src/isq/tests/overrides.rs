//! Who decides on the type of a weight.

use super::*;
use crate::{StoredExpert, StoredMatrix, WeightOptions, experts};
use QuantType::{F32, Q4_0, Q5_0, Q8_0};

fn ending(ty: Option<QuantType>, end: &'static str) -> Arc<IsqOverride> {
    Arc::new(IsqOverride::new(ty, move |name| name.ends_with(end)))
}

/// Row F3.
#[test]
fn the_first_override_that_matches_decides_and_its_type_may_be_that_of_all() {
    let typed = ending(Some(Q8_0), "weight");
    let untyped = ending(None, "weight");
    let other = ending(Some(Q5_0), "bias");
    let any = |_: &str| true;
    let none = |_: &str| false;
    for (overrides, all, is_one_of_all, wanted) in [
        (vec![&typed], Some(Q4_0), none as fn(&str) -> bool, Some(Q8_0)),
        (vec![&typed], None, none, Some(Q8_0)),
        (vec![&untyped], Some(Q4_0), none, Some(Q4_0)),
        (vec![&untyped], None, any, None),
        (vec![&other], Some(Q4_0), any, Some(Q4_0)),
        (vec![&other], Some(Q4_0), none, None),
        (vec![&other], None, any, None),
        // The first that matches, whatever stands behind it.
        (vec![&other, &untyped, &typed], Some(Q4_0), none, Some(Q4_0)),
        (vec![&other, &untyped, &typed], None, any, None),
        (vec![&other, &typed, &untyped], Some(Q4_0), none, Some(Q8_0)),
    ] {
        let list: Vec<_> = overrides.iter().map(|it| Arc::clone(it)).collect();
        let found = resolve("ffn.weight", &list, all, is_one_of_all);
        assert_eq!(found, wanted, "{overrides:?}, {all:?}");
    }
}

/// What is named goes before layers, layers before all; where no type is given, the next of them has it.
#[test]
fn names_then_layers_then_all() {
    let isq = |all, layer, named| {
        Isq::with_overrides(all, [ending(layer, "weight")], [ending(named, "q.weight")])
    };
    for (all, layer, named, of_q, of_others) in [
        (Some(Q4_0), Some(Q5_0), Some(Q8_0), Some(Q8_0), Some(Q5_0)),
        (Some(Q4_0), Some(Q5_0), None, Some(Q5_0), Some(Q5_0)),
        (Some(Q4_0), None, None, Some(Q4_0), Some(Q4_0)),
        (None, None, Some(Q8_0), Some(Q8_0), None),
        (None, None, None, None, None),
    ] {
        let isq = isq(all, layer, named);
        assert_eq!((isq.of("q.weight"), isq.of("k.weight")), (of_q, of_others));
        assert_eq!(isq.of("else"), all);
        let apart = isq.only_named();
        assert_eq!(
            (apart.of("q.weight"), apart.of("k.weight"), apart.of("else")),
            (named, None, None)
        );
    }
}

/// Also those of experts, each matrix by its own name; and whoever decided knows it.
#[test]
fn weights_follow_their_names() {
    let [named, layer] = [ending(Some(Q8_0), "up.weight"), ending(Some(Q4_0), "weight")];
    let isq = Isq::with_overrides(None, [Arc::clone(&layer)], [Arc::clone(&named)]);
    let options = WeightOptions { isq, stay_mapped: true, ..WeightOptions::default() };
    let matrix = |name: &str| StoredMatrix {
        info: TensorInfo { name: name.to_owned(), ..info(&[32, 32], F32) },
        bytes: stored(&noise(32 * 32, 5), 32, F32),
    };
    let ty = |name: &str, options: &WeightOptions| {
        let StoredMatrix { info, bytes } = matrix(name);
        let info = weight(&info, bytes, options).unwrap().info();
        (info.ty, info.requested)
    };
    assert_eq!(ty("up.weight", &options), (Q8_0, Some(Q8_0)));
    assert_eq!(ty("gate.weight", &options), (Q4_0, Some(Q4_0)));
    assert_eq!(ty("gate", &options), (F32, None));
    assert_eq!((named.decided(), layer.decided()), (1, 1));
    assert_eq!(ty("up.weight", &options.only_named()), (Q8_0, Some(Q8_0)));
    assert_eq!(ty("gate.weight", &options.only_named()), (F32, None));
    assert_eq!(ty("up.weight", &options.as_stored()), (F32, None));
    assert_eq!((named.decided(), layer.decided()), (2, 1));
    let expert = |up: &str| StoredExpert {
        gate: matrix("gate.weight"),
        up: matrix(up),
        down: matrix("down"),
    };
    let stack = experts(vec![expert("up.weight"), expert("up")], &options).unwrap().info();
    let bytes = |ty: QuantType| 32 * ty.row_bytes(32).unwrap();
    assert_eq!(stack.bytes, 2 * bytes(Q4_0) + bytes(Q8_0) + 3 * bytes(F32));
    assert_eq!((named.decided(), layer.decided()), (3, 3));
}
