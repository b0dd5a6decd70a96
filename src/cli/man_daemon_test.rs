//! The pages of the daemon: of its command line, and of its configuration, whose keys are those of its definition and whose words are
//! those of the guide.

use std::collections::BTreeMap;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use omnirelay_daemon::process::args::DaemonArgs;
use omnirelay_settings::{Config, keys};

use super::verbatim;

const GUIDE: &str = "docs/guides/configuration.md";

/// `omnirelayd(8)`.
pub(super) fn page() -> String {
    let mut command = DaemonArgs::command();
    command.build();
    let title = Man::new(command.clone())
        .manual("OmniRelay")
        .section("8")
        .source(concat!("omnirelayd ", env!("CARGO_PKG_VERSION")));
    let mut bytes = Vec::new();
    title.render_title(&mut bytes).unwrap();
    title.render_name_section(&mut bytes).unwrap();
    title.render_synopsis_section(&mut bytes).unwrap();
    title.render_description_section(&mut bytes).unwrap();
    title.render_options_section(&mut bytes).unwrap();
    let mut page = String::from_utf8(bytes).unwrap();
    page.push_str(".SH COMMANDS\n");
    verbs(&command, "omnirelayd", &mut page);
    if let Some(text) = command.get_after_help() {
        page.push_str(&verbatim(
            "EXAMPLES AND EXIT STATUS",
            text.to_string().trim_start_matches("Examples:\n"),
        ));
    }
    page.push_str(
        ".SH FILES\n.TP\n/etc/omnirelay/omnirelayd.yaml\nThe configuration of the unit: \\fBomnirelayd.yaml\\fR(5).\n\
         .TP\n/var/lib/omnirelay\nWhat the daemon keeps.\n\
         .TP\n/usr/share/doc/omnirelay\nGuides, runbooks, what is to be known of its safety, and alerts.\n\
         .SH SEE ALSO\n\\fBomnirelayd.yaml\\fR(5), \\fBomnirelay\\fR(1)\n",
    );
    page
}

/// Each command that does something, with what is said of it.
fn verbs(command: &Command, path: &str, page: &mut String) {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let path = format!("{path} {}", below.get_name());
        if below.has_subcommands() {
            verbs(below, &path, page);
            continue;
        }
        let about = below.get_about().map(ToString::to_string).unwrap_or_default();
        let given = below.get_positionals().flat_map(|given| given.get_value_names().unwrap_or_default());
        let given: String = given.map(|name| format!(" {name}")).collect();
        page.push_str(&format!(".TP\n\\fB{}\\fR{given}\n{}\n", escaped(&path), escaped(&about)));
    }
}

/// `omnirelayd.yaml(5)`.
pub(super) fn configuration_page() -> String {
    let said = said();
    let mut page = format!(
        ".TH omnirelayd.yaml 5 \"\" \"omnirelayd {}\" \"OmniRelay\"\n.SH NAME\nomnirelayd.yaml \\- configuration of omnirelayd\n\
         .SH DESCRIPTION\nA YAML file, named by \\fB\\-\\-config\\fR. Every key has a default. A key is written in its sections: \
         \\fBsession.ttl\\fR is \\fBttl\\fR below \\fBsession\\fR. The environment wins over the file \
         (\\fBOMNIRELAYD__SESSION__TTL\\fR), and \\fB\\-\\-set session.ttl=3s\\fR over both. \
         \\fBomnirelayd config print\\fR shows every value and its source, \\fBomnirelayd config validate\\fR checks a file.\n\
         .SH KEYS\n",
        env!("CARGO_PKG_VERSION"),
    );
    for (key, default) in keys() {
        let default = if default.is_empty() { "none".to_owned() } else { default };
        page.push_str(&format!(".TP\n\\fB{}\\fR\nDefault: {}.\n", escaped(&key), escaped(&default)));
        if let Some(text) = said.get(&key) {
            page.push_str(&format!("{}\n", escaped(text)));
        }
    }
    page.push_str(
        ".SH SEE ALSO\n\\fBomnirelayd\\fR(8), /usr/share/doc/omnirelay/docs/guides/configuration.md\n",
    );
    page
}

/// What the guide says of each key, as text.
fn said() -> BTreeMap<String, String> {
    let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(GUIDE);
    let guide = std::fs::read_to_string(path).unwrap();
    let mut said = BTreeMap::new();
    for row in guide.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let (Some(named), Some(text)) = (cells.first(), cells.get(2..).map(|rest| rest.join(" | "))) else {
            continue;
        };
        let mut before = String::new();
        for name in named.split('`').skip(1).step_by(2) {
            let key = match (name.strip_prefix('.'), before.rsplit_once('.')) {
                (Some(last), Some((section, _))) => format!("{section}.{last}"),
                (Some(_) | None, Some(_) | None) => name.to_owned(),
            };
            if !text.is_empty() {
                said.insert(key.clone(), plain(&text));
            }
            before = key;
        }
    }
    said
}

/// Text without what makes it Markdown.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    // Of a link its words.
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        match link.split_once("](").and_then(|(words, rest)| Some((words, rest.split_once(')')?.1))) {
            Some((words, behind)) => {
                plain.push_str(words);
                rest = behind;
            }
            None => {
                plain.push('[');
                rest = link;
            }
        }
    }
    plain.push_str(rest);
    plain.replace('`', "").replace("**", "")
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[test]
fn every_key_of_the_configuration_is_in_its_page() {
    let page = configuration_page();
    let all = keys();
    assert!(all.len() > 100 && all.iter().any(|(key, default)| key == "session.ttl" && !default.is_empty()));
    for (key, _) in &all {
        assert!(page.contains(&format!("\\fB{}\\fR\n", escaped(key))), "{key}");
    }
    let said = said();
    let explained = all.iter().filter(|(key, _)| said.contains_key(key)).count();
    assert!(explained * 2 > all.len(), "of {} keys the guide explains {explained}", all.len());
    assert!(page.contains(&escaped(&Config::default().session.ttl.to_string())));
    assert_eq!(plain("see [below](#redis) or `x`"), "see below or x");
}
