//! [`Reader`]: a serde deserializer for one object, which knows how long every array is before it is read.
//!
//! Before an array is read its elements are counted, so that every `Vec` is allocated at its size: objects built by
//! pushing keep up to four times what they need, for as long as they are cached. Numbers other than plain integers and
//! strings with escapes are handed to `serde_json`.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::scan::{Skipper, StringEnd, find_stop, string_end, trim_start};

/// Reads one JSON value.
#[derive(Debug)]
pub(crate) struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: u32,
}

/// What is wrong with a text. Says where, and what was missing, but never what was there.
#[derive(Debug)]
pub(crate) struct ReadError(Box<str>);

impl<'de> Reader<'de> {
    pub(crate) fn new(text: &'de str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// Nothing may follow the value.
    pub(crate) fn end(mut self) -> Result<(), ReadError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong("something follows the object")),
        }
    }

    fn wrong(&self, what: &str) -> ReadError {
        ReadError(format!("{what} (byte {})", self.at).into())
    }

    fn bytes(&self) -> &'de [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes().get(self.at) {
            if byte > b' ' {
                return Some(byte);
            }
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn expect(&mut self, wanted: u8, what: &str) -> Result<(), ReadError> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.wrong(what))
        }
    }

    fn word(&mut self, word: &str) -> Result<(), ReadError> {
        if self.bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.wrong("the JSON is malformed"))
        }
    }

    /// The string that begins here; borrowed unless it has escapes.
    fn string<T>(
        &mut self,
        borrowed: impl FnOnce(&'de str) -> Result<T, ReadError>,
        owned: impl FnOnce(String) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let start = self.at + 1;
        let bytes = self.bytes();
        let Some(found) = find_stop::<true>(&bytes[start..]) else {
            return Err(self.wrong("a string does not end"));
        };
        let end = start + found;
        match bytes[end] {
            b'"' => {}
            b'\\' => return self.escaped(start, owned),
            _ => return Err(self.wrong("a string has a control character")),
        }
        let text = &self.text[start..end];
        self.at = end + 1;
        borrowed(text)
    }

    #[cold]
    fn escaped<T>(
        &mut self,
        start: usize,
        owned: impl FnOnce(String) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let StringEnd::Quote(end) = string_end(&self.bytes()[start..]) else {
            return Err(self.wrong("a string does not end"));
        };
        let text = serde_json::from_str(&self.text[start - 1..=start + end])
            .map_err(|_| self.wrong("a string has a broken escape"))?;
        self.at = start + end + 1;
        owned(text)
    }

    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        let rest = &self.bytes()[self.at..];
        let len = rest
            .iter()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .count();
        let token = &rest[..len];
        let digits = token.strip_prefix(b"-").unwrap_or(token);
        let plain = !digits.is_empty()
            && digits.len() < 19
            && digits.iter().all(u8::is_ascii_digit)
            && (digits[0] != b'0' || (digits.len() == 1 && token.len() == 1));
        let here = self.at;
        self.at += len;
        if plain {
            let value = digits
                .iter()
                .fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
            return if token.len() == digits.len() {
                visitor.visit_u64(value)
            } else {
                visitor.visit_i64(-i64::try_from(value).unwrap_or(0))
            };
        }
        let number: serde_json::Number = serde_json::from_str(&self.text[here..here + len])
            .map_err(|_| self.wrong("a number is malformed"))?;
        if let Some(value) = number.as_u64() {
            visitor.visit_u64(value)
        } else if let Some(value) = number.as_i64() {
            visitor.visit_i64(value)
        } else {
            visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
        }
    }

    fn skip(&mut self) -> Result<(), ReadError> {
        if self.peek().is_none() {
            return Err(self.wrong("the JSON is cut off"));
        }
        let rest = &self.bytes()[self.at..];
        let mut skipper = Skipper::default();
        let Some(end) = skipper.feed(rest).filter(|end| *end > 0) else {
            return Err(self.wrong("the JSON is cut off"));
        };
        if !matches!(rest[0], b'{' | b'[' | b'"')
            && serde_json::from_slice::<de::IgnoredAny>(&rest[..end]).is_err()
        {
            return Err(self.wrong("the JSON is malformed"));
        }
        self.at += end;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), ReadError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("the object nests too deep"));
        }
        Ok(())
    }

    fn map<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        self.enter()?;
        let value = visitor.visit_map(Members {
            reader: self,
            first: true,
        })?;
        self.depth -= 1;
        self.expect(b'}', "an object does not end")?;
        Ok(value)
    }

    fn seq<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        let inside = self.bytes().get(self.at + 1..).unwrap_or_default();
        let left = if self.depth < COUNT_DEPTH {
            count_elements(inside)
        } else {
            None
        };
        self.enter()?;
        let value = visitor.visit_seq(Elements {
            reader: self,
            first: true,
            left,
        })?;
        self.depth -= 1;
        self.expect(b']', "an array does not end")?;
        Ok(value)
    }
}

