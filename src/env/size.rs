//! How much room an env takes in a process, and how much it may.

use super::{
    canonical::Env,
    error::{EnvError, shown_name},
};

/// The longest variable that the kernel gives to a process, as `NAME=VALUE` and a NUL: Linux's
/// `MAX_ARG_STRLEN`, 32 pages of 4 KiB.
pub const MAX_STRING_BYTES: usize = 128 * 1024;

/// The most that a process gets, as [`Env::size`] counts. Linux takes a quarter of the stack's
/// limit (2 MiB by default) for arguments and environment together; this leaves room for the rest.
pub const MAX_ENV_BYTES: usize = 1024 * 1024;

/// The kernel counts the pointer to each variable too.
const POINTER_BYTES: usize = 8;

/// The `=` and the NUL of `NAME=VALUE\0`.
const PUNCTUATION_BYTES: usize = 2;

impl Env {
    /// The bytes that the env takes in a new process as the kernel counts them: of each variable
    /// name, `=`, value and NUL, and 8 for the pointer to it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.iter()
            .map(|(name, value)| string_bytes(name, value) + POINTER_BYTES)
            .sum()
    }

    /// Whether a process can be given this env (CONTRACT 6). Apart from building, as an env that is
    /// only passed on to a running worker needs no such limit.
    ///
    /// # Errors
    ///
    /// [`EnvError::StringTooLong`] for a variable over [`MAX_STRING_BYTES`], and
    /// [`EnvError::TooLarge`] for an env over [`MAX_ENV_BYTES`].
    pub fn check_size(&self) -> Result<(), EnvError> {
        self.check_strings()?;
        let bytes = self.size();
        if bytes > MAX_ENV_BYTES {
            return Err(EnvError::TooLarge { bytes });
        }
        Ok(())
    }

    /// Whether a process can be given each single variable.
    ///
    /// # Errors
    ///
    /// [`EnvError::StringTooLong`] for a variable over [`MAX_STRING_BYTES`].
    pub fn check_strings(&self) -> Result<(), EnvError> {
        for (name, value) in self.iter() {
            let bytes = string_bytes(name, value);
            if bytes > MAX_STRING_BYTES {
                let name = shown_name(name);
                return Err(EnvError::StringTooLong { name, bytes });
            }
        }
        Ok(())
    }
}

fn string_bytes(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + PUNCTUATION_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        Env::from_variables(variables.iter().copied()).unwrap()
    }

    #[test]
    fn an_env_without_variables_takes_no_room() {
        assert_eq!((env(&[]).size(), env(&[]).check_size()), (0, Ok(())));
    }

    #[test]
    fn size_counts_as_the_kernel_does() {
        assert_eq!(env(&[("AB", "xyz"), ("C", "")]).size(), (7 + 8) + (3 + 8));
    }

    #[test]
    fn a_variable_may_take_128_kib_and_not_a_byte_more() {
        let fits = "x".repeat(MAX_STRING_BYTES - "A=\0".len());
        assert_eq!(env(&[("A", &fits)]).check_size(), Ok(()));
        assert_eq!(
            env(&[("AB", &fits)]).check_size(),
            Err(EnvError::StringTooLong {
                name: "AB".into(),
                bytes: MAX_STRING_BYTES + 1
            })
        );
    }

    #[test]
    fn an_env_may_take_1_mib_and_not_a_byte_more() {
        let value = "x".repeat(64 * 1024 - "AA=\0".len() - 8);
        let mut variables: Vec<_> = (0..16)
            .map(|i| (format!("A{i:x}"), value.clone()))
            .collect();
        let whole = Env::from_variables(variables.clone()).unwrap();
        assert_eq!((whole.size(), whole.check_size()), (MAX_ENV_BYTES, Ok(())));
        variables[0].1.push('x');
        let more = Env::from_variables(variables).unwrap();
        let bytes = MAX_ENV_BYTES + 1;
        assert_eq!(more.check_size(), Err(EnvError::TooLarge { bytes }));
    }
}
