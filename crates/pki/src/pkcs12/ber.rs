//! BER, as NSS writes PKCS#12: lengths that are not said beforehand, and byte strings in pieces. DER has neither.

/// How deep values may be within each other.
const DEPTH_MAX: usize = 32;
const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;
/// What the context says: `[0]`.
const CONTEXT_0: u8 = 0x80;
/// Where it stands in a value whose content is encrypted, behind its type and the algorithm.
const ENCRYPTED_PLACE: usize = 2;

/// One value: its tag, its content, and whether its length was said.
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
    is_indefinite: bool,
}

/// The first value of this BER as DER, with byte strings put together; `None` when it is none. What is inside byte strings stays
/// as it is.
pub(crate) fn to_der(ber: &[u8]) -> Option<Vec<u8>> {
    written(&read(ber, 0)?, 0, 0)
}

/// The values within one, each as it stands there.
pub(crate) fn parts(content: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut parts, mut left) = (Vec::new(), content);
    while !left.is_empty() {
        let value = read(left, 0)?;
        parts.push(left.get(..left.len() - value.rest.len())?);
        left = value.rest;
    }
    Some(parts)
}

/// The content of the first value, if it has this tag.
pub(crate) fn content_of(der: &[u8], tag: u8) -> Option<&[u8]> {
    read(der, 0).filter(|value| value.tag == tag && !value.is_indefinite).map(|value| value.content)
}

/// A value of DER.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match (length, content.len()) {
        (_, short @ 0..=0x7f) => der.push(short as u8),
        (long, _) => {
            der.push(0x80 | long.len() as u8);
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(content);
    der
}

fn read(ber: &[u8], depth: usize) -> Option<Value<'_>> {
    let (&tag, after) = ber.split_first()?;
    // Tags of several bytes stand nowhere in PKCS#12.
    if depth > DEPTH_MAX || tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, after) = after.split_first()?;
    if first == 0x80 && tag & CONSTRUCTED != 0 {
        let mut left = after;
        while !left.starts_with(&[0, 0]) {
            left = read(left, depth + 1)?.rest;
        }
        let content = after.get(..after.len() - left.len())?;
        return Some(Value { tag, content, rest: left.get(2..)?, is_indefinite: true });
    }
    let (length, after) = match first {
        0..=0x7f => (usize::from(first), after),
        0x81..=0x84 => {
            let (bytes, after) = after.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), after)
        }
        _ => return None,
    };
    let (content, rest) = after.split_at_checked(length)?;
    Some(Value { tag, content, rest, is_indefinite: false })
}

/// A value as DER, which is the one at this place of those that it stands among.
fn written(from: &Value<'_>, place: usize, depth: usize) -> Option<Vec<u8>> {
    if from.tag & CONSTRUCTED == 0 {
        return Some(value(from.tag, from.content));
    }
    let simple = from.tag & !CONSTRUCTED;
    // What is behind an algorithm is encrypted, and a byte string; what is behind a name alone has one within it.
    let is_pieces = simple == OCTET_STRING || (simple == CONTEXT_0 && place >= ENCRYPTED_PLACE);
    let (mut content, mut left, mut place) = (Vec::new(), from.content, 0);
    while !left.is_empty() {
        let part = read(left, depth + 1)?;
        let part_der = written(&part, place, depth + 1)?;
        match is_pieces {
            true => content.extend_from_slice(content_of(&part_der, OCTET_STRING)?),
            false => content.extend_from_slice(&part_der),
        }
        (left, place) = (part.rest, place + 1);
    }
    Some(value(if is_pieces { simple } else { from.tag }, &content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_said_and_pieces_put_together() {
        type Case<'a> = (&'a str, &'a [u8], Option<&'a [u8]>);
        let cases: [Case<'_>; 9] = [
            ("DER stays", &[0x30, 3, 2, 1, 3], Some(&[0x30, 3, 2, 1, 3])),
            ("no length", &[0x30, 0x80, 2, 1, 3, 0, 0], Some(&[0x30, 3, 2, 1, 3])),
            ("pieces", &[0x24, 0x80, 4, 1, 7, 4, 2, 8, 9, 0, 0], Some(&[4, 3, 7, 8, 9])),
            ("a long form of a short length", &[4, 0x81, 1, 7], Some(&[4, 1, 7])),
            (
                "encrypted, in pieces",
                &[0x30, 0x80, 6, 0, 0x30, 0, 0xa0, 0x80, 4, 1, 7, 0, 0, 0, 0],
                Some(&[0x30, 7, 6, 0, 0x30, 0, 0x80, 1, 7]),
            ),
            (
                "a byte string within",
                &[0x30, 0x80, 6, 0, 0xa0, 0x80, 4, 1, 7, 0, 0, 0, 0],
                Some(&[0x30, 7, 6, 0, 0xa0, 3, 4, 1, 7]),
            ),
            ("no end", &[0x30, 0x80, 2, 1, 3], None),
            ("cut off", &[0x30, 5, 2, 1, 3], None),
            ("pieces of something else", &[0x24, 3, 2, 1, 3], None),
        ];
        for (what, ber, expected) in cases {
            assert_eq!(to_der(ber).as_deref(), expected, "{what}");
        }
        assert_eq!(to_der(&[0x30, 0x80].repeat(100_000)), None, "too deep");
        let long = [&[0x30, 0x80][..], &value(4, &[7; 300]), &[0, 0]].concat();
        assert_eq!(to_der(&long).unwrap()[..8], [0x30, 0x82, 1, 48, 4, 0x82, 1, 44]);
    }
}
