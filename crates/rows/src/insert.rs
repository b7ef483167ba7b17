//! Rows as INSERT statements, each on one line and no longer than it need be.

use data_encoding::HEXLOWER;
use mysql_async::Value;

use crate::Sum;

/// How long a statement may become, in bytes: only one of a single row is longer. Servers take at least 16 MiB by default.
const LONGEST: usize = 1 << 20;

/// How a column's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Digits, as the server gives them.
    Number,
    /// A double; a FLOAT is read as one, so that no digit is lost.
    Real,
    /// Bytes without a character set, in hexadecimal digits.
    Bytes,
    /// Everything else, between quotation marks.
    Text,
}

impl Kind {
    /// That of a type as `information_schema` calls it, and its character set.
    pub fn of(data_type: &str, charset: Option<&str>) -> Kind {
        match data_type {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => Kind::Number,
            "float" | "double" => Kind::Real,
            "bit" | "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => Kind::Bytes,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geomcollection" | "geometrycollection" => Kind::Bytes,
            _ if charset == Some("binary") => Kind::Bytes,
            _ => Kind::Text,
        }
    }
}

/// A table's statements while they are written.
#[derive(Debug)]
pub struct Inserts {
    head: Vec<u8>,
    kinds: Vec<Kind>,
    text: Vec<u8>,
    sum: Sum,
    /// Whether rows are written, or only added up.
    writes: bool,
}

impl Inserts {
    /// Each statement begins with `head`; rows are only added up without one. `kinds` are those of the columns.
    pub fn new(head: Option<String>, kinds: Vec<Kind>) -> Inserts {
        let writes = head.is_some();
        Inserts { head: head.unwrap_or_default().into_bytes(), kinds, text: Vec::new(), sum: Sum::default(), writes }
    }

    /// The next row. When a statement is whole with the row before, that is returned.
    pub fn row(&mut self, cells: &[Value]) -> Option<Vec<u8>> {
        let begin = self.text.len();
        if self.writes {
            if begin == 0 {
                self.text.extend_from_slice(&self.head);
            }
            self.text.push(if begin == 0 { b'(' } else { b',' });
            if begin > 0 {
                self.text.push(b'(');
            }
        }
        for (index, value) in cells.iter().enumerate().take(self.kinds.len()) {
            let value = match value {
                Value::Bytes(bytes) => Some(bytes.as_slice()),
                // The text protocol has nothing else.
                _ => None,
            };
            if self.writes && index > 0 {
                self.text.push(b',');
            }
            self.value(value, self.kinds[index]);
        }
        self.sum.end_row();
        if !self.writes {
            return None;
        }
        self.text.push(b')');
        if self.text.len() <= LONGEST || begin == 0 {
            return None;
        }
        // This row begins the next one, without its comma.
        let mut next = Vec::with_capacity(LONGEST + (LONGEST >> 3));
        next.extend_from_slice(&self.head);
        next.extend_from_slice(&self.text[begin + 1..]);
        self.text.truncate(begin);
        Some(ended(std::mem::replace(&mut self.text, next)))
    }

    /// The last statement, if there is one.
    pub fn last(&mut self) -> Option<Vec<u8>> {
        (!self.text.is_empty()).then(|| ended(std::mem::take(&mut self.text)))
    }

    /// What was added up.
    pub fn sum(&self) -> &Sum {
        &self.sum
    }

    fn value(&mut self, value: Option<&[u8]>, kind: Kind) {
        let Some(value) = value else {
            self.sum.column(None);
            if self.writes {
                self.text.extend_from_slice(b"NULL");
            }
            return;
        };
        if kind == Kind::Real {
            // The server writes as many digits as tell a double from all others.
            match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
                Some(number) => self.sum.real(number),
                None => self.sum.column(Some(value)),
            }
        } else {
            self.sum.column(Some(value));
        }
        if !self.writes {
            return;
        }
        match kind {
            Kind::Number => self.text.extend_from_slice(value),
            Kind::Real => {
                self.text.extend_from_slice(value);
                // Without an exponent it would be a decimal, which has fewer digits and no negative zero.
                if memchr::memchr(b'e', value).is_none() {
                    self.text.extend_from_slice(b"e0");
                }
            }
            Kind::Bytes => digits(&mut self.text, value),
            Kind::Text => quote(&mut self.text, value),
        }
    }
}

fn ended(mut statement: Vec<u8>) -> Vec<u8> {
    statement.extend_from_slice(b";\n");
    statement
}

fn digits(text: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        text.extend_from_slice(b"''");
        return;
    }
    text.extend_from_slice(b"0x");
    let mut digits = [0; 8192];
    for piece in value.chunks(digits.len() / 2) {
        let digits = &mut digits[..piece.len() * 2];
        HEXLOWER.encode_mut(piece, digits);
        text.extend_from_slice(digits);
    }
}

