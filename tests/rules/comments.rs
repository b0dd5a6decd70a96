//! First lines of comments: one on a module, a type or a public function begins with the noun or verb that names it, so that it is
//! found by whoever searches or skims. What a comment of a field, a constant or a private function begins with is free.

use anyhow::Result;

use crate::repository::{File, Finding, expect_findings, program, refuse};

/// Words that ask, and put a question in the place of a name, also behind a preposition.
const QUESTIONS: [&str; 10] =
    ["how", "what", "when", "where", "whether", "which", "who", "whom", "whose", "why"];
const PREPOSITIONS: [&str; 18] = [
    "after", "against", "as", "at", "before", "behind", "by", "for", "from", "in", "of", "on", "over",
    "since", "through", "to", "under", "with",
];
/// Beginnings of half a sentence.
const CONDITIONS: [&str; 3] = ["if", "that", "until"];

/// Kinds of items whose comments must name them, each in front of its name.
const TYPES: [&str; 6] = ["enum ", "mod ", "struct ", "trait ", "type ", "union "];

/// Derives of types whose comment is printed as help, which is imperative.
const HELP: [&str; 4] = ["Args", "Parser", "Subcommand", "ValueEnum"];

/// The question that a comment begins with.
fn question(comment: &str) -> Option<String> {
    let mut words = comment.split(' ').map(str::to_lowercase);
    let first = words.next()?;
    let asks = |word: &String| QUESTIONS.contains(&word.as_str());
    if asks(&first) || CONDITIONS.contains(&first.as_str()) {
        return Some(first);
    }
    let second = words.next().filter(|_| PREPOSITIONS.contains(&first.as_str())).filter(asks)?;
    Some(format!("{first} {second}"))
}

/// The text of a comment line behind `mark`; `None`: the line is none of that sort.
fn comment<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.trim_start().strip_prefix(mark)?.strip_prefix(' ')
}

/// True for the declaration of what no `question` stands for: a module, a type, or a public function, but for one that answers it.
fn must_be_named(declaration: &str, question: &str) -> bool {
    let is_public = declaration.starts_with("pub");
    let bare = match declaration.strip_prefix("pub(") {
        Some(restricted) => restricted.split_once(") ").map_or("", |(_, bare)| bare),
        None => declaration.strip_prefix("pub ").unwrap_or(declaration),
    };
    let is_type = TYPES.iter().any(|kind| bare.starts_with(kind));
    let is_function =
        ["fn ", "async fn ", "const fn ", "unsafe fn "].iter().any(|kind| bare.starts_with(kind));
    let answers = question == "whether" || declaration.contains("-> bool");
    is_type || is_public && is_function && !answers
}

/// Words that a declaration begins with.
const DECLARES: [&str; 12] =
    ["async", "const", "enum", "fn", "mod", "pub", "static", "struct", "trait", "type", "union", "unsafe"];

/// True where `lines` begin with the comment of something that no `question` stands for, and are not printed as help.
fn is_about_a_name(lines: &[&str], question: &str) -> bool {
    let declares = |line: &&str| -> bool {
        let word = line.trim_start().split([' ', '(']).next().unwrap_or_default();
        DECLARES.contains(&word)
    };
    let is_help = |line: &&str| line.contains("derive") && HELP.iter().any(|name| line.contains(name));
    // A field or a variant declares nothing, and a blank line or the end of a block ends what a comment is about.
    let mut about = lines.iter().take_while(|line| !line.trim().is_empty() && line.trim() != "}");
    let Some(at) = about.position(declares) else { return false };
    must_be_named(lines[at].trim_start(), question) && !lines[..at].iter().any(is_help)
}

fn unnamed(file: &File) -> Vec<Finding> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let goes_on = |mark: &str| at > 0 && lines[at - 1].trim_start().starts_with(mark);
        let first = |mark: &str| comment(line, mark).filter(|_| !goes_on(mark));
        let of_module = first("//!").and_then(question);
        let of_item = || first("///").and_then(question).filter(|asked| is_about_a_name(&lines[at..], asked));
        let Some(asked) = of_module.or_else(of_item) else { continue };
        let what = format!(
            "the comment begins with `{asked}`: begin with the noun that names this, or a function's verb"
        );
        found.push(file.finding(at + 1, what));
    }
    found
}

#[test]
fn first_lines_name_their_thing() -> Result<()> {
    refuse(&program()?.iter().flat_map(unnamed).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_first_line_that_names_nothing_is_found() {
    let path = "crates/a/src/lib.rs";
    let cases = [
        ("module", path, "//! What the store keeps.", 1),
        ("named module", path, "//! Records of the store: what it keeps.", 0),
        ("type", path, "/// Why a commit was not made.\n#[derive(Debug)]\npub enum CommitError {}", 1),
        ("private type", path, "/// Who asks.\nstruct Caller;", 1),
        ("second line", path, "/// Error of a commit.\n/// Why it was not made.\npub enum CommitError {}", 0),
        ("second paragraph", path, "//! Records of the store.\n//!\n//! How they are kept.", 0),
        ("preposition", path, "/// By which a token is listed.\npub struct TokenId;", 1),
        (
            "attribute of lines",
            path,
            "/// What is no pin.\n#[error(\n    \"no pin\"\n)]\npub struct PinError;",
            1,
        ),
        ("function", path, "    /// How long it waits.\n    pub(crate) fn wait(&self) -> u64 {", 1),
        ("named function", path, "/// Returns the wait in milliseconds.\npub fn wait_ms() -> u64 {", 0),
        ("yes or no", path, "/// Whether it waits.\npub fn waits() -> bool {", 0),
        ("private function", path, "/// How long it waits.\nfn wait() -> u64 {", 0),
        ("field", path, "    /// How long it waits.\n    pub wait: u64,", 0),
        ("help", path, "/// That is asked again\n#[derive(Debug, Args)]\nstruct ShowArgs {}", 0),
        ("word that begins alike", path, "/// Whatever is left.\nstruct Rest;", 0),
    ];
    expect_findings(unnamed, &cases);
}
