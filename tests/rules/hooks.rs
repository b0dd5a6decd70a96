//! No function is stored for later: what a type asks of others it is given when it is made. A hook that is set afterwards is an
//! arrow that neither the compiler nor the rule of the rooms sees, and does nothing until somebody has set it.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::repository::{File, Finding, program, refuse};
use crate::tokens::{Token, code};

/// What is filled later, by the types around each other.
const LATE: [&[&str]; 4] = [&["OnceLock"], &["OnceCell"], &["Mutex", "Option"], &["RwLock", "Option"]];
const FUNCTIONS: [&str; 3] = ["Fn", "FnMut", "FnOnce"];

/// Whether a type is a function, or an alias of one.
fn is_function(of: &[Token], aliases: &BTreeSet<String>) -> bool {
    let is_dyn =
        |pair: &[Token]| pair[0].is_word("dyn") && FUNCTIONS.iter().any(|name| pair[1].is_word(name));
    of.windows(2).any(is_dyn) || of.iter().any(|token| aliases.contains(&token.text))
}

/// The names of function types that a file declares; those alone that others see, if `is_public`.
fn aliases(code: &[Token], is_public: bool) -> impl Iterator<Item = String> {
    let declares =
        move |at: &usize| code[*at].is_word("type") && (!is_public || *at > 0 && code[at - 1].is_word("pub"));
    (0..code.len()).filter(declares).filter_map(|at| {
        let declared = code[at + 1..].split(|token| token.is_symbol(";")).next()?;
        is_function(declared, &BTreeSet::new()).then(|| declared.first().map(|name| name.text.clone()))?
    })
}

/// What stands in the angle brackets that these tokens begin with; `None`: they begin with none.
fn bracketed(code: &[Token]) -> Option<&[Token]> {
    let mut depth = 0_usize;
    for (at, token) in code.iter().enumerate() {
        let is_arrow = at > 0 && code[at - 1].is_symbol("-");
        depth += usize::from(token.is_symbol("<"));
        depth -= usize::from(token.is_symbol(">") && !is_arrow);
        if depth == 0 {
            return (at > 0).then(|| &code[1..at]);
        }
    }
    None
}

/// What the types of `names`, each in the brackets of the one before, hold where `code` begins with them.
fn held<'a>(names: &[&str], code: &'a [Token]) -> Option<&'a [Token]> {
    let (first, rest) = names.split_first()?;
    let inner = bracketed(code.first().filter(|token| token.is_word(first)).and(code.get(1..))?)?;
    if rest.is_empty() { Some(inner) } else { held(rest, inner) }
}

/// Where a function is stored for later.
fn stored(files: &[File]) -> Vec<Finding> {
    let codes: Vec<&[Token]> = files.iter().map(code).collect();
    let public: BTreeSet<String> = codes.iter().flat_map(|code| aliases(code, true)).collect();
    let mut found = Vec::new();
    for (file, code) in files.iter().zip(&codes) {
        let known = public.iter().cloned().chain(aliases(code, false)).collect();
        let places = (0..code.len()).filter(|at| {
            let mut late = LATE.iter().filter_map(|names| held(names, &code[*at..]));
            late.any(|held| is_function(held, &known))
        });
        let what = "a function is stored for later: give it to what asks it when that is made";
        found.extend(places.map(|at| file.finding(code[at].line, what)));
    }
    found
}

#[test]
fn no_function_is_stored_for_later() -> Result<()> {
    refuse(&stored(&program()?));
    Ok(())
}

#[test]
fn a_function_that_is_stored_for_later_is_found() {
    let alias = ("crates/b/src/lib.rs", "pub type Told = Arc<dyn Fn() -> u64>;\ntype Mine = Box<dyn Fn()>;");
    let cases = [
        ("once", "struct A { a: OnceLock<Box<dyn Fn(&str) -> Scopes + Send>> }", 1),
        ("by an alias", "type Ask = Box<dyn FnMut(u8)>;\nstruct A(OnceCell<Ask>);", 1),
        ("by an alias of another file", "struct A { a: Arc<std::sync::OnceLock<Told>> }", 1),
        ("by a name that another file has for itself", "struct A { a: OnceLock<Mine> }", 0),
        (
            "under a lock",
            "struct A { a: Mutex<Option<Box<dyn FnOnce() + Send>>>, b: RwLock<Option<Told>> }",
            2,
        ),
        ("once, a value", "struct A { a: OnceLock<Lines>, b: Mutex<Option<u8>>, c: Box<dyn Fn()> }", 0),
        ("a list", "struct A { a: RwLock<Vec<Told>> }", 0),
        (
            "given when it is made",
            "fn a(a: impl Fn() -> u8) {} struct A { a: Option<Told>, b: OnceLock<u8> }",
            0,
        ),
        ("in tests", "#[cfg(test)]\nmod tests { struct A { a: OnceLock<Told> } }", 0),
    ];
    for (what, text, expected) in cases {
        let files = [alias, ("crates/a/src/lib.rs", text)].map(|(path, text)| File::planted(path, text));
        let found = stored(&files);
        assert_eq!(found.len(), expected, "{what}: {found:?}");
    }
}
