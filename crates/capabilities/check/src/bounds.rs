//! Bounds of what another node says of itself: it is cut before it is kept, judged or shown.

use omnirelay_core::text::printable;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

/// The most items of readiness; a daemon has some 40.
const ITEMS_MAX: usize = 100;
/// The longest message of one, in bytes, and its most lines.
const MESSAGE_BYTES_MAX: usize = 1024;
const LINES_MAX: usize = 16;
/// The longest of all other words.
const WORD_BYTES_MAX: usize = 256;
/// The most settings that are to be the same everywhere; a daemon has some 20.
const SETTINGS_MAX: usize = 64;
/// The most keys of settings that wait for a restart; of a daemon there are some 20.
const RESTART_DUE_MAX: usize = 64;
/// The most categories of checks of a host; a daemon has three.
const CATEGORIES_MAX: usize = 16;
/// The most nodes of which it says how it reaches them.
const REACH_MAX: usize = 100;

/// Bounds what a node says of itself; what cannot be seen is written out.
pub(crate) fn bounded(mut said: pb::GetNodeResponse) -> pb::GetNodeResponse {
    let mut names = std::collections::BTreeSet::new();
    said.readiness.truncate(ITEMS_MAX);
    said.readiness.retain(|item| names.insert(item.name.clone()));
    for item in &mut said.readiness {
        item.name = word(&item.name);
        item.message = lines(&item.message);
    }
    said.reach.truncate(REACH_MAX);
    for reach in &mut said.reach {
        for text in [&mut reach.node_id, &mut reach.gossip, &mut reach.unreached, &mut reach.downgrade] {
            *text = word(text);
        }
    }
    for text in [
        &mut said.local_node_id,
        &mut said.version,
        &mut said.store,
        &mut said.let_in,
        &mut said.mesh_port,
        &mut said.enrolment,
    ] {
        *text = word(text);
    }
    let settings = std::mem::take(&mut said.mesh_wide_settings).into_iter().take(SETTINGS_MAX);
    said.mesh_wide_settings = settings.map(|(name, value)| (word(&name), word(&value))).collect();
    said.restart_due.truncate(RESTART_DUE_MAX);
    said.restart_due.iter_mut().for_each(|key| *key = word(key));
    // Nobody judges by these.
    (said.scopes, said.principal, said.cursor) = (Vec::new(), String::new(), String::new());
    said.knows_reach_by.truncate(2);
    said
}

/// Bounds what a node says of its host.
pub(crate) fn bounded_host(mut said: pb::CheckHostResponse) -> pb::CheckHostResponse {
    said.categories.truncate(CATEGORIES_MAX);
    for category in &mut said.categories {
        category.name = word(&category.name);
        category.checks.truncate(ITEMS_MAX);
        for check in &mut category.checks {
            for text in [&mut check.id, &mut check.description, &mut check.page] {
                *text = word(text);
            }
            // Half of a command is another one.
            check.hint = if check.hint.len() > MESSAGE_BYTES_MAX {
                String::new()
            } else {
                printable(&check.hint).into_owned()
            };
            check.message = lines(&check.message);
            // It speaks of itself alone.
            (check.seen_by, check.about) = (Vec::new(), Vec::new());
        }
    }
    for text in [&mut said.local_node_id, &mut said.node_id, &mut said.version] {
        *text = word(text);
    }
    said
}

fn word(text: &str) -> String {
    printable(cut(text, WORD_BYTES_MAX)).into_owned()
}

fn lines(text: &str) -> String {
    let lines: Vec<_> = cut(text, MESSAGE_BYTES_MAX).split('\n').take(LINES_MAX).map(printable).collect();
    lines.join("\n")
}

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_cut_and_cannot_drive_a_terminal() {
        let item = |name: &str, message: String| pb::ReadinessItem {
            name: name.to_owned(),
            message,
            ..pb::ReadinessItem::default()
        };
        let mut readiness = vec![
            item("a\x1b[2J\ntry: rm", "x\x1b]0;y\nz".to_owned()),
            item("long", "\u{e4}".repeat(100_000)),
            item("list", "line\n".repeat(100_000)),
            item("list", "again".to_owned()),
        ];
        readiness.extend((0..10_000).map(|number| item(&number.to_string(), String::new())));
        let reach = pb::PeerReach { downgrade: "no\nway".repeat(1_000), ..pb::PeerReach::default() };
        let said = bounded(pb::GetNodeResponse {
            readiness,
            reach: vec![reach; 10_000],
            store: "s".repeat(10_000),
            scopes: vec!["mesh.read".to_owned(); 1_000],
            mesh_wide_settings: (0..1_000)
                .map(|number| (format!("{number}\n"), "v".repeat(10_000)))
                .collect(),
            restart_due: vec!["k\n".repeat(10_000); 10_000],
            ..pb::GetNodeResponse::default()
        });
        assert!(said.readiness.len() <= ITEMS_MAX && said.reach.len() == REACH_MAX && said.scopes.is_empty());
        assert_eq!(said.readiness[0].name, "a\\u{1b}[2J\\ntry: rm");
        assert_eq!(said.readiness[0].message, "x\\u{1b}]0;y\nz");
        assert!(said.readiness[1].message.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(said.readiness[2].message.lines().count(), LINES_MAX);
        assert_eq!(said.readiness.iter().filter(|item| item.name == "list").count(), 1);
        let settings = &said.mesh_wide_settings;
        assert!(
            settings.len() == SETTINGS_MAX && settings.values().all(|value| value.len() == WORD_BYTES_MAX)
        );
        assert!(settings.keys().all(|name| !name.contains('\n')));
        assert!(said.restart_due.len() == RESTART_DUE_MAX && !said.restart_due[0].contains('\n'));
        assert!(said.store.len() == WORD_BYTES_MAX && !said.reach[0].downgrade.contains('\n'));
    }

    #[test]
    fn what_another_node_says_of_its_host_is_cut_and_half_a_command_is_none() {
        let check = |hint: String| pb::CheckFinding {
            id: "doctor-data\u{1b}".to_owned(),
            message: "m\u{1b}[2J".repeat(1_000),
            hint,
            about: vec!["other".to_owned()],
            ..pb::CheckFinding::default()
        };
        let checks =
            vec![check("chmod 700 /data\n".to_owned()), check(format!("rm -r /{}", "a".repeat(2_000)))];
        let many = pb::CheckCategory {
            name: "n".repeat(10_000),
            checks: [checks, vec![check(String::new()); 200]].concat(),
        };
        let said = bounded_host(pb::CheckHostResponse {
            categories: vec![many; 20],
            version: "v".repeat(10_000),
            ..pb::CheckHostResponse::default()
        });
        assert_eq!((said.categories.len(), said.version.len()), (CATEGORIES_MAX, WORD_BYTES_MAX));
        let pb::CheckCategory { name, checks } = &said.categories[0];
        assert_eq!((name.len(), checks.len()), (WORD_BYTES_MAX, ITEMS_MAX));
        assert_eq!((checks[0].hint.as_str(), checks[1].hint.as_str()), ("chmod 700 /data\\n", ""));
        assert!(checks[0].message.len() <= 4 * MESSAGE_BYTES_MAX && !checks[0].message.contains('\u{1b}'));
        assert!(checks[0].about.is_empty() && !checks[0].id.contains('\u{1b}'));
        // How many ended how is counted, and not believed.
        let found = super::super::report::CheckReport::of(said.categories);
        assert!(!found.success() && found.summary.unknown as usize == CATEGORIES_MAX * ITEMS_MAX);
    }
}
