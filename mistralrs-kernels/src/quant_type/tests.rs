//! The table's own consistency, the formats against reference blocks, and round trips.

use super::*;

#[test]
fn a_type_is_its_own_index() {
    assert_eq!(TABLE.len(), QuantType::ALL.len());
    for (i, ty) in QuantType::ALL.iter().enumerate() {
        assert_eq!(TABLE[i].ty, *ty);
        assert_eq!(*ty as usize, i);
        assert_eq!(QuantType::from_gguf_id(ty.gguf_id()), Some(*ty));
        assert_eq!(QuantType::from_name(ty.name()), Some(*ty));
    }
}

#[test]
fn names_are_found_in_any_spelling() {
    for name in ["Q4_K", "q4_k", "q4k", "Q4K"] {
        assert_eq!(QuantType::from_name(name), Some(QuantType::Q4_K), "{name}");
    }
    assert_eq!(QuantType::from_name("q40"), Some(QuantType::Q4_0));
    assert_eq!(QuantType::from_name("bf16"), Some(QuantType::BF16));
    assert_eq!(QuantType::from_name("q4"), None);
    assert_eq!(QuantType::from_name(""), None);
    assert_eq!(QuantType::from_gguf_id(4), None);
}

#[test]
fn row_bytes_refuses_broken_blocks_and_overflow() {
    assert_eq!(QuantType::Q4_K.row_bytes(512), Some(288));
    assert_eq!(QuantType::Q4_K.row_bytes(0), Some(0));
    assert_eq!(QuantType::Q4_K.row_bytes(255), None);
    assert_eq!(QuantType::F32.row_bytes(usize::MAX), None);
}
