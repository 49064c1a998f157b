//! [`Reader`]: a serde deserializer for one object, which knows where everything ends before it is read.
//!
//! Every array is announced with the number of its elements, so that every `Vec` is allocated at its size: objects built
//! by pushing keep up to four times what they need, for as long as they are cached. Numbers other than plain integers and
//! strings with escapes are handed to `serde_json`.

mod access;

use std::{fmt, str::FromStr};

use serde::de::{
    self, Deserializer, Visitor,
    value::{BorrowedStrDeserializer, MapDeserializer},
};

use access::{Elements, Members, Variant};

use super::{
    index::{Index, Unpaired},
    scan::{StringEnd, string_end},
};

/// Reads one JSON value.
#[derive(Debug)]
pub(crate) struct Reader<'i, 'de> {
    text: &'de str,
    index: &'i Index,
    at: usize,
    depth: u32,
}

/// What is wrong with a text. Says where, and what was missing, but never what was there.
#[derive(Debug)]
pub(crate) struct ReadError(Box<str>);

impl<'i, 'de> Reader<'i, 'de> {
    /// A reader of `text`, to which `index` belongs.
    pub(crate) fn new(text: &'de str, index: &'i Index) -> Self {
        Self {
            text,
            index,
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

    #[cold]
    fn wrong(&self, what: &str) -> ReadError {
        ReadError(format!("{what} (byte {})", self.at).into())
    }

    /// What is here is not what the type wants, or no JSON at all. A scalar is stepped over, as `serde_json` does: a type
    /// may make do without it.
    #[cold]
    fn unexpected(&mut self) -> ReadError {
        match self.peek() {
            Some(b'{' | b'[') => self.wrong(WRONG_TYPE),
            Some(b'"' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9') => {
                let error = self.wrong(WRONG_TYPE);
                match self.deserialize_any(de::IgnoredAny) {
                    Ok(de::IgnoredAny) => error,
                    Err(error) => error,
                }
            }
            Some(_) => self.wrong("the JSON is malformed"),
            None => self.wrong("the JSON is cut off"),
        }
    }

    #[inline(always)]
    fn bytes(&self) -> &'de [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is no white space.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        match self.bytes().get(self.at) {
            Some(&byte) if byte > b' ' => Some(byte),
            _ => self.skip_blank(),
        }
    }

    #[cold]
    fn skip_blank(&mut self) -> Option<u8> {
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        self.at += self.bytes()[self.at..].iter().take_while(blank).count();
        self.bytes().get(self.at).copied()
    }

    #[inline(always)]
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

    /// The string whose first quote is here, if it can be borrowed: if it has no escapes.
    #[inline(always)]
    fn plain(&mut self) -> Option<&'de str> {
        let start = self.at + 1;
        let end = self.index.stop(start)?;
        if self.bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// The string whose first quote is here, if it is not [`plain`](Self::plain).
    #[cold]
    fn escaped(&mut self) -> Result<String, ReadError> {
        self.escaped_with(serde_json::from_str)
    }

    /// As [`escaped`](Self::escaped), read from its quotes on by `read`.
    fn escaped_with<T>(
        &mut self,
        read: impl FnOnce(&'de str) -> serde_json::Result<T>,
    ) -> Result<T, ReadError> {
        let start = self.at + 1;
        let StringEnd::Quote(end) = string_end(&self.bytes()[start..]) else {
            return Err(self.wrong("a string does not end"));
        };
        let text = read(&self.text[start - 1..=start + end])
            .map_err(|_| self.wrong("a string has a broken escape or a control character"))?;
        self.at = start + end + 1;
        Ok(text)
    }

    #[inline]
    fn string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        match self.plain() {
            Some(text) => visitor.visit_borrowed_str(text),
            None => visitor.visit_string(self.escaped()?),
        }
    }

    /// The string that is here, if it has no escapes. What a type keeps is handed over in two registers: read back from
    /// memory right after it has been written in other pieces, it would wait for everything written before it, most
    /// of which goes to memory that no cache has yet.
    #[inline(never)]
    fn owned(&mut self) -> Option<Box<str>> {
        match self.peek() {
            Some(b'"') => self.plain().map(Box::from),
            _ => None,
        }
    }

