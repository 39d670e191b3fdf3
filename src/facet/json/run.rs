//! The inside of strings: where a run of plain bytes ends, and what a character's bytes are.

/// Bytes that are looked at in one step of a long run.
const CHUNK: usize = 128;

/// Bytes that the vectors of the least x86-64 and aarch64 processors hold.
const LANES: usize = 16;

/// How many bytes from the start are plain: ASCII without quotes, backslashes and controls.
///
/// Most strings end within a few words of 8. Behind a dozen of them, chunks are folded, which the
/// compiler makes vector code of, up to the chunk in which the run ends.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const WORDS: usize = 12;
    let (short, found) = plain_words(bytes, WORDS);
    if found {
        return short;
    }
    short + plain_chunks(bytes.get(short..).unwrap_or_default())
}

/// The same for what is likely long.
#[inline(never)]
fn plain_chunks(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<CHUNK>();
    let plain = chunks.iter().take_while(|chunk| is_plain_chunk(chunk));
    let len = plain.count() * CHUNK;
    len + plain_words(bytes.get(len..).unwrap_or_default(), usize::MAX).0
}

/// Lane by lane, so that only the end of a chunk puts the lanes together.
#[inline]
fn is_plain_chunk(chunk: &[u8; CHUNK]) -> bool {
    let mut odd = [0u8; LANES];
    for vector in chunk.as_chunks::<LANES>().0 {
        for (odd, byte) in odd.iter_mut().zip(vector) {
            *odd |= u8::from(!is_plain(*byte));
        }
    }
    u128::from_ne_bytes(odd) == 0
}

/// The same for so many words at most, and whether the run ends there. What is less than a word at
/// the end of the bytes goes byte by byte.
#[inline]
fn plain_words(bytes: &[u8], most: usize) -> (usize, bool) {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut len = 0;
    for word in words.iter().take(most) {
        let odd = odd_bytes(word);
        if odd != 0 {
            return (len + odd.trailing_zeros() as usize / 8, true);
        }
        len += 8;
    }
    if words.len() >= most {
        return (len, false);
    }
    let plain = tail.iter().take_while(|byte| is_plain(**byte)).count();
    (len + plain, true)
}

/// Whether a byte is plain. Read as signed, all beyond ASCII are below the controls. No short
/// circuit: in the fold a branch would cost more than a comparison.
///
/// A quote is told together with the controls: with one bit turned it is what follows them.
#[inline]
pub(super) const fn is_plain(byte: u8) -> bool {
    ((byte ^ QUOTE_TO_CONTROL).cast_signed() > 0x20) & (byte != b'\\')
}

/// Makes 0x20 of a quote, and nothing below 0x21 of any other plain byte.
const QUOTE_TO_CONTROL: u8 = b'"' ^ 0x20;

/// The bytes of a word that aren't plain: the lowest bit set belongs to the first of them. (A
/// borrow may mark later bytes wrongly, never one before the first.)
#[inline]
const fn odd_bytes(word: &[u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(*word);
    let turned = word ^ (ONES * QUOTE_TO_CONTROL as u64);
    let quote_or_control = turned.wrapping_sub(ONES * 0x21) & !turned;
    let backslash = word ^ (ONES * b'\\' as u64);
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (word | quote_or_control | backslash) & HIGH
}

/// The length of the character that begins here, if its bytes are UTF-8 (Unicode, table 3-7).
#[inline]
pub(super) const fn utf8_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0xC2..=0xDF, 0x80..=0xBF, ..] => Some(2),
        [0xE0, 0xA0..=0xBF, 0x80..=0xBF, ..]
        | [0xE1..=0xEC | 0xEE | 0xEF, 0x80..=0xBF, 0x80..=0xBF, ..]
        | [0xED, 0x80..=0x9F, 0x80..=0xBF, ..] => Some(3),
        [0xF0, 0x90..=0xBF, 0x80..=0xBF, 0x80..=0xBF, ..]
        | [0xF1..=0xF3, 0x80..=0xBF, 0x80..=0xBF, 0x80..=0xBF, ..]
        | [0xF4, 0x80..=0x8F, 0x80..=0xBF, 0x80..=0xBF, ..] => Some(4),
        _ => None,
    }
}
