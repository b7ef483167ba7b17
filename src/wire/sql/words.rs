//! A statement word by word, and what can be said of it without understanding it.

use std::ops::Range;

/// A piece of a statement. Comments are none, but what a server does in spite of being in one (`/*!50003 … */`) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Word(&'a [u8]),
    /// Between backticks; or between double quotes, where it may be a text as well.
    Name(&'a [u8]),
    Text,
    Sign(u8),
}

impl Token<'_> {
    /// In capitals, if it is a word.
    pub(crate) fn word(self) -> Option<String> {
        match self {
            Token::Word(word) => Some(String::from_utf8_lossy(word).to_ascii_uppercase()),
            _ => None,
        }
    }
}

/// The pieces of a statement, of which this is what is left.
pub(crate) struct Tokens<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.0 = self.0.trim_ascii_start();
            let skipped = match self.0 {
                [b'/', b'*', b'!' | b'M', ..] => {
                    3 + self.0.iter().skip(3).take_while(|byte| byte.is_ascii_digit() || **byte == b'!').count()
                }
                [b'/', b'*', rest @ ..] => 2 + end(rest, b"*/"),
                [b'*', b'/', ..] => 2,
                [b'#', rest @ ..] => 1 + end(rest, b"\n"),
                [b'-', b'-', b' ' | b'\t' | b'\n', rest @ ..] => 3 + end(rest, b"\n"),
                _ => break,
            };
            self.0 = &self.0[skipped..];
        }
        let first = *self.0.first()?;
        let (token, length) = match first {
            quote @ (b'`' | b'"' | b'\'') => {
                let length = quoted(self.0, quote);
                let inside = self.0[1..length].strip_suffix(&[quote]).unwrap_or(&self.0[1..length]);
                (if quote == b'\'' { Token::Text } else { Token::Name(inside) }, length)
            }
            _ if is_word(first) => {
                let length = self.0.iter().take_while(|byte| is_word(**byte)).count();
                (Token::Word(&self.0[..length]), length)
            }
            sign => (Token::Sign(sign), 1),
        };
        self.0 = &self.0[length..];
        Some(token)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// How far it is to behind this.
fn end(text: &[u8], of: &[u8]) -> usize {
    text.windows(of.len()).position(|found| found == of).map_or(text.len(), |at| at + of.len())
}

/// How long what stands between quotation marks is, with them. A doubled one is part of it.
pub(crate) fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' if quote != b'`' => at += 2,
            byte if byte == quote && text.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Where in a statement that makes something it says whose that is: from `DEFINER` to the account's end. It stands before what is made,
/// and not in the body of one that names nobody.
pub(crate) fn definer(text: &[u8]) -> Option<Range<usize>> {
    let mut tokens = Tokens(text);
    tokens.next().and_then(Token::word).filter(|word| word == "CREATE" || word == "ALTER")?;
    while let Some(token) = tokens.next() {
        match token.word().as_deref() {
            Some("DEFINER") => {
                let Some(account) = tokens.0.trim_ascii_start().strip_prefix(b"=") else { continue };
                let begin = text.len() - tokens.0.len() - "DEFINER".len();
                return Some(begin..text.len() - behind_account(account).len());
            }
            Some("TABLE" | "VIEW" | "TRIGGER" | "PROCEDURE" | "FUNCTION" | "EVENT") => return None,
            _ => {}
        }
    }
    None
}

/// What follows `user@host`, of which each may stand between quotation marks.
fn behind_account(text: &[u8]) -> &[u8] {
    let behind_word = |text: &'_ [u8]| {
        let skipped = text.len() - text.trim_ascii_start().len();
        let length = match text[skipped..].first() {
            Some(quote @ (b'`' | b'"' | b'\'')) => quoted(&text[skipped..], *quote),
            _ => text[skipped..].iter().take_while(|byte| !byte.is_ascii_whitespace() && **byte != b'@').count(),
        };
        skipped + length
    };
    let rest = &text[behind_word(text)..];
    rest.trim_ascii_start().strip_prefix(b"@").map_or(rest, |host| &host[behind_word(host)..])
}
