//! The paths that Rust source names, in imports and elsewhere, from the root of the crate.

use std::collections::BTreeMap;

use crate::repository::File;
use crate::tokens::{Token, TokenKind};

/// A path that the code names, with its imports resolved: `std::time::Instant::now`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub path: String,
    pub line: usize,
}

/// Every path the code of `file` names, in imports and elsewhere, from the crate's root.
pub(crate) fn paths(file: &File, tokens: &[Token]) -> Vec<Named> {
    let mut reader = PathReader { tokens, named: Vec::new(), imports: BTreeMap::new() };
    let mut at = 0;
    while at < tokens.len() {
        at = if is_path_start(tokens, at) {
            let importing = at > 0 && tokens[at - 1].is_word("use")
                || at > 1 && tokens[at - 1].is_symbol("::") && tokens[at - 2].is_word("use");
            reader.path(at, "", importing)
        } else {
            at + 1
        };
    }
    let PathReader { named, imports, .. } = reader;
    named.into_iter().map(|one| resolve(one, &imports, &module_of(&file.path))).collect()
}

fn is_path_start(tokens: &[Token], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|index| &tokens[index]);
    let token = &tokens[at];
    let is_name = token.kind == TokenKind::Word && !token.text.starts_with(|c: char| c.is_ascii_digit());
    let is_method =
        before(1).is_some_and(|one| one.is_symbol(".")) && !before(2).is_some_and(|one| one.is_symbol("."));
    let goes_on = before(1).is_some_and(|one| one.is_symbol("::"))
        && before(2)
            .is_some_and(|one| one.kind == TokenKind::Word && one.text != "use" || one.is_symbol(">"));
    // `pub(crate)` says who may see, and names nothing.
    let is_visibility = before(1).is_some_and(|one| one.is_symbol("("))
        && before(2).is_some_and(|one| one.is_word("pub"))
        && tokens.get(at + 1).is_some_and(|one| one.is_symbol(")"));
    is_name && !is_method && !goes_on && !is_visibility
}

struct PathReader<'a> {
    tokens: &'a [Token],
    named: Vec<Named>,
    /// What a name stands for in this file.
    imports: BTreeMap<String, String>,
}

impl PathReader<'_> {
    /// Reads the path at `at` behind `prefix`, with all its branches; returns where it ends.
    fn path(&mut self, mut at: usize, prefix: &str, importing: bool) -> usize {
        let line = self.tokens[at].line;
        let mut path = join(prefix, &self.tokens[at].text);
        at += 1;
        while self.symbol(at, "::") {
            let Some(next) = self.tokens.get(at + 1) else { break };
            if next.kind == TokenKind::Word || next.is_symbol("*") {
                path = join(&path, &next.text);
                at += 2;
            } else if next.is_symbol("{") {
                return self.group(at + 2, &path, importing);
            } else {
                break;
            }
        }
        let alias = importing && self.tokens.get(at).is_some_and(|token| token.is_word("as"));
        let path = path.strip_suffix("::self").unwrap_or(&path).to_owned();
        if importing {
            let name = if alias { self.tokens.get(at + 1).map(|token| token.text.clone()) } else { None };
            let name = name.or_else(|| path.rsplit("::").next().map(str::to_owned));
            self.imports.insert(name.unwrap_or_default(), path.clone());
        }
        self.named.push(Named { path, line });
        if alias { at + 2 } else { at }
    }

    fn group(&mut self, mut at: usize, prefix: &str, importing: bool) -> usize {
        while at < self.tokens.len() && !self.symbol(at, "}") {
            let token = &self.tokens[at];
            if token.kind == TokenKind::Word || token.is_symbol("*") {
                at = self.path(at, prefix, importing);
            } else {
                at += 1;
            }
        }
        at + 1
    }

    fn symbol(&self, at: usize, symbol: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is_symbol(symbol))
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") }
}

/// `crates/store/src/memory.rs` is `omnirelay_store::memory`, `src/daemon/compose.rs` is `omnirelay_daemon::compose`.
fn module_of(path: &str) -> String {
    let in_crates = path.strip_prefix("crates/").and_then(|inner| inner.split_once("/src/"));
    let in_src = || path.strip_prefix("src/").and_then(|inner| inner.split_once('/'));
    let (root, inner) = match in_crates.or_else(in_src) {
        // What is in a folder of crates is called by its own name.
        Some((name, inner)) => (format!("omnirelay_{}", name.rsplit('/').next().unwrap_or(name)), inner),
        None => ("crate".to_owned(), path.trim_start_matches("src/")),
    };
    let inner = inner.trim_end_matches(".rs").trim_end_matches("/mod");
    if inner == "lib" { root } else { format!("{root}::{}", inner.replace('/', "::")) }
}

