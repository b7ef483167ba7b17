//! The hash of a table: the same whatever the order of its rows, and whichever server gives them.
//!
//! It is the sum, modulo 2^256, of a SHA-256 of each row, so that a row that is there twice counts twice. A row is its columns in the
//! order of the table, without those that are generated: for NULL eight bytes 0xff, otherwise the value's length as eight bytes (little
//! endian) and the value. A value is what the server writes in UTF-8; of binary types and BIT its bytes; of FLOAT and DOUBLE the eight
//! bytes (little endian) of the IEEE double, zero without its sign. Names, types and everything else of a table are not part of it.

use sha2::{Digest, Sha256};

/// Adds rows up.
#[derive(Debug, Default)]
pub struct Sum {
    rows: u64,
    total: [u64; 4],
    row: Vec<u8>,
}

impl Sum {
    /// The next column of the row.
    pub(super) fn column(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.row.extend_from_slice(&[0xff; 8]),
            Some(value) => {
                self.row.extend_from_slice(&(value.len() as u64).to_le_bytes());
                self.row.extend_from_slice(value);
            }
        }
    }

    /// The next column, a number that has no exact text.
    pub(super) fn real(&mut self, value: f64) {
        // Not every server keeps the sign of zero.
        let value = if value == 0.0 { 0.0 } else { value };
        self.column(Some(&value.to_bits().to_le_bytes()));
    }

    /// The row is whole.
    pub(super) fn end_row(&mut self) {
        let digest = Sha256::digest(&self.row);
        let mut carry = false;
        for (sum, bytes) in self.total.iter_mut().zip(digest.chunks_exact(8)) {
            let part = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            let (once, over) = sum.overflowing_add(part);
            let (twice, again) = once.overflowing_add(u64::from(carry));
            (*sum, carry) = (twice, over || again);
        }
        self.rows += 1;
        self.row.clear();
    }

    /// How many rows there were.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The sum's bytes, the lowest first, in hexadecimal digits.
    pub fn hash(&self) -> String {
        let bytes = self.total.iter().flat_map(|part| part.to_le_bytes());
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&[Option<&str>]]) -> (u64, String) {
        let mut sum = Sum::default();
        for row in rows {
            row.iter().for_each(|column| sum.column(column.map(str::as_bytes)));
            sum.end_row();
        }
        (sum.rows(), sum.hash())
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let (one, two): (&[_], &[_]) = (&[Some("a"), None], &[Some("b"), Some("")]);
        assert_eq!(of(&[one, two]), of(&[two, one]));
        assert_ne!(of(&[one, two]).1, of(&[one, one, two]).1);
        assert_ne!(of(&[one, one]).1, of(&[]).1, "no row hides its double");
        assert_ne!(of(&[&[None]]).1, of(&[&[Some("")]]).1);
        assert_ne!(of(&[&[Some("ab"), Some("c")]]).1, of(&[&[Some("a"), Some("bc")]]).1);
        assert_eq!(of(&[]), (0, "0".repeat(64)));
    }

    #[test]
    fn it_is_a_sum_of_sha_256() {
        // Of the eight bytes of a length of 3, and `abc`; in another language: hashlib.sha256(b"\3" + bytes(7) + b"abc").
        let digest = Sha256::digest(b"\x03\0\0\0\0\0\0\0abc");
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(of(&[&[Some("abc")]]), (1, hex));
        // Twice the same is the number doubled.
        let mut carry = 0;
        let doubled: String = digest
            .iter()
            .map(|byte| {
                let twice = u16::from(*byte) * 2 + carry;
                carry = twice >> 8;
                format!("{:02x}", twice & 0xff)
            })
            .collect();
        assert_eq!(of(&[&[Some("abc")], &[Some("abc")]]).1, doubled);
    }

    #[test]
    fn zero_has_no_sign() {
        let of = |value: f64| {
            let mut sum = Sum::default();
            sum.real(value);
            sum.end_row();
            (sum.rows(), sum.hash())
        };
        assert_eq!(of(0.0), of(-0.0));
        assert_ne!(of(0.1), of(-0.1));
    }
}
