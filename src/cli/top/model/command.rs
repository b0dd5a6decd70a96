//! Commands to copy: what a shell takes for exactly what is meant.

use omnirelay_core::text::is_unseen;

/// One word for a shell; what cannot be seen as bash and zsh write it.
pub(in crate::top) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if !word.chars().any(is_unseen) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut escaped = String::from("$'");
    for c in word.chars() {
        match c {
            '\\' | '\'' => escaped.extend(['\\', c]),
            c if is_unseen(c) => escaped.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped.push('\'');
    escaped
}

/// `omnirelay mesh peers explain node-3 --context dev`
pub(in crate::top) fn command(verb: &str, names: &[&str], context: &str) -> String {
    let mut words = vec!["omnirelay".to_owned(), verb.to_owned()];
    words.extend(names.iter().map(|name| quoted(name)));
    if !context.is_empty() {
        words.extend(["--context".to_owned(), quoted(context)]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_commands() {
        for (name, expected) in [
            ("node-3", "node-3"),
            ("orders/12", "orders/12"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("a\nreboot", r"$'a\U0000000areboot'"),
            ("a\u{202e}'", r"$'a\U0000202e\''"),
        ] {
            assert_eq!(quoted(name), expected);
        }
        assert_eq!(
            command("mesh peers explain", &["node-3"], "dev"),
            "omnirelay mesh peers explain node-3 --context dev"
        );
    }
}