fn resolve(named: Named, imports: &BTreeMap<String, String>, module: &str) -> Named {
    let (first, behind) = match named.path.split_once("::") {
        Some((first, behind)) => (first, Some(behind)),
        None => (named.path.as_str(), None),
    };
    let path = match imports.get(first) {
        Some(import) if *import != named.path => match behind {
            Some(behind) => format!("{import}::{behind}"),
            None => import.clone(),
        },
        _ => named.path,
    };
    Named { path: from_root(&path, module), line: named.line }
}

/// Replaces a leading `crate`, `self` and `super` by what they mean in `module`.
fn from_root(path: &str, module: &str) -> String {
    let root = module.split("::").next().unwrap_or_default();
    if let Some(rest) = path.strip_prefix("crate").filter(|rest| rest.is_empty() || rest.starts_with("::")) {
        return format!("{root}{rest}");
    }
    let mut module = module.to_owned();
    let mut rest = path;
    let mut relative = false;
    loop {
        let (first, behind) = rest.split_once("::").unwrap_or((rest, ""));
        match first {
            "self" => {}
            "super" => module = module.rsplit_once("::").map_or("crate", |(outer, _)| outer).to_owned(),
            _ => break,
        }
        relative = true;
        rest = behind;
    }
    match (relative, rest) {
        (false, _) => path.to_owned(),
        (true, "") => module,
        (true, rest) => format!("{module}::{rest}"),
    }
}

/// Whether naming `path` names `target` or something in it.
pub(crate) fn reaches(path: &str, target: &str) -> bool {
    let inside = path.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let by_glob = path.strip_suffix('*').is_some_and(|stem| !stem.is_empty() && target.starts_with(stem));
    inside || by_glob
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::code;

    fn named(path: &str, source: &str) -> Vec<String> {
        let file = File::planted(path, source);
        paths(&file, code(&file)).into_iter().map(|one| one.path).collect()
    }

    #[test]
    fn a_crate_in_a_folder_of_crates_is_called_by_its_name() {
        assert_eq!(module_of("crates/capabilities/peers/src/mount.rs"), "omnirelay_peers::mount");
        assert_eq!(module_of("src/daemon/compose.rs"), "omnirelay_daemon::compose");
    }

    #[test]
    fn imports_are_resolved() {
        let cases = [
            ("tree", "use a::{b, c::{d, self}};", vec!["a::b", "a::c::d", "a::c"]),
            ("alias", "use a::b as c; c::d();", vec!["use", "a::b", "a::b::d"]),
            ("module", "use std::time; time::Instant::now();", vec!["std::time", "std::time::Instant::now"]),
            ("super", "use super::super::x;", vec!["omnirelay_decisions::x"]),
            ("self", "self::x::y();", vec!["omnirelay_decisions::lease::tenure::x::y"]),
            ("glob", "use super::*;", vec!["omnirelay_decisions::lease::*"]),
            ("from the outside", "::a::b();", vec!["a::b"]),
            ("method", "x.tokio();", vec!["x"]),
            ("range", "x..tokio::y;", vec!["tokio::y"]),
        ];
        let visible = named("crates/decisions/src/lease/tenure.rs", "pub(crate) fn f(self) -> g::H;");
        assert!(!visible.iter().any(|path| path == "omnirelay_decisions"), "{visible:?}");
        for (what, source, expected) in cases {
            let found = named("crates/decisions/src/lease/tenure.rs", source);
            for path in expected {
                assert!(found.iter().any(|one| one == path), "{what}: {path} is not in {found:?}");
            }
        }
    }

    #[test]
    fn a_glob_reaches_what_it_brings_in() {
        let cases = [
            ("itself", "std::net", "std::net", true),
            ("inside", "std::net::TcpStream", "std::net", true),
            ("neighbour", "std::network", "std::net", false),
            ("outside", "std", "std::net", false),
            ("glob around it", "std::*", "std::net", true),
            ("glob elsewhere", "std::fmt::*", "std::net", false),
        ];
        for (what, path, target, expected) in cases {
            assert_eq!(reaches(path, target), expected, "{what}");
        }
    }
}
