//! The inside of strings: where a run of plain bytes ends, and what a character's bytes are.

/// Bytes that the vectors of the least x86-64 and aarch64 processors hold.
const LANES: usize = 16;

/// Bytes that are looked at in one step of a long run.
const CHUNK: usize = 128;

/// Vectors that are looked at before it pays to look at chunks.
const FEW: u32 = 6;

/// How many bytes from the start are plain: ASCII without quotes, backslashes and controls.
///
/// Most strings end within two vectors.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    for _ in 0..FEW {
        let Some((vector, behind)) = rest.split_first_chunk() else {
            return bytes.len() - rest.len() + plain_bytes(rest);
        };
        let odd = odd_lanes(vector);
        if odd != 0 {
            return bytes.len() - rest.len() + odd.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    bytes.len() - rest.len() + plain_chunks(rest)
}

/// The same for what is likely long.
#[inline(never)]
fn plain_chunks(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<CHUNK>();
    let plain = chunks.iter().take_while(|chunk| is_plain_chunk(chunk));
    let len = plain.count() * CHUNK;
    let (vectors, tail) = bytes.get(len..).unwrap_or_default().as_chunks();
    for (index, vector) in vectors.iter().enumerate() {
        let odd = odd_lanes(vector);
        if odd != 0 {
            return len + LANES * index + odd.trailing_zeros() as usize / 8;
        }
    }
    len + LANES * vectors.len() + plain_bytes(tail)
}

/// The same for what is less than a vector.
fn plain_bytes(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_plain(**byte)).count()
}

/// No short circuit: of the fold the compiler makes vector code, about one instruction for two
/// bytes. (Of a fold lane by lane it makes fifteen times as many.)
#[inline]
fn is_plain_chunk(chunk: &[u8; CHUNK]) -> bool {
    chunk
        .iter()
        .fold(true, |plain, byte| plain & is_plain(*byte))
}

/// The bytes that aren't plain, the first lowest: the compiler makes vector code of it.
#[inline]
fn odd_lanes(vector: &[u8; LANES]) -> u128 {
    u128::from_le_bytes(vector.map(|byte| if is_plain(byte) { 0 } else { 0xFF }))
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
