//! [`Pruned`]: a serde deserializer that hides members of objects, so that nobody ever allocates them.

use std::{borrow::Cow, fmt};

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
    value::{BorrowedStrDeserializer, StrDeserializer},
};

/// The members of an object that are hidden, by name: each whole, or with what is hidden of what it holds. Lists on the way
/// are stepped through.
#[derive(Debug, Default)]
pub(crate) struct Hidden(Vec<(Box<str>, Option<Self>)>);

impl Hidden {
    /// Hides the member at `path` as well; an empty path hides nothing.
    pub(crate) fn add(&mut self, path: impl IntoIterator<Item = impl Into<Box<str>>>) {
        let mut path = path.into_iter().map(Into::into).peekable();
        let mut hidden = self;
        while let Some(name) = path.next() {
            let known = hidden.0.iter().position(|(member, _)| *member == name);
            let at = known.unwrap_or(hidden.0.len());
            if known.is_none() {
                hidden.0.push((name, Some(Self::default())));
            }
            let (_, below) = &mut hidden.0[at];
            if path.peek().is_none() {
                *below = None;
            }
            match below {
                Some(below) => hidden = below,
                // All of it is hidden already.
                None => return,
            }
        }
    }

    fn of(&self, key: &str) -> Shown<'_> {
        match self.0.iter().find(|(member, _)| **member == *key) {
            None => Shown::Whole,
            Some((_, Some(below))) => Shown::Without(below),
            Some((_, None)) => Shown::Not,
        }
    }
}

/// How much is shown of a member.
enum Shown<'p> {
    Whole,
    Without(&'p Hidden),
    Not,
}

/// Reads a `T` as if what is hidden were not there.
pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    inner: D,
    hidden: &Hidden,
) -> Result<T, D::Error> {
    if hidden.0.is_empty() {
        return T::deserialize(inner);
    }
    T::deserialize(Pruned { inner, hidden })
}

struct Pruned<'p, D> {
    inner: D,
    hidden: &'p Hidden,
}

macro_rules! forward {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.inner.$method(Watched { inner: visitor, hidden: self.hidden })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Pruned<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_unit deserialize_seq deserialize_map
        deserialize_identifier
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_ignored_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Self { inner, hidden } = self;
        inner.deserialize_newtype_struct(
            name,
            Watched {
                inner: visitor,
                hidden,
            },
        )
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Self::Error> {
        let Self { inner, hidden } = self;
        inner.deserialize_tuple(
            len,
            Watched {
                inner: visitor,
                hidden,
            },
        )
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Self { inner, hidden } = self;
        inner.deserialize_tuple_struct(
            name,
            len,
            Watched {
                inner: visitor,
                hidden,
            },
        )
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Self { inner, hidden } = self;
        inner.deserialize_struct(
            name,
            fields,
            Watched {
                inner: visitor,
                hidden,
            },
        )
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_enum(name, variants, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// A visitor that is shown pruned maps.
struct Watched<'p, V> {
    inner: V,
    hidden: &'p Hidden,
}

macro_rules! visit {
    ($($method:ident: $type:ty),* $(,)?) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watched<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool, visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128: i128,
        visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128, visit_f32: f32,
        visit_f64: f64, visit_char: char, visit_str: &str, visit_borrowed_str: &'de str, visit_string: String,
        visit_bytes: &[u8], visit_borrowed_bytes: &'de [u8], visit_byte_buf: Vec<u8>,
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let hidden = self.hidden;
        self.inner.visit_some(Pruned { inner, hidden })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let hidden = self.hidden;
        self.inner.visit_newtype_struct(Pruned { inner, hidden })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let hidden = self.hidden;
        self.inner.visit_seq(PrunedSeq { inner, hidden })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(PrunedMap {
            inner,
            hidden: self.hidden,
            below: None,
        })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(data)
    }
}

struct PrunedSeq<'p, A> {
    inner: A,
    hidden: &'p Hidden,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for PrunedSeq<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let hidden = self.hidden;
        self.inner.next_element_seed(Seed { inner: seed, hidden })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct PrunedMap<'p, A> {
    inner: A,
    hidden: &'p Hidden,
    /// What is hidden below the key read last.
    below: Option<&'p Hidden>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for PrunedMap<'_, A> {
    type Error = A::Error;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        loop {
            let Some(Key(key)) = self.inner.next_key()? else {
                return Ok(None);
            };
            self.below = match self.hidden.of(&key) {
                Shown::Whole => None,
                Shown::Without(below) => Some(below),
                Shown::Not => {
                    self.inner.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            return match &key {
                Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
                Cow::Owned(key) => seed.deserialize(StrDeserializer::new(key)),
            }
            .map(Some);
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        match self.below.take() {
            Some(hidden) => self.inner.next_value_seed(Seed { inner: seed, hidden }),
            None => self.inner.next_value_seed(seed),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct Seed<'p, T> {
    inner: T,
    hidden: &'p Hidden,
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T::Value, D::Error> {
        let hidden = self.hidden;
        self.inner.deserialize(Pruned { inner, hidden })
    }
}

/// A member's name, borrowed where it can be.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(value)))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }

            fn visit_string<E: Error>(self, value: String) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(value)))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}
