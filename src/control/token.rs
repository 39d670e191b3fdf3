//! The bearer token: read from its file, and compared without telling how much of it was right.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Less could be guessed.
const SHORTEST: usize = 16;
/// Far beyond any token; what is longer is another file.
const LONGEST: u64 = 4096;

/// Why a file holds no token. Never shows what it holds.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct TokenError {
    file: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("{0}; name a file that can be read")]
    Unreadable(io::Error),
    #[error(
        "the token has {0} bytes and needs {SHORTEST} or more; \
         make one with `head -c 32 /dev/urandom | base64`"
    )]
    TooShort(usize),
    #[error("more than {LONGEST} bytes: that is no token; name the file that holds it")]
    TooLong,
    #[error(
        "a token is one word of visible ASCII characters; \
         make one with `head -c 32 /dev/urandom | base64`"
    )]
    NotAWord,
}

/// The token in a file, without the white space around it.
///
/// # Errors
/// [`TokenError`] where the file can't be read or holds no token.
pub fn read_token(file: &Path) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let wrong = |reason| TokenError {
        file: file.to_owned(),
        reason,
    };
    // Whole from the start: a buffer that grows leaves uncleared copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 2));
    let opened = File::open(file).map_err(|error| wrong(Reason::Unreadable(error)))?;
    opened
        .take(LONGEST + 1)
        .read_to_end(&mut content)
        .map_err(|error| wrong(Reason::Unreadable(error)))?;
    if content.len() as u64 > LONGEST {
        return Err(wrong(Reason::TooLong));
    }
    let token = Zeroizing::new(content.trim_ascii().to_vec());
    if token.len() < SHORTEST {
        return Err(wrong(Reason::TooShort(token.len())));
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err(wrong(Reason::NotAWord));
    }
    Ok(token)
}

/// What a token is compared with: its hash, so that the token itself isn't kept.
pub(super) struct Token(Zeroizing<blake3::Hash>);

impl Token {
    pub(super) fn read(file: &Path) -> Result<Self, TokenError> {
        Ok(Self::new(&read_token(file)?))
    }

    pub(super) fn new(token: &[u8]) -> Self {
        Self(Zeroizing::new(blake3::hash(token)))
    }

    /// Whether this is it. Hashes compare in constant time, and neither length nor beginning of a
    /// wrong token makes a difference to how long hashing takes that would tell of the right one.
    pub(super) fn is(&self, token: &[u8]) -> bool {
        blake3::hash(token) == *self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<Vec<u8>, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, content).unwrap();
        let token = read_token(&file);
        let shown = |error: TokenError| error.to_string().replace(file.to_str().unwrap(), "FILE");
        token.map(|token| token.to_vec()).map_err(shown)
    }

    #[test]
    fn the_white_space_around_a_token_is_not_of_it() {
        let token = b"0123456789abcdef".to_vec();
        assert_eq!(read(b"0123456789abcdef"), Ok(token.clone()));
        assert_eq!(read(b" \r\n0123456789abcdef\r\n\n"), Ok(token));
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_shown() {
        let refused = |content: &[u8]| read(content).unwrap_err();
        assert!(refused(b"0123456789abcde\n").starts_with("FILE: the token has 15 bytes and"));
        assert!(refused(b"").contains("has 0 bytes"));
        assert!(refused(b"0123456789 abcdef").contains("one word"));
        assert!(refused("0123456789äöüabc".as_bytes()).contains("one word"));
        assert!(refused(&[b'x'; 5000]).contains("more than 4096 bytes"));
        let missing = read_token(Path::new("/nowhere/token"))
            .unwrap_err()
            .to_string();
        assert!(
            missing.starts_with("/nowhere/token: No such file"),
            "{missing}"
        );
        for error in [refused(b"geheim"), refused(b"geheim geheim geheim")] {
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn only_the_whole_token_is_right() {
        let token = Token::new(b"0123456789abcdef");
        assert!(token.is(b"0123456789abcdef"));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdeF",
            "0123456789abcdef0",
        ] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
