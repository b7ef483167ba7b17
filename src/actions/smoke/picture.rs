//! A small image that is different in every run, made without an image library: a GIF, because a GIF has no checksums.

/// A valid GIF of one black pixel, with `seed` in its comment.
pub(super) fn gif(seed: &str) -> Vec<u8> {
    let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF".to_vec(); // 1 by 1, in black and white
    gif.extend(b"\x21\xFE"); // a comment, in blocks that begin with their length
    for block in seed.as_bytes().chunks(255) {
        gif.extend(u8::try_from(block.len()));
        gif.extend(block);
    }
    gif.push(0);
    gif.extend(b"\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;"); // the pixel: clear, colour 0, end, as codes of 3 bits
    gif
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_have_two_pictures_and_a_long_seed_has_two_blocks() {
        assert_ne!(gif("a"), gif("b"));
        let (short, long) = (gif("a"), gif(&"a".repeat(300)));
        assert_eq!(short[19..][..5], *b"\x21\xFE\x01a\0");
        assert_eq!((long[21], long[21 + 256], long.len()), (255, 45, short.len() + 300));
        assert!(long.ends_with(&short[24..]));
    }
}
