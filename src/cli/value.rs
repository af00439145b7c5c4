//! Taking a secret value in: from a pipe, or typed without being shown. Never from the arguments,
//! which every user of the machine can read, and never through a buffer that is not wiped.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;

use zeroize::Zeroizing;

use crate::cli::exit::CliError;
use crate::http::body::VALUE_BYTES_MAX;
use crate::model::material::SecretBytes;

/// The value of this secret from standard input; `exact` keeps a line break at its end.
pub(super) fn read(name: &str, exact: bool) -> Result<SecretBytes, CliError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let typed = rpassword::prompt_password(format!("value of {name} (not shown): "));
        let typed = typed.map_err(|error| wrong(&format!("cannot ask for the value: {error}")))?;
        return checked(typed.into_bytes());
    }
    // Unbuffered: what the standard library's buffer holds is not wiped.
    let own = stdin.as_fd().try_clone_to_owned();
    let own = own.map_err(|error| wrong(&format!("cannot read standard input: {error}")))?;
    take(File::from(own), exact)
}

fn take(mut from: impl Read, exact: bool) -> Result<SecretBytes, CliError> {
    let mut whole = Zeroizing::new(vec![0; VALUE_BYTES_MAX + 1]);
    let mut filled = 0;
    while filled < whole.len() {
        match from.read(&mut whole[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(wrong(&format!("cannot read standard input: {error}"))),
        }
    }
    if filled > VALUE_BYTES_MAX {
        return Err(wrong(&format!("the value has more than {VALUE_BYTES_MAX} bytes")));
    }
    let value = &whole[..filled];
    let value = if exact { value } else { without_line_break(value) };
    checked(value.to_vec())
}

/// One line break at the end belongs to the terminal or `echo` that made it, not to the value.
fn without_line_break(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

fn checked(value: Vec<u8>) -> Result<SecretBytes, CliError> {
    if value.is_empty() {
        return Err(wrong("no value was given: it comes from standard input"));
    }
    Ok(SecretBytes::new(value))
}

fn wrong(text: &str) -> CliError {
    CliError::Input(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_not_the_value() {
        let taken = |bytes: &[u8], exact| take(bytes, exact).unwrap().expose().to_vec();
        assert_eq!(taken(b"abc\n", false), b"abc");
        assert_eq!(taken(b"abc\r\n", false), b"abc");
        assert_eq!(taken(b"abc\n\n", false), b"abc\n");
        assert_eq!(taken(b"abc\n", true), b"abc\n");
        assert_eq!(taken(b"a\nb", false), b"a\nb");
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(take(&b""[..], false).is_err());
        assert!(take(&b"\n"[..], false).is_err());
        assert!(take(&vec![b'x'; VALUE_BYTES_MAX][..], false).is_ok());
        assert!(take(&vec![b'x'; VALUE_BYTES_MAX + 1][..], false).is_err());
    }
}