    /// A string that is not [`owned`](Self::owned), or something else.
    #[cold]
    #[inline(never)]
    fn unusual<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        match self.peek() {
            Some(b'"') => self.string(visitor),
            _ => Err(self.unexpected()),
        }
    }

    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        let rest = &self.bytes()[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let is_negative = rest.first() == Some(&b'-');
        let digits = &rest[usize::from(is_negative)..];
        let (mut value, mut count) = (0_u64, 0);
        for byte in digits.iter().take(19) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value * 10 + u64::from(digit);
            count += 1;
        }
        let is_whole = matches!(count, 1..19) && !digits.get(count).is_some_and(is_part);
        if is_whole && (digits[0] != b'0' || (count == 1 && !is_negative)) {
            self.at += usize::from(is_negative) + count;
            return if is_negative {
                visitor.visit_i64(-i64::try_from(value).unwrap_or(0))
            } else {
                visitor.visit_u64(value)
            };
        }
        let len = rest.iter().take_while(|byte| is_part(byte)).count();
        let text = &self.text[self.at..self.at + len];
        let number: serde_json::Result<serde_json::Number> = serde_json::from_str(text);
        // One that is too large has been read all the same.
        if number.is_ok() || serde_json::from_str::<de::IgnoredAny>(text).is_ok() {
            self.at += len;
        }
        let number = number.map_err(|_| self.wrong("a number is malformed or out of range"))?;
        if let Some(value) = number.as_u64() {
            visitor.visit_u64(value)
        } else if let Some(value) = number.as_i64() {
            visitor.visit_i64(value)
        } else {
            match number.as_f64() {
                Some(value) => visitor.visit_f64(value),
                None => Err(self.wrong("a number is out of range")),
            }
        }
    }

    /// An integer of more digits than others have.
    fn integer<T: FromStr>(&mut self) -> Result<T, ReadError> {
        let rest = &self.bytes()[self.at..];
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-');
        let len = rest.iter().take_while(is_part).count();
        let token = &self.text[self.at..self.at + len];
        let digits = token.strip_prefix('-').unwrap_or(token);
        let integer = token.parse().ok();
        let integer = integer.filter(|_| digits.len() == 1 || !digits.starts_with('0'));
        let integer = integer.ok_or_else(|| self.wrong("a number is malformed or out of range"))?;
        self.at += len;
        Ok(integer)
    }

    fn signed<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_i128(self.integer()?)
    }

    fn unsigned<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u128(self.integer()?)
    }

    /// A string where bytes are wanted.
    fn byte_string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        match self.plain() {
            Some(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
            // Halves of surrogates are bytes, though no text.
            None => self
                .escaped_with(|string| serde_json::Deserializer::from_str(string).deserialize_bytes(visitor)),
        }
    }

    /// A value that is kept as it is written: a map of one member, as `serde_json` has it.
    fn raw<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        self.peek();
        let start = self.at;
        self.skip()?;
        let raw = &self.text[start..self.at];
        // Whoever keeps it counts on its being JSON.
        if serde_json::from_str::<de::IgnoredAny>(raw).is_err() {
            return Err(self.wrong("the JSON is malformed"));
        }
        let member = std::iter::once((RAW, BorrowedStrDeserializer::new(raw)));
        visitor.visit_map(MapDeserializer::new(member))
    }

    fn bool<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        let value = self.peek() == Some(b't');
        self.word(if value { "true" } else { "false" })?;
        visitor.visit_bool(value)
    }

    /// Steps over a value. Of what is inside a container only the brackets are looked at, and where strings end: see
    /// [`Json`](crate::Json) for what that comes to.
    fn skip(&mut self) -> Result<(), ReadError> {
        match self.peek() {
            None => return Err(self.wrong("the JSON is cut off")),
            Some(b'{' | b'[') => match self.index.end(self.bytes(), self.at) {
                Ok(end) => self.at = end + 1,
                Err(Unpaired::CutOff) => return Err(self.wrong("the JSON is cut off")),
                Err(Unpaired::Kinds) => return Err(self.wrong("brackets do not belong together")),
                Err(Unpaired::Deep) => self.skip_deep()?,
            },
            Some(b'"') => {
                if self.plain().is_none() {
                    self.escaped_with(serde_json::from_str::<de::IgnoredAny>)?;
                }
            }
            Some(_) => {
                let rest = &self.bytes()[self.at..];
                let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
                let end = rest.iter().position(ends).unwrap_or(rest.len());
                if serde_json::from_slice::<de::IgnoredAny>(&rest[..end]).is_err() {
                    return Err(self.wrong("the JSON is malformed"));
                }
                self.at += end;
            }
        }
        Ok(())
    }

    /// Steps over a container that nests deeper than others.
    #[cold]
    fn skip_deep(&mut self) -> Result<(), ReadError> {
        let values = serde_json::Deserializer::from_str(&self.text[self.at..]);
        let mut values = values.into_iter::<de::IgnoredAny>();
        match values.next() {
            Some(Ok(de::IgnoredAny)) => {
                self.at += values.byte_offset();
                Ok(())
            }
            _ => Err(self.wrong("the JSON is malformed")),
        }
    }

    /// Steps into a container.
    #[inline(always)]
    fn enter(&mut self) -> Result<(), ReadError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("the object nests too deep"));
        }
        Ok(())
    }

    /// Whether another member follows, and steps before its name.
    #[inline(never)]
    fn has_member(&mut self, first: bool) -> Result<bool, ReadError> {
        let mut next = self.peek();
        if next == Some(b'}') {
            return Ok(false);
        }
        if !first {
            self.expect(b',', "an object does not end")?;
            next = self.peek();
        }
        if next != Some(b'"') {
            return Err(self.wrong("a member's name is missing"));
        }
        Ok(true)
    }

    /// Steps out of a container. The value is changed where it is: large ones are costly to move.
    #[inline(always)]
    fn leave<T>(&mut self, value: &mut Result<T, ReadError>, last: u8, what: &str) {
        self.depth -= 1;
        let end = self.expect(last, what);
        if value.is_ok()
            && let Err(error) = end
        {
            *value = Err(error);
        }
    }

    #[inline]
    fn map<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        self.enter()?;
        let mut value = visitor.visit_map(Members {
            reader: self,
            first: true,
        });
        self.leave(&mut value, b'}', "an object does not end");
        value
    }

    #[inline]
    fn seq<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        let first = self.at;
        self.enter()?;
        let left = if self.peek() == Some(b']') {
            Some(0)
        } else if self.depth <= COUNT_DEPTH {
            self.index.commas(first).map(|commas| commas + 1)
        } else {
            None
        };
        let mut value = visitor.visit_seq(Elements {
            reader: self,
            first: true,
            left,
        });
        self.leave(&mut value, b']', "an array does not end");
        value
    }
}

