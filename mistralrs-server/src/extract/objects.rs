//! Objects that have to be objects. Serde reads a struct from the list of its fields as well, which no API means:
//! `["user", "hi"]` would be a message. A layer around any deserializer hands structs a visitor that refuses lists, at every depth.
//! Copies nothing. Knows serde alone.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::fmt;

/// A deserializer, or what one is handed on the way down, with the layer around it.
pub struct Objects<T>(pub T);

/// The visitor of a struct. Whatever is no object is refused, for these are the methods it has.
struct ObjectVisitor<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for ObjectVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(map))
    }
}

macro_rules! deserialize {
    ($($method:ident($($arg:ident: $kind:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($arg,)* Objects(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    deserialize! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, ObjectVisitor(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($value:ty);)*) => {$(
        fn $method<E: Error>(self, value: $value) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

/// Narrower numbers and characters come by way of these; JSON has no bytes.
impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool(bool);
        visit_i64(i64);
        visit_i128(i128);
        visit_u64(u64);
        visit_u128(u128);
        visit_f64(f64);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Objects(access))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(inner))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Objects(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Objects<A> {
    type Error = A::Error;
    type Variant = Objects<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.0.variant_seed(Objects(seed))?;
        Ok((value, Objects(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Objects(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Objects(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, ObjectVisitor(visitor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::{Value, json};
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Point {
        x: i32,
        y: Option<f32>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Point);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        One(Point),
        Two(u8, Point),
        Named { at: Point },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Everything<'a> {
        flag: bool,
        wide: i128,
        letter: char,
        #[serde(borrow)]
        text: Cow<'a, str>,
        pair: (u8, String),
        unit: (),
        points: Vec<Point>,
        by_number: BTreeMap<u16, Wrapped>,
        kinds: Vec<Kind>,
        any: Value,
        maybe: Option<Box<Point>>,
    }

    fn whole() -> Value {
        json!({
            "flag": true, "wide": -5, "letter": "é", "text": "te\"xt", "pair": [7, "p"], "unit": null,
            "points": [{"x": 1, "y": 0.5}, {"x": -1}], "by_number": {"3": {"x": 2, "y": null}},
            "kinds": ["plain", {"one": {"x": 3}}, {"two": [4, {"x": 4}]}, {"named": {"at": {"x": 5}}}],
            "any": [[1, "a"], {"b": [null, 1.5]}], "maybe": {"x": 6}, "unknown": [{"x": []}]
        })
    }

    fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
        let mut json = serde_json::Deserializer::from_str(text);
        T::deserialize(Objects(&mut json)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_no_list_is_read_as_without_the_layer() {
        let text = whole().to_string();
        let plain: Everything<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(read::<Everything<'_>>(&text).unwrap(), plain);
        assert_eq!(Everything::deserialize(Objects(whole())).unwrap(), plain);
        let errors = |text: &str| {
            let plain = serde_json::from_str::<Everything<'_>>(text).unwrap_err();
            assert_eq!(read::<Everything<'_>>(text).unwrap_err(), plain.to_string());
        };
        errors(&text[..text.len() - 20]);
        errors(&text.replace("true", "\"true\""));
        errors(&text.replace("\"x\":6", "\"y\":6"));
        errors(&text.replace("plain", "strange"));
    }

    /// Not only equal: text without escapes stays where it is.
    #[test]
    fn text_is_lent_not_copied() {
        assert_eq!(read::<&str>("\"lent\"").unwrap(), "lent");
    }

    #[test]
    fn a_list_of_fields_is_no_object_at_any_depth() {
        const REFUSED: &str = "invalid type: sequence, expected an object";
        for pointer in [
            "/points/0",
            "/by_number/3",
            "/kinds/1/one",
            "/kinds/2/two/1",
            "/kinds/3/named",
            "/kinds/3/named/at",
            "/maybe",
        ] {
            let mut body = whole();
            let fields =
                if pointer == "/kinds/3/named" { json!([{"x": 1}]) } else { json!([1, 2.0]) };
            *body.pointer_mut(pointer).unwrap() = fields;
            let text = body.to_string();
            assert!(
                serde_json::from_str::<Everything<'_>>(&text).is_ok(),
                "{pointer}: else no test"
            );
            let told = read::<Everything<'_>>(&text).unwrap_err();
            assert!(told.starts_with(REFUSED), "{pointer}: {told}");
            // A value knows of its own that a struct variant is no list.
            let told = Everything::deserialize(Objects(body)).unwrap_err().to_string();
            assert!(told.starts_with(REFUSED) || pointer == "/kinds/3/named", "{pointer}: {told}");
        }
        assert!(read::<Point>("[1, 2]").is_err());
        let number = read::<Point>("5").unwrap_err();
        assert!(number.starts_with("invalid type: integer `5`, expected an object"), "{number}");
    }
}