macro_rules! forward {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.peek() {
            Some(b'"') => self.deserialize_str(visitor),
            Some(b'{') => self.map(visitor),
            Some(b'[') => self.seq(visitor),
            Some(b't') => self.word("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.word("false").and_then(|()| visitor.visit_bool(false)),
            Some(b'n') => self.word("null").and_then(|()| visitor.visit_unit()),
            Some(b'-' | b'0'..=b'9') => self.number(visitor),
            Some(_) => Err(self.wrong("the JSON is malformed")),
            None => Err(self.wrong("the JSON is cut off")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.peek() != Some(b'"') {
            return self.deserialize_any(visitor);
        }
        // Both ways end in the same visitor, of which there is one.
        let visitor = std::cell::Cell::new(Some(visitor));
        let take = || {
            visitor
                .take()
                .ok_or_else(|| ReadError("a string is read once".into()))
        };
        self.string(
            |text| take()?.visit_borrowed_str(text),
            |text| take()?.visit_string(text),
        )
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.peek() == Some(b'n') {
            self.word("null")?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.peek() {
            Some(b'"') => visitor.visit_enum(Variant {
                reader: self,
                content: false,
            }),
            Some(b'{') => {
                self.enter()?;
                let value = visitor.visit_enum(Variant {
                    reader: &mut *self,
                    content: true,
                })?;
                self.depth -= 1;
                self.expect(b'}', "an object does not end")?;
                Ok(value)
            }
            _ => Err(self.wrong("a variant is missing")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    forward! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_byte_buf deserialize_unit deserialize_seq deserialize_map
    }
}

struct Members<'r, 'de> {
    reader: &'r mut Reader<'de>,
    first: bool,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = ReadError;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        match self.reader.peek() {
            Some(b'}') => return Ok(None),
            Some(b',') if !self.first => {
                self.reader.at += 1;
                if self.reader.peek() != Some(b'"') {
                    return Err(self.reader.wrong("a member's name is missing"));
                }
            }
            Some(b'"') if self.first => {}
            _ => return Err(self.reader.wrong("a member's name is missing")),
        }
        self.first = false;
        seed.deserialize(Name(self.reader)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        self.reader.expect(b':', "a colon is missing")?;
        seed.deserialize(&mut *self.reader)
    }
}

/// A member's name: always a string, though the map may want a number.
struct Name<'r, 'de>(&'r mut Reader<'de>);

macro_rules! named_number {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let text = self.0.string(|text| Ok(std::borrow::Cow::Borrowed(text)), |text| Ok(text.into()))?;
            let number: serde_json::Number =
                serde_json::from_str(&text).map_err(|_| self.0.wrong("a member's name is no number"))?;
            number.$method(visitor).map_err(|_| self.0.wrong("a member's name is no such number"))
        }
    )*};
}

impl<'de> Deserializer<'de> for Name<'_, 'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_str(visitor)
    }

    named_number! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64
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
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

struct Elements<'r, 'de> {
    reader: &'r mut Reader<'de>,
    first: bool,
    left: Option<usize>,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = ReadError;

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

struct Variant<'r, 'de> {
    reader: &'r mut Reader<'de>,
    /// Whether something follows the variant's name.
    content: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
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

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
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

impl de::Error for ReadError {
    /// Keeps the names of fields, which are the schema's, and nothing of what was read.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        let known = ["missing field `", "duplicate field `"]
            .iter()
            .find_map(|prefix| {
                let name = text.strip_prefix(prefix)?.split('`').next()?;
                Some(format!("{prefix}{name}`").into_boxed_str())
            });
        Self(known.unwrap_or_else(|| "a member has the wrong type or value".into()))
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

/// Elements are counted no deeper than this: a part of the text is looked at once for every array around it.
const COUNT_DEPTH: u32 = 16;
/// As deep as `serde_json` goes.
const DEPTH_MAX: u32 = 127;

/// How many elements the array has whose inside `bytes` begins with; `None` if it does not end soon.
fn count_elements(bytes: &[u8]) -> Option<usize> {
    let bytes = &bytes[..bytes.len().min(COUNT_MAX)];
    let mut elements = usize::from(trim_start(bytes).first() != Some(&b']'));
    let (mut at, mut depth) = (0, 0_u32);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => match string_end(&bytes[at..]) {
                StringEnd::Quote(end) => at += end + 1,
                _ => return None,
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(elements),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => elements += 1,
            _ => {}
        }
    }
    None
}

/// How far ahead elements are counted: more than any array of a Kubernetes object takes, few enough for bad intent.
const COUNT_MAX: usize = 64 * 1024;
