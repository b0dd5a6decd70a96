//! Users of a Redis: each node of a mesh may have one of its own, which is taken away from it alone.

use omnirelay_core::text::hex;
use redis::{Cmd, cmd};

use super::link::{Info, Link, LinkError};
use crate::{Credentials, Expelled};

/// What a daemon does on a server, as `docs/guides/storage.md` has it.
pub const COMMANDS: &[&str] = &[
    "+info",
    "+eval",
    "+evalsha",
    "+wait",
    "+xread",
    "+xadd",
    "+xlen",
    "+xrange",
    "+xrevrange",
    "+xtrim",
    "+append",
    "+exists",
    "+get",
    "+pexpire",
    "+time",
    "+type",
    "+hdel",
    "+hget",
    "+hgetall",
    "+hmget",
    "+hset",
    "+zadd",
    "+zcard",
    "+zrange",
    "+zrangebylex",
    "+zrem",
    "+zscore",
];

/// What a node's own user is called. No part but the first has an underscore in it.
pub fn node_user(prefix: &str, mesh: &str, node: &str) -> String {
    format!("{prefix}_{mesh}_{node}")
}

/// Makes a user for `who`, or gives the one that there is another password. `None`: the server is one of several, which
/// know nothing of each other's users, or this daemon may not make any.
pub async fn make(link: &Link, [prefix, mesh, who]: [&str; 3]) -> Result<Option<Credentials>, LinkError> {
    if !is_alone(link).await? {
        return Ok(None);
    }
    let Some(password) = password() else { return Ok(None) };
    // One that there is has connections, which a new password does not end.
    if delete(link, [prefix, mesh, who]).await? == Expelled::Denied {
        return Ok(None);
    }
    let username = node_user(prefix, mesh, who);
    let mut command = cmd("ACL");
    command.arg("SETUSER").arg(&username).arg("reset").arg("on").arg(format!(">{password}"));
    command.arg(format!("~{{{prefix}:{mesh}}}:*")).arg(COMMANDS);
    match link.call(&command).await {
        Ok(_) => keep(link).await,
        Err(error) if is_denied(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(Credentials { username, password }))
}

/// Deletes the user of `who`; the server cuts its connections.
pub async fn delete(link: &Link, [prefix, mesh, who]: [&str; 3]) -> Result<Expelled, LinkError> {
    let mut command = cmd("ACL");
    command.arg("DELUSER").arg(node_user(prefix, mesh, who));
    match link.call(&command).await {
        Ok(answer) => {
            let deleted = redis::from_redis_value::<u64>(answer).is_ok_and(|deleted| deleted > 0);
            if !deleted {
                return Ok(Expelled::Absent);
            }
            keep(link).await;
            Ok(Expelled::Deleted)
        }
        Err(error) if is_denied(&error) => Ok(Expelled::Denied),
        Err(error) => Err(error),
    }
}

/// Has the server remember its users across a restart: in its file of users, else in its configuration. One that has
/// neither, or lets this daemon do neither, forgets them.
async fn keep(link: &Link) {
    let part = |first: &str, second: &str| -> Cmd {
        let mut command = cmd(first);
        command.arg(second);
        command
    };
    if link.call(&part("ACL", "SAVE")).await.is_err() {
        let _ = link.call(&part("CONFIG", "REWRITE")).await;
    }
}

async fn is_alone(link: &Link) -> Result<bool, LinkError> {
    let text = redis::from_redis_value::<String>(link.call(&cmd("INFO")).await?).unwrap_or_default();
    let info = Info::new(text);
    Ok(!info.in_cluster() && info.number("connected_slaves") == Some(0))
}

fn is_denied(error: &LinkError) -> bool {
    matches!(error, LinkError::Refused { code, .. } if code == "NOPERM")
}

/// 256 random bits in hex; `None` where the operating system has none.
fn password() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_node_may_do_what_the_guide_lets_a_daemon_do() {
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/storage.md");
        let guide = std::fs::read_to_string(guide).unwrap();
        let own: BTreeSet<&str> = COMMANDS.iter().copied().collect();
        for heading in ["# servers\n", "# nodes of a Cluster\n"] {
            let block = guide.split(heading).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
            let words = block.split_whitespace().filter(|word| word.starts_with('+'));
            let told: BTreeSet<&str> = words.filter(|word| *word != "+cluster|slots").collect();
            assert_eq!(told, own, "{heading}");
        }
    }
}
