//! JSON values as clients really send them: `5.0` for 5, a string or a list of strings, `null` for absent.
//! Every error says what was expected, in words a caller understands.

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use utoipa::ToSchema;

/// 2^53: above it a float no longer says which integer is meant.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_992.0;

/// A finite number.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, ToSchema)]
#[schema(value_type = f32)]
pub struct Number(pub f32);

/// A whole number, 0 or more. `5.0` is 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = u64)]
pub struct Count(pub usize);

/// A whole number of either sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = i64)]
pub struct Whole(pub i64);

/// A seed: any whole number of 64 bits; a negative one stands for its two's complement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = i64)]
pub struct Seed(pub u64);

/// One string or a list of strings.
#[derive(Debug, Clone, PartialEq, Eq, Default, ToSchema)]
#[schema(value_type = Vec<String>)]
pub struct Strings(pub Vec<String>);

/// A value that only matters by being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = Object)]
pub struct Present(());

/// A string or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextOr<T> {
    /// A string.
    Text(String),
    /// A list.
    List(Vec<T>),
}

struct TextOrVisitor<T> {
    expecting: &'static str,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
    type Value = TextOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<TextOr<T>, E> {
        Ok(TextOr::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TextOr<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(TextOr::List(items))
    }
}

impl<'de, T: Deserialize<'de>> TextOr<T> {
    /// Reads one; an error says what was expected.
    ///
    /// # Errors
    /// What the deserializer says.
    pub fn read<D: Deserializer<'de>>(
        deserializer: D,
        expecting: &'static str,
    ) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor { expecting, item: PhantomData })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(deserializer, "a string or a list")
    }
}

impl<T: Serialize> Serialize for TextOr<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => items.serialize(serializer),
        }
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a finite number")
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the wire has more digits than the sampler needs"
    )]
    fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
        let narrow = value as f32;
        if narrow.is_finite() {
            Ok(Number(narrow))
        } else {
            Err(E::invalid_value(Unexpected::Float(value), &self))
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "as above")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number(value as f32))
    }

    #[expect(clippy::cast_precision_loss, reason = "as above")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number(value as f32))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// Reads a whole number of either sign, wide enough for `u64` and `i64`.
struct WholeVisitor {
    expecting: &'static str,
}

impl Visitor<'_> for WholeVisitor {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the guard keeps it within 2^53")]
    fn visit_f64<E: Error>(self, value: f64) -> Result<i128, E> {
        if value.fract() == 0.0 && value.abs() <= MAX_SAFE_INTEGER {
            Ok(value as i128)
        } else {
            Err(E::invalid_value(Unexpected::Float(value), &self))
        }
    }
}

fn whole<'de, D: Deserializer<'de>, T: TryFrom<i128>>(
    deserializer: D,
    expecting: &'static str,
) -> Result<T, D::Error> {
    let value = deserializer.deserialize_any(WholeVisitor { expecting })?;
    T::try_from(value)
        .map_err(|_| D::Error::custom(format!("invalid value: {value}, expected {expecting}")))
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        whole(deserializer, "a whole number, 0 or more").map(Self)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        whole(deserializer, "a whole number").map(Self)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTING: &str = "a whole number of 64 bits";
        let value: i128 = whole(deserializer, EXPECTING)?;
        let positive = u64::try_from(value).ok();
        positive.or_else(|| i64::try_from(value).ok().map(i64::cast_unsigned)).map(Self).ok_or_else(
            || D::Error::custom(format!("invalid value: {value}, expected {EXPECTING}")),
        )
    }
}

struct StringsVisitor;

impl<'de> Visitor<'de> for StringsVisitor {
    type Value = Strings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Strings, E> {
        Ok(Strings(vec![value.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Strings, A::Error> {
        let mut strings = Vec::new();
        while let Some(string) = list.next_element()? {
            strings.push(string);
        }
        Ok(Strings(strings))
    }
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringsVisitor)
    }
}

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Read as a value: what is skipped over would be reported as unknown.
        serde_json::Value::deserialize(deserializer).map(|_| Self(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_str;

    #[test]
    fn whole_numbers_may_come_as_floats() {
        assert_eq!(from_str::<Count>("5.0").unwrap(), Count(5));
        assert_eq!(from_str::<Count>("0").unwrap(), Count(0));
        assert_eq!(from_str::<Whole>("-1").unwrap(), Whole(-1));
        assert_eq!(from_str::<Seed>("-1").unwrap(), Seed(u64::MAX));
        assert_eq!(from_str::<Seed>("18446744073709551615").unwrap(), Seed(u64::MAX));
        for bad in ["5.5", "-1", "\"5\"", "1e300", "true", "null", "[5]", "-0.5"] {
            assert!(from_str::<Count>(bad).is_err(), "{bad}");
        }
        assert!(from_str::<Seed>("-9223372036854775809").is_err());
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(from_str::<Number>("1").unwrap(), Number(1.0));
        assert_eq!(from_str::<Number>("-0.25").unwrap(), Number(-0.25));
        for bad in ["1e999", "1e39", "-1e300", "NaN", "Infinity", "\"1\"", "false", "{}"] {
            assert!(from_str::<Number>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn strings_alone_or_in_a_list() {
        assert_eq!(from_str::<Strings>("\"a\"").unwrap().0, ["a"]);
        assert_eq!(from_str::<Strings>("[\"a\",\"b\"]").unwrap().0, ["a", "b"]);
        assert_eq!(from_str::<Option<Strings>>("null").unwrap(), None);
        for bad in ["5", "[5]", "[null]", "{}", "[[\"a\"]]"] {
            assert!(from_str::<Strings>(bad).is_err(), "{bad}");
        }
    }
}