/// Between quotation marks, on one line, and without what the `mysql` client takes out of a text (NUL, carriage returns).
fn quote(text: &mut Vec<u8>, value: &[u8]) {
    text.push(b'\'');
    let common = |from: usize| memchr::memchr3(b'\'', b'\\', b'\n', &value[from..]).map(|at| from + at);
    let rare = |from: usize| memchr::memchr2(b'\0', b'\r', &value[from..]).map(|at| from + at);
    let (mut done, mut next) = (0, [common(0), rare(0)]);
    // Each search goes on where it found something, so none sees a byte twice.
    while let Some(at) = next.iter().flatten().min().copied() {
        text.extend_from_slice(&value[done..at]);
        text.extend_from_slice(match value[at] {
            b'\'' => b"\\'",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\0",
        });
        done = at + 1;
        if next[0] == Some(at) {
            next[0] = common(done);
        } else {
            next[1] = rare(done);
        }
    }
    text.extend_from_slice(&value[done..]);
    text.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "INSERT INTO `t` (…) VALUES ";

    fn writing(kinds: &[Kind]) -> Inserts {
        Inserts::new(Some(HEAD.to_owned()), kinds.to_vec())
    }

    fn cells(columns: &[Option<&[u8]>]) -> Vec<Value> {
        columns.iter().map(|column| column.map_or(Value::NULL, |bytes| Value::Bytes(bytes.to_vec()))).collect()
    }

    fn written(kinds: &[Kind], values: &[Option<&[u8]>]) -> String {
        let mut inserts = writing(kinds);
        assert_eq!(inserts.row(&cells(values)), None);
        let text = String::from_utf8(inserts.last().expect("a statement")).expect("UTF-8");
        assert_eq!(inserts.last(), None);
        text
    }

    #[test]
    fn every_kind_has_its_way() {
        let kinds = [Kind::Number, Kind::Real, Kind::Real, Kind::Bytes, Kind::Bytes, Kind::Text, Kind::Text];
        let values: [Option<&[u8]>; 7] =
            [Some(b"-1.50"), Some(b"-0"), Some(b"1e-300"), Some(b"\x00\xff'"), Some(b""), Some(b""), None];
        assert_eq!(written(&kinds, &values), "INSERT INTO `t` (…) VALUES (-1.50,-0e0,1e-300,0x00ff27,'','',NULL);\n");
    }

    #[test]
    fn a_text_cannot_be_left_and_stays_on_its_line() {
        let value = "it's\\\r\n\0 \u{1f980} \"x\" `y` ;\n-- z\n";
        let text = written(&[Kind::Text], &[Some(value.as_bytes())]);
        assert!(text.ends_with("VALUES ('it\\'s\\\\\\r\\n\\0 \u{1f980} \"x\" `y` ;\\n-- z\\n');\n"), "{text}");
        assert_eq!(text.matches('\n').count(), 1);
        // In any order, at both ends, and far apart.
        for value in ["", "\0", "\r'", "'\r", "'\0\r\n\\", "\0\0''", &format!("'{}\0", "x".repeat(100))] {
            let text = written(&[Kind::Text], &[Some(value.as_bytes())]);
            let expected: String = value
                .chars()
                .map(|c| match c {
                    '\'' | '\\' => format!("\\{c}"),
                    '\n' => "\\n".to_owned(),
                    '\r' => "\\r".to_owned(),
                    '\0' => "\\0".to_owned(),
                    c => c.to_string(),
                })
                .collect();
            assert_eq!(text, format!("INSERT INTO `t` (…) VALUES ('{expected}');\n"));
        }
    }

    #[test]
    fn long_bytes_have_all_their_digits() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
        let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(written(&[Kind::Bytes], &[Some(&bytes)]).ends_with(&format!("(0x{expected});\n")));
    }

    #[test]
    fn statements_are_cut_between_rows_and_hashed_the_same_without_being_written() {
        let (mut writing, mut adding) = (writing(&[Kind::Text]), Inserts::new(None, vec![Kind::Text]));
        let mut statements = Vec::new();
        // The fifth is too long for any statement with another row.
        for length in [400_000, 400_000, 400_000, 10, 2_000_000, 10, 10] {
            let row = vec![b'x'; length];
            let cells = cells(&[Some(&row)]);
            statements.extend(writing.row(&cells));
            assert_eq!(adding.row(&cells), None);
        }
        statements.extend(writing.last());
        assert_eq!(adding.last(), None);
        let rows: Vec<usize> =
            statements.iter().map(|text| String::from_utf8_lossy(text).matches("('x").count()).collect();
        assert_eq!(rows, [2, 2, 1, 2]);
        for statement in &statements {
            assert!(statement.starts_with(format!("{HEAD}('x").as_bytes()) && statement.ends_with(b"x');\n"));
        }
        assert_eq!(writing.sum().hash(), adding.sum().hash());
        assert_eq!(adding.sum().rows(), 7);
    }
}
