//! Label selectors: the whole grammar of `labelSelector=`, with the error texts of the real server.

use crate::status::ApiError;

/// A parsed label selector: every requirement must hold. Empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Equals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    /// Parses the query parameter.
    ///
    /// # Errors
    /// 400 with the parser's message.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut requirements = Parser::new(text).parse().map_err(ApiError::bad_request)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// Whether everything is selected.
    pub(crate) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub(crate) fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(label(&requirement.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        match (self.operator, value) {
            (Operator::In | Operator::Equals, value) => value.is_some_and(listed),
            (Operator::NotIn | Operator::NotEquals, value) => !value.is_some_and(listed),
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
            (Operator::GreaterThan | Operator::LessThan, None) => false,
            (Operator::GreaterThan | Operator::LessThan, Some(value)) => {
                let (Ok(value), Some(Ok(bound))) = (
                    value.parse::<i64>(),
                    self.values.first().map(|v| v.parse::<i64>()),
                ) else {
                    return false;
                };
                if self.operator == Operator::GreaterThan {
                    value > bound
                } else {
                    value < bound
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

/// Where a word stands: `in` and `notin` are words of their own only after a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    KeyAndOperator,
    Values,
}

struct Parser {
    tokens: Vec<(Token, String)>,
    next: usize,
}

fn special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn symbol(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "(" => Token::Open,
        _ => return None,
    })
}

fn scan(text: &str) -> Vec<(Token, String)> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            at += 1;
        } else if special(c) {
            // The longest run of symbols that is a token.
            let mut word = String::new();
            let mut found = None;
            while at < chars.len() && special(chars[at]) {
                word.push(chars[at]);
                match symbol(&word) {
                    Some(token) => found = Some((token, word.clone())),
                    None if found.is_some() => break,
                    None => {}
                }
                at += 1;
            }
            tokens.push(
                found.unwrap_or_else(|| (Token::Error, format!("error expected: keyword found '{word}'"))),
            );
        } else {
            let mut word = String::new();
            while at < chars.len() && !special(chars[at]) && !matches!(chars[at], ' ' | '\t' | '\r' | '\n') {
                word.push(chars[at]);
                at += 1;
            }
            let token = match word.as_str() {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Identifier,
            };
            tokens.push((token, word));
        }
    }
    tokens.push((Token::End, String::new()));
    tokens
}

impl Parser {
    fn new(text: &str) -> Self {
        Self {
            tokens: scan(text),
            next: 0,
        }
    }

    fn look(&self, place: Place) -> (Token, String) {
        let (token, word) = self
            .tokens
            .get(self.next)
            .cloned()
            .unwrap_or_else(|| (Token::End, String::new()));
        match token {
            Token::In | Token::NotIn if place == Place::Values => (Token::Identifier, word),
            _ => (token, word),
        }
    }

    fn take(&mut self, place: Place) -> (Token, String) {
        let found = self.look(place);
        self.next += 1;
        found
    }

