//! The table of row E1, in MiB, and what operators may ask for.

use super::*;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// Ten layers of 500 MiB, 1000 MiB beside them.
fn request(free: &[u64]) -> MapRequest {
    MapRequest {
        layers: vec![500 * MIB; 10],
        fixed: 1000 * MIB,
        kv_per_layer: 0,
        layer_activations: 0,
        fixed_activations: 0,
        free: free.iter().map(|free| free * MIB).collect(),
    }
}

#[test]
fn the_table() {
    let counts = |free: &[u64]| plan(&request(free));
    // 6000 of 7680.
    assert_eq!(counts(&[8192]), [10]);
    // 5632 hold 1000 and nine layers, not 6000.
    assert_eq!(counts(&[6144]), [9]);
    // A fiftieth of 65536 is more than 512: 1310 are left alone.
    assert_eq!(capacity(65536 * MIB), 65536 * MIB - 65536 * MIB / 50);
    assert_eq!(counts(&[65536]), [10]);
    // Nothing can be used: everything on the CPU.
    assert_eq!(capacity(400 * MIB), 0);
    assert_eq!(counts(&[400]), [0]);
    // 2560 each: 1000 and three layers, then five, and two for the CPU.
    assert_eq!(counts(&[3072, 3072]), [3, 5]);
    // With keys and values it is still ten layers in all.
    let kv = MapRequest { kv_per_layer: 100 * MIB, ..request(&[3072, 3072, 8192]) };
    assert_eq!(plan(&kv), [2, 4, 4]);
    assert_eq!(plan(&request(&[])), Vec::<usize>::new());
}

/// What is no layer goes with the first layers, so a device without room for one is passed by.
#[test]
fn what_is_no_layer_goes_with_the_first_layers() {
    assert_eq!(plan(&request(&[1024, 8192])), [0, 10]);
    let active = |layer, fixed| MapRequest {
        layer_activations: layer * MIB,
        fixed_activations: fixed * MIB,
        ..request(&[4096, 4096])
    };
    // 3584 each: 1000 beside five layers, seven without.
    assert_eq!(plan(&active(0, 0)), [5, 5]);
    assert_eq!(plan(&active(100, 600)), [3, 6]);
    assert_eq!(plan(&active(600, 100)), [3, 5]);
}

proptest! {
    #[test]
    fn nobody_gets_more_than_fits_and_no_layer_is_lost(
        layers in proptest::collection::vec(prop_oneof![0..1u64 << 34, any::<u64>()], 0..40),
        free in proptest::collection::vec(prop_oneof![0..1u64 << 36, any::<u64>()], 0..5),
        fixed in any::<u64>(),
        sizes in (0..1u64 << 32, 0..1u64 << 32, any::<u64>()),
    ) {
        let (kv_per_layer, layer_activations, fixed_activations) = sizes;
        let request =
            MapRequest { layers, fixed, kv_per_layer, layer_activations, fixed_activations, free };
        let counts = plan(&request);
        prop_assert_eq!(counts.len(), request.free.len());
        let mut layers = request.layers.iter();
        for (count, free) in counts.iter().zip(&request.free) {
            let mine: Vec<_> = layers.by_ref().take(*count).collect();
            prop_assert_eq!(mine.len(), *count);
            let kv = u128::from(kv_per_layer) * mine.len() as u128;
            let used = mine.into_iter().map(|bytes| u128::from(*bytes)).sum::<u128>() + kv;
            prop_assert!(used <= u128::from(capacity(*free)));
        }
    }
}

/// Row E2: nobody asks how much the CPU has; what does not fit there is warned of by the memory plan.
#[test]
fn the_cpu_takes_what_is_left() {
    let big = MapRequest { layers: vec![1000 * MIB; 10], fixed: 0, ..request(&[2048]) };
    assert_eq!(plan(&big), [1]);
    assert_eq!(plan(&request(&[])).iter().sum::<usize>(), 0);
}

#[test]
fn the_cache_is_no_larger_than_the_smallest_room() {
    // 3072 and 2560 can be used; 1000 and three layers leave 572, four leave 560.
    let request = request(&[3584, 3072]);
    let kv = vec![MIB; 10];
    let most = |counts: &[usize], kv: &[u64]| most_tokens(&request, &assigned(counts, 10), kv);
    assert_eq!(most(&[3, 4], &kv), Some(140));
    assert_eq!(most(&[3, 0], &kv), Some(190));
    assert_eq!(most(&[0, 0], &kv), None);
    // More layers than it holds leave nothing.
    assert_eq!(most(&[9, 0], &kv), Some(0));
    // The last layers keep none of their own.
    assert_eq!(most(&[3, 4], &kv[..3]), Some(190));
}

#[test]
fn what_operators_write() {
    let counts = |spec: &str| match LayerMap::from_spec(spec) {
        Ok(LayerMap::Counts(counts)) => {
            counts.iter().map(|count| (count.ordinal, count.layers)).collect::<Vec<_>>()
        }
        other => panic!("{spec}: {other:?}"),
    };
    assert_eq!(counts("20"), [(0, 20)]);
    assert_eq!(counts("1:3"), [(1, 3)]);
    assert_eq!(counts("0:10; 1:14;"), [(0, 10), (1, 14)]);
    for (spec, named) in
        [("", "nothing"), ("ten", "`ten`"), ("0:x", "`x`"), ("1;2", "`1`"), ("0:1;0:2", "twice")]
    {
        let error = LayerMap::from_spec(spec).unwrap_err();
        assert!(error.contains(named), "{spec}: {error}");
    }
}

#[test]
fn what_operators_want_is_held_against_what_there_is() {
    let want = |ordinal, layers| DeviceLayers { ordinal, layers };
    let counts = |wanted: &[DeviceLayers], devices| {
        counts_of(wanted, 24, devices).map_err(|error| error.to_string())
    };
    assert_eq!(counts(&[want(1, 20)], 2).unwrap(), [0, 20]);
    assert!(counts(&[want(0, 1)], 0).unwrap_err().contains("only the CPU"));
    assert!(counts(&[want(2, 1)], 2).unwrap_err().contains("only 0 to 1"));
    assert!(counts(&[want(0, 20), want(1, 5)], 2).unwrap_err().contains("the model has 24"));
    let names = ["cuda[0]", "cuda[1]"].map(str::to_owned);
    let told = |counts: &[usize]| described(&names, &assigned(counts, 24));
    assert_eq!(told(&[10, 0]), "layers 0-9 on cuda[0], 10-23 on cpu");
    assert_eq!(told(&[10, 14]), "layers 0-9 on cuda[0], 10-23 on cuda[1]");
    assert_eq!(told(&[0, 0]), "layers 0-23 on cpu");
}