/// Methods that read a value which begins in one way, and refuse every other, as `serde_json` does.
macro_rules! typed {
    ($first:pat => $read:ident: $($method:ident($($argument:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $(_: $argument,)* visitor: V) -> Result<V::Value, ReadError> {
            match self.peek() {
                Some($first) => self.$read(visitor),
                _ => Err(self.unexpected()),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'_, 'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.peek() {
            Some(b'"') => self.string(visitor),
            Some(b'{') => self.map(visitor),
            Some(b'[') => self.seq(visitor),
            Some(b't' | b'f') => self.bool(visitor),
            Some(b'n') => self.deserialize_unit(visitor),
            Some(b'-' | b'0'..=b'9') => self.number(visitor),
            _ => Err(self.unexpected()),
        }
    }

    #[inline(always)]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.peek() == Some(b'n') {
            self.word("null")?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.peek() {
            Some(b'n') => self.word("null").and_then(|()| visitor.visit_unit()),
            _ => Err(self.unexpected()),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if name == RAW {
            return self.raw(visitor);
        }
        visitor.visit_newtype_struct(self)
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
                let mut value = visitor.visit_enum(Variant {
                    reader: &mut *self,
                    content: true,
                });
                if value.is_ok() {
                    self.leave(&mut value, b'}', "an object does not end");
                } else {
                    self.depth -= 1;
                }
                value
            }
            _ => Err(self.wrong("a variant is missing")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.skip()?;
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.peek() {
            Some(b'{') => self.map(visitor),
            _ => self.deserialize_seq(visitor),
        }
    }

    #[inline(always)]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.owned() {
            Some(text) => visitor.visit_string(text.into()),
            None => self.unusual(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.peek() {
            Some(b'"') => self.byte_string(visitor),
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_bytes(visitor)
    }

    typed! { b'"' => string: deserialize_char() deserialize_str() deserialize_identifier() }
    typed! { b't' | b'f' => bool: deserialize_bool() }
    typed! {
        b'-' | b'0'..=b'9' => number:
            deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
            deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64()
            deserialize_f32() deserialize_f64()
    }
    typed! { b'-' | b'0'..=b'9' => signed: deserialize_i128() }
    typed! { b'-' | b'0'..=b'9' => unsigned: deserialize_u128() }
    typed! {
        b'[' => seq: deserialize_seq() deserialize_tuple(usize) deserialize_tuple_struct(&'static str, usize)
    }
    typed! { b'{' => map: deserialize_map() }
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
        Self(known.unwrap_or_else(|| WRONG_TYPE.into()))
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

/// The name under which `serde_json` asks for a value as it is written.
const RAW: &str = "$serde_json::private::RawValue";
const WRONG_TYPE: &str = "a member has the wrong type or value";
/// Elements are counted no deeper than this: a part of the text is looked at once for every array around it.
const COUNT_DEPTH: u32 = 16;
/// As deep as `serde_json` goes.
const DEPTH_MAX: u32 = 127;
