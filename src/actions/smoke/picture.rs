//! A small PNG image that is different in every run, made without an image library: 16 by 16 pixels in one stored block.

const SIDE: u32 = 16;

/// A valid PNG whose pixels come from `seed`.
pub(super) fn png(seed: &str) -> Vec<u8> {
    let mut pixels = Vec::new();
    let mut noise =
        seed.bytes().cycle().zip(0u8..=255).cycle().map(|(letter, place)| letter.wrapping_mul(31).wrapping_add(place));
    for _ in 0..SIDE {
        pixels.push(0); // this line is stored as it is
        pixels.extend(noise.by_ref().take(3 * SIDE as usize));
    }
    let mut header = [SIDE.to_be_bytes(), SIDE.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]); // 8 bits of red, green and blue
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut png, *b"IHDR", &header);
    chunk(&mut png, *b"IDAT", &stored(&pixels));
    chunk(&mut png, *b"IEND", &[]);
    png
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    png.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    let from = png.len();
    png.extend(kind);
    png.extend(data);
    let sum = crc32(&png[from..]);
    png.extend(sum.to_be_bytes());
}

/// A zlib stream of one stored block; `data` is shorter than 64 KiB.
fn stored(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    let mut stream = vec![0x78, 0x01, 0x01];
    stream.extend(length.to_le_bytes());
    stream.extend((!length).to_le_bytes());
    stream.extend(data);
    stream.extend(adler32(data).to_be_bytes());
    stream
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 })
    })
}

fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    (b << 16) | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_specifications() {
        assert_eq!(crc32(b"IEND"), 0xAE42_6082);
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
    }

    #[test]
    fn two_runs_have_two_pictures() {
        assert!(png("a").starts_with(b"\x89PNG\r\n\x1a\n"));
        assert_ne!(png("a"), png("b"));
        assert_eq!(png("a").len(), 8 + 25 + (12 + 11 + 16 * 49) + 12);
    }
}
