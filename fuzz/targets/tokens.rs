//! Cursors and page tokens: what a client gives back may be anything, and what is taken is said again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omnirelay_nouns::listing::PageToken;
use omnirelay_registry::cursor::Cursor;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse::<Cursor>().ok(), Some(cursor), "{text}");
    }
    for query in [0, 1] {
        let Ok(Some(token)) = PageToken::decode(text, query) else { continue };
        let Ok(cursor) = token.cursor() else { continue };
        let again = PageToken::encode(query, cursor, token.after.clone());
        if let Ok(Some(again)) = PageToken::decode(&again, query) {
            assert_eq!(again.after, token.after);
        }
    }
});
