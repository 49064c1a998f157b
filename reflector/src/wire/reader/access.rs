//! What a [`Reader`] hands out piece by piece: members, elements, variants.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::{ReadError, Reader};

pub(super) struct Members<'r, 'i, 'de> {
    pub(super) reader: &'r mut Reader<'i, 'de>,
    pub(super) first: bool,
}

impl<'de> MapAccess<'de> for Members<'_, '_, 'de> {
    type Error = ReadError;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let first = std::mem::take(&mut self.first);
        let at = self.reader.at;
        // As servers write it, without white space.
        match self.reader.bytes().get(at) {
            Some(b',') if !first && self.reader.bytes().get(at + 1) == Some(&b'"') => self.reader.at += 1,
            Some(b'"') if first => {}
            Some(b'}') => return Ok(None),
            _ if !self.reader.has_member(first)? => return Ok(None),
            _ => {}
        }
        seed.deserialize(Name(self.reader)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        self.reader.expect(b':', "a colon is missing")?;
        seed.deserialize(&mut *self.reader)
    }
}

/// A member's name: always a string, though the map may want a number.
struct Name<'r, 'i, 'de>(&'r mut Reader<'i, 'de>);

macro_rules! named_number {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let reader = self.0;
            reader.at += 1;
            let first = reader.bytes().get(reader.at);
            if !matches!(first, Some(b'-' | b'0'..=b'9')) {
                return Err(reader.wrong("a member's name is no number"));
            }
            let number = reader.$method(visitor)?;
            if reader.bytes().get(reader.at) != Some(&b'"') {
                return Err(reader.wrong("a member's name is no number"));
            }
            reader.at += 1;
            Ok(number)
        }
    )*};
}

impl<'de> Deserializer<'de> for Name<'_, '_, 'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.string(visitor)
    }

    named_number! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0.plain() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => Err(self.0.wrong("a member's name is no bool")),
        }
    }

    #[inline(always)]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_string(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.byte_string(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.byte_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        char str unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

pub(super) struct Elements<'r, 'i, 'de> {
    pub(super) reader: &'r mut Reader<'i, 'de>,
    pub(super) first: bool,
    pub(super) left: Option<usize>,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_, 'de> {
    type Error = ReadError;

    // Elements are large, and a call would move them once more.
    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        match self.reader.peek() {
            Some(b']') => return Ok(None),
            Some(b',') if !self.first => {
                self.reader.at += 1;
                if self.reader.peek() == Some(b']') {
                    return Err(self.reader.wrong("an element is missing"));
                }
            }
            Some(_) if self.first => {}
            _ => return Err(self.reader.wrong("an array does not end")),
        }
        self.first = false;
        self.left = self.left.map(|left| left.saturating_sub(1));
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left
    }
}

pub(super) struct Variant<'r, 'i, 'de> {
    pub(super) reader: &'r mut Reader<'i, 'de>,
    /// Whether something follows the variant's name.
    pub(super) content: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, '_, 'de> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), ReadError> {
        if self.reader.peek() != Some(b'"') {
            return Err(self.reader.wrong("a variant is missing"));
        }
        let value = seed.deserialize(&mut *self.reader)?;
        if self.content {
            self.reader.expect(b':', "a colon is missing")?;
        }
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_, 'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        if self.content {
            de::Deserialize::deserialize(self.reader)
        } else {
            Ok(())
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        if self.content {
            seed.deserialize(self.reader)
        } else {
            seed.deserialize(().into_deserializer())
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.reader.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.reader.deserialize_any(visitor)
    }
}
