//! Names whose values are not shown: what is called a password is one.

/// Parts of names of secrets, in lower case and without the characters between words.
const PARTS: &[&str] = &[
    "passw",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "credential",
    "authorization",
    "cookie",
    "sessionid",
    "sessionkey",
    "csrf",
    "bearer",
    "salt",
    "connectionstring",
    "dsn",
];

/// What stands in the place of a value that is not shown.
pub const MASK: &str = "***";

/// Whether what bears this name is not to be shown: `DB_PASSWORD`, `apiKey`, `X-Auth-Token`.
pub fn is_secret(name: &str) -> bool {
    let bare: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    PARTS.iter().any(|part| bare.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_a_secret_is_one_however_it_is_written() {
        for name in [
            "password",
            "DB_PASSWORD",
            "passwd",
            "apiKey",
            "api-key",
            "X-Auth-Token",
            "client_secret",
            "Cookie",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["", "name", "path", "passenger", "author", "key", "keyboard", "compass", "session"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
