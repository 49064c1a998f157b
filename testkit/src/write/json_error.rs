//! Why bytes are no JSON, worded as Go's parser words it: clients and recordings show these texts.

/// The complaint about the first byte that does not fit.
pub(super) fn explain(body: &[u8]) -> String {
    match (Scanner {
        body,
        at: 0,
        depth: 0,
    })
    .document()
    {
        // Go would have read it: a number beyond every type, or bytes that are no text.
        Ok(()) => "a value cannot be represented".to_owned(),
        Err(why) => why,
    }
}

struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
    depth: usize,
}

/// Beyond this many open brackets bodies are not read (Go's limit is 10,000): no body can exhaust the stack.
const DEPTH_MAX: usize = 127;

impl Scanner<'_> {
    fn document(mut self) -> Result<(), String> {
        self.value("looking for beginning of value")?;
        match self.skip_space() {
            None => Ok(()),
            Some(_) => self.fail("after top-level value"),
        }
    }

    fn skip_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.body.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn fail(&self, place: &str) -> Result<(), String> {
        let Some(byte) = self.body.get(self.at) else {
            return Err("unexpected end of JSON input".to_owned());
        };
        let shown = match byte {
            b'\'' => r"'\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            b'\n' => r"'\n'".to_owned(),
            b'\t' => r"'\t'".to_owned(),
            b'\r' => r"'\r'".to_owned(),
            b'\\' => r"'\\'".to_owned(),
            0x20..=0x7e => format!("'{}'", char::from(*byte)),
            0x80.. => format!("'{}'", char::from(*byte)),
            control => format!("'\\x{control:02x}'"),
        };
        Err(format!("invalid character {shown} {place}"))
    }

    fn value(&mut self, place: &str) -> Result<(), String> {
        match self.skip_space() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.fail(place),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        self.at += 1;
        let done = inner(self);
        self.depth -= 1;
        done
    }

    fn object(&mut self) -> Result<(), String> {
        if self.skip_space() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.skip_space() != Some(b'"') {
                return self.fail("looking for beginning of object key string");
            }
            self.string()?;
            if self.skip_space() != Some(b':') {
                return self.fail("after object key");
            }
            self.at += 1;
            self.value("looking for beginning of value")?;
            match self.skip_space() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.fail("after object key:value pair"),
            }
        }
    }

    fn array(&mut self) -> Result<(), String> {
        if self.skip_space() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value("looking for beginning of value")?;
            match self.skip_space() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.fail("after array element"),
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.body.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.body.get(self.at) {
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => {}
                        Some(b'u') => {
                            for _ in 0..4 {
                                self.at += 1;
                                if !self.body.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                                    return self.fail(r"in \u hexadecimal character escape");
                                }
                            }
                        }
                        _ => return self.fail("in string escape code"),
                    }
                    self.at += 1;
                }
                Some(0..0x20) | None => return self.fail("in string literal"),
                Some(_) => self.at += 1,
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.body.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<(), String> {
        if self.body.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.body.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else if self.digits() == 0 {
            return self.fail("in numeric literal");
        }
        if self.body.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return self.fail("after decimal point in numeric literal");
            }
        }
        if matches!(self.body.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.body.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.fail("in exponent of numeric literal");
            }
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), String> {
        for (index, letter) in word.iter().enumerate() {
            if self.body.get(self.at) != Some(letter) {
                let text = String::from_utf8_lossy(word);
                return self.fail(&format!(
                    "in literal {text} (expecting '{}')",
                    char::from(word[index])
                ));
            }
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_worded_as_go_words_them() {
        for (body, message) in [
            (
                "{bad json",
                "invalid character 'b' looking for beginning of object key string",
            ),
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("{\"a\"", "unexpected end of JSON input"),
            ("{\"a\" 1", "invalid character '1' after object key"),
            ("{\"a\":}", "invalid character '}' looking for beginning of value"),
            (
                "{\"a\":1 \"b\"",
                "invalid character '\"' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("-a", "invalid character 'a' in numeric literal"),
            (
                "1.a",
                "invalid character 'a' after decimal point in numeric literal",
            ),
        ] {
            assert_eq!(explain(body.as_bytes()), message, "{body:?}");
        }
        assert_eq!(explain("[".repeat(100_000).as_bytes()), "exceeded max depth");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            explain(&body);
        }
    }
}
