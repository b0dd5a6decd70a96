//! A URL as it may be shown before it is known to be one.

use super::split_authority;

/// A text that may be a URL, without what could be a secret in it. What is not understood is hidden.
pub fn redacted(text: &str) -> String {
    let (scheme, rest) = text.split_at(text.find("://").map_or(0, |at| at + "://".len()));
    let sound =
        scheme.trim_end_matches("://").bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
    match shown_place(rest) {
        Some(place) if sound => format!("{scheme}{place}"),
        None if sound => format!("{scheme}***"),
        Some(_) | None => "***".to_owned(),
    }
}

/// All behind the scheme, if it is certain which part of it is the password.
fn shown_place(text: &str) -> Option<String> {
    let (authority, rest) = split_authority(text);
    let (user, hosts) =
        authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    if rest.contains('@') || path.contains(':') || !hosts.split(',').all(is_plain_host) {
        return None;
    }
    let user = user.map(|user| match user.split_once(':') {
        Some((name, _)) => format!("{name}:***@"),
        None if user.contains('@') => "***@".to_owned(),
        None => format!("{user}@"),
    });
    let options = query.map(|query| query.split('&').map(shown_option).collect::<Vec<_>>().join("&"));
    let options = options.map(|options| format!("?{options}"));
    Some(format!("{}{hosts}{path}{}", user.unwrap_or_default(), options.unwrap_or_default()))
}

/// Whether it looks like a host, with a number as its port.
fn is_plain_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        Some(_) | None => (text, ""),
    };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let named = in_brackets.map_or(!host.is_empty() && host.bytes().all(letter), |host| {
        host.bytes().all(|byte| letter(byte) || byte == b':')
    });
    named && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The options of others may hold passwords.
fn shown_option(text: &str) -> String {
    match text.split_once('=') {
        Some((key, _)) if key != "prefix" => format!("{key}=***"),
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_hidden() {
        let cases = [
            ("a password", "rediss://me:hunter2@a,b/1?prefix=x", "rediss://me:***@a,b/1?prefix=x"),
            ("at signs in it", "redis://:a@b@c", "redis://:***@c"),
            ("slashes in it", "redis://me:hun/ter2@c", "redis://***"),
            ("a name alone", "redis://me@c", "redis://me@c"),
            ("names that are none", "redis://hunter2@b@c", "redis://***@c"),
            ("no host", "redis://:hunter2", "redis://***"),
            ("no host behind a name", "redis://me:hunter2", "redis://***"),
            ("an at sign further on", "redis://u:p@h/0?prefix=a@b", "redis://***"),
            ("no scheme", "me:hunter2@h", "me:***@h"),
            ("half a scheme", "redis:/:hunter2@h", "***"),
            ("half a scheme, no host", "redis:/:hunter2", "***"),
            (
                "the options of others",
                "redis://h?password=hunter2&prefix=x",
                "redis://h?password=***&prefix=x",
            ),
            ("several addresses", "redis://a:1,[::1]:7,[fd00::1]/2", "redis://a:1,[::1]:7,[fd00::1]/2"),
            ("another backend", "embedded:", "embedded:"),
            ("another backend's directory", "embedded:/srv", "embedded:/srv"),
            ("another scheme", "postgres://a", "postgres://a"),
        ];
        for (what, text, shown) in cases {
            assert_eq!(redacted(text), shown, "{what}");
        }
    }
}