    fn parse(mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.look(Place::Values) {
                (Token::Identifier | Token::Not, _) => {
                    let requirement = self
                        .requirement()
                        .map_err(|why| format!("unable to parse requirement: {why}"))?;
                    requirements.push(requirement);
                    match self.take(Place::Values) {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => {
                            let (token, word) = self.look(Place::Values);
                            if !matches!(token, Token::Identifier | Token::Not) {
                                return Err(format!("found '{word}', expected: identifier after ','"));
                            }
                        }
                        (_, word) => {
                            return Err(format!("found '{word}', expected: ',' or 'end of string'"));
                        }
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, word) => {
                    return Err(format!(
                        "found '{word}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut operator = None;
        let (mut token, mut key) = self.take(Place::Values);
        if token == Token::Not {
            operator = Some(Operator::DoesNotExist);
            (token, key) = self.take(Place::Values);
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        check_key(&key)?;
        if matches!(self.look(Place::Values).0, Token::End | Token::Comma) && operator.is_none() {
            operator = Some(Operator::Exists);
        }
        if let Some(operator) = operator {
            return Ok(Requirement {
                key,
                operator,
                values: Vec::new(),
            });
        }
        let (token, word) = self.take(Place::KeyAndOperator);
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals | Token::DoubleEquals => Operator::Equals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => return Err(format!("found '{word}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort();
        values.dedup();
        check_values(&key, operator, &values)?;
        Ok(Requirement {
            key,
            operator,
            values,
        })
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let (token, word) = self.take(Place::Values);
        if token != Token::Open {
            return Err(format!("found '{word}' expected: '('"));
        }
        match self.look(Place::Values) {
            (Token::Identifier | Token::Comma, first) => {
                let values = self.identifiers()?;
                if self.take(Place::Values).0 != Token::Close {
                    return Err(format!("found '{first}', expected: ')'"));
                }
                Ok(values)
            }
            (Token::Close, _) => {
                self.take(Place::Values);
                Ok(Vec::new())
            }
            (_, word) => Err(format!("found '{word}', expected: ',', ')' or identifier")),
        }
    }

    fn identifiers(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        loop {
            match self.take(Place::Values) {
                (Token::Identifier, word) => {
                    values.push(word);
                    match self.look(Place::Values) {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, word) => return Err(format!("found '{word}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.look(Place::Values).0 {
                        Token::Close => {
                            values.push(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.take(Place::Values);
                            values.push(String::new());
                        }
                        _ => {}
                    }
                }
                (_, word) => return Err(format!("found '{word}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.look(Place::Values).0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take(Place::Values) {
            (Token::Identifier, word) => Ok(word),
            (_, word) => Err(format!("found '{word}', expected: identifier")),
        }
    }
}

const NAME_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                         with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used \
                         for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
                          '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
                          'my_value',  or '12345', regex used for validation is \
                          '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const PREFIX_RULE: &str = "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                           characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
                           'example.com', regex used for validation is \
                           '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// What is wrong with a qualified name (`prefix/name` or `name`), one sentence each.
pub(crate) fn qualified_name_errors(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else if !is_subdomain(prefix) {
                wrong.push(PREFIX_RULE.to_owned());
            }
            *name
        }
        _ => {
            return vec![
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and \
                 end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                 validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix \
                 and '/' (e.g. 'example.com/MyName')"
                    .to_owned(),
            ];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_label_word(name) {
        wrong.push(NAME_RULE.to_owned());
    }
    wrong
}

/// What is wrong with a label value, one sentence each.
pub(crate) fn label_value_errors(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if !value.is_empty() && !is_label_word(value) {
        wrong.push(VALUE_RULE.to_owned());
    }
    wrong
}

fn is_label_word(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    ends(text.chars().next())
        && ends(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Lower case words joined by dots, each starting and ending with a letter or digit.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_word)
}

/// A lower case word of letters, digits and dashes that starts and ends with a letter or digit.
pub(crate) fn is_dns_word(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(word) && text.ends_with(word) && text.chars().all(|c| word(c) || c == '-')
}

fn check_key(key: &str) -> Result<(), String> {
    let wrong = qualified_name_errors(key);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("key: Invalid value: {key:?}: {}", wrong.join("; ")))
    }
}

fn check_values(key: &str, operator: Operator, values: &[String]) -> Result<(), String> {
    if matches!(operator, Operator::In | Operator::NotIn) && values.is_empty() {
        return Err(
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".to_owned(),
        );
    }
    for (at, value) in values.iter().enumerate() {
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
            return Err(format!(
                "values[{at}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            ));
        }
        let wrong = label_value_errors(value);
        if !wrong.is_empty() {
            return Err(format!(
                "values[{at}][{key}]: Invalid value: {value:?}: {}",
                wrong.join("; ")
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.to_vec();
        LabelSelector::parse(selector)
            .expect("a good selector")
            .matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
    }

    #[test]
    fn every_operator_selects_as_documented() {
        let labels = [("app", "web"), ("tier", "front"), ("n", "5"), ("in", "x")];
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier = front", true),
            ("app!=web", false),
            ("nosuch!=web", true),
            ("app in (web, db)", true),
            ("app in (db)", false),
            ("app notin (db)", true),
            ("nosuch notin (db)", true),
            ("app notin (web)", false),
            ("app", true),
            ("!app", false),
            ("!nosuch", true),
            ("nosuch", false),
            ("n>4", true),
            ("n > 5", false),
            ("n<6", true),
            ("app>4", false),
            ("nosuch>4", false),
            ("nosuch=", false),
            ("app=,tier", false),
            ("app in (,web)", true),
            ("in in (x)", true),
            ("in", true),
        ] {
            assert_eq!(matches(selector, &labels), expected, "{selector:?}");
        }
    }

    #[test]
    fn bad_selectors_are_refused_with_the_real_server_s_words() {
        for (selector, message) in [
            ("a in", "unable to parse requirement: found '' expected: '('"),
            (
                "a in (",
                "unable to parse requirement: found '', expected: ',', ')' or identifier",
            ),
            (
                "a in (b",
                "unable to parse requirement: found '', expected: ',' or ')'",
            ),
            ("a,", "found '', expected: identifier after ','"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            (
                "a=(",
                "unable to parse requirement: found '(', expected: identifier",
            ),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            (
                "a in ()",
                "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
            ),
            (
                "a>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            let error = LabelSelector::parse(selector).expect_err(selector);
            assert_eq!((error.code(), error.message()), (400, message), "{selector:?}");
        }
        let error = LabelSelector::parse("-a=b").expect_err("a bad key");
        assert!(
            error
                .message()
                .starts_with("unable to parse requirement: key: Invalid value: \"-a\": name part must")
        );
        let error = LabelSelector::parse("a=-b").expect_err("a bad value");
        assert!(
            error.message().starts_with(
                "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label"
            )
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z=!(),<> /._-]{0,24}") {
            let _ = LabelSelector::parse(&text).map(|selector| selector.matches(|_| Some("a")));
        }
    }
}
