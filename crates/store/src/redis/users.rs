//! Users of a Redis: each node of a mesh may have one of its own, which is taken away from it alone.

use std::collections::HashMap;

use omnirelay_core::text::{from_hex, hex};
use redis::{Cmd, Value, cmd};

use super::link::{Info, LinkError, MasterLink};
use super::rights::{GrantedRights, UserRights};
use crate::{ExpelOutcome, ReadmitOutcome, RightsSet, StoreCredentials, WritableKinds};

/// Name of a node's own user. No part but the first has an underscore in it.
pub fn node_user(prefix: &str, mesh: &str, node: &str) -> String {
    format!("{prefix}_{mesh}_{node}")
}

/// Users of the nodes of one mesh, in one database.
#[derive(Clone, Copy)]
pub struct MeshUsers<'a> {
    pub link: &'a MasterLink,
    pub prefix: &'a str,
    pub mesh: &'a str,
    /// The database that the mesh is in: another one than the first has to be selected.
    pub database: u32,
}

/// Answer of a server about a user.
enum FoundUser {
    /// There is none.
    Absent,
    /// There is one.
    Present(ServerUser),
    /// It may not be asked.
    Denied,
}

/// A user as a server describes it.
struct ServerUser {
    /// Hashes of its passwords.
    passwords: Vec<String>,
    allowed: GrantedRights,
}

impl MeshUsers<'_> {
    /// Makes a user for `who`, or gives the one that there is another password; and whether it outlives the server. `None`: the
    /// server is one of several, which know nothing of each other's users, or this daemon may not make any.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn make(
        &self,
        who: &str,
        writable: &WritableKinds,
    ) -> Result<Option<(StoreCredentials, bool)>, LinkError> {
        if !is_alone(&self.info().await?) {
            return Ok(None);
        }
        let Some(password) = password() else { return Ok(None) };
        // One that there is has connections, which a new password does not end.
        if self.delete(who).await? == ExpelOutcome::Denied {
            return Ok(None);
        }
        let is_kept = self.set(who, &format!(">{password}"), writable).await?;
        let username = node_user(self.prefix, self.mesh, who);
        Ok(is_kept.map(|is_kept| (StoreCredentials { username, password }, is_kept)))
    }

    /// Makes the user of `who` anew with the password of this hash, unless the server knows one.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn restore(
        &self,
        who: &str,
        password_hash: &[u8; 32],
        writable: &WritableKinds,
    ) -> Result<ReadmitOutcome, LinkError> {
        if matches!(self.find(who).await?, FoundUser::Present(_)) {
            return Ok(ReadmitOutcome::Known);
        }
        let made = self.set(who, &format!("#{}", hex(password_hash)), writable).await?;
        Ok(if made.is_some() { ReadmitOutcome::Made } else { ReadmitOutcome::Denied })
    }

    /// Has the user of `who` do what this version needs, and write what `writable` says: its password and its connections stay.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn set_rights(&self, who: &str, writable: &WritableKinds) -> Result<RightsSet, LinkError> {
        let user = match self.find(who).await? {
            FoundUser::Present(user) => user,
            FoundUser::Absent => return Ok(RightsSet::Absent),
            FoundUser::Denied => return Ok(RightsSet::Denied),
        };
        let Some(words) = self.rights(writable).words_for(&user.allowed) else { return Ok(RightsSet::Same) };
        let mut command = cmd("ACL");
        command.arg("SETUSER").arg(node_user(self.prefix, self.mesh, who)).arg(words);
        match self.link.call(&command).await {
            Ok(_) => {}
            Err(error) if is_denied(&error) => return Ok(RightsSet::Denied),
            Err(error) => return Err(error),
        }
        // Somebody may have deleted it meanwhile: what was made in its place has no password.
        if matches!(self.find(who).await?, FoundUser::Present(user) if user.passwords.is_empty()) {
            self.forget(who).await?;
            return Ok(RightsSet::Absent);
        }
        self.keep().await;
        Ok(RightsSet::Changed)
    }

    /// The hash of the password of `who`; `None`: there is no such user, it has several, or this daemon may not ask.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn password_hash(&self, who: &str) -> Result<Option<[u8; 32]>, LinkError> {
        Ok(match self.find(who).await? {
            FoundUser::Present(user) => match user.passwords.as_slice() {
                [only] => from_hex(only),
                _ => None,
            },
            FoundUser::Absent | FoundUser::Denied => None,
        })
    }

    /// Whether this daemon may make users: one that no node has is made and deleted.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn may_make(&self) -> Result<bool, LinkError> {
        let mut command = cmd("ACL");
        command.arg("SETUSER").arg(node_user(self.prefix, self.mesh, NOBODY)).arg("off");
        match self.link.call(&command).await {
            Ok(_) => {}
            Err(error) if is_denied(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(self.forget(NOBODY).await? != ExpelOutcome::Denied)
    }

    /// Whether the server forgets its users when it restarts: it has neither a file of users nor one of its configuration.
    /// `None`: it may not be asked, or the users are in the file of its configuration as far as [`MeshUsers::make`] was let do that.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn forgets(&self) -> Result<Option<bool>, LinkError> {
        let info = self.info().await?;
        if !is_alone(&info) {
            return Ok(Some(false));
        }
        let mut command = cmd("CONFIG");
        command.arg("GET").arg("aclfile");
        match self.link.call(&command).await {
            Ok(answer) => {
                let file = redis::from_redis_value::<HashMap<String, String>>(answer).unwrap_or_default();
                let has_file = file.get("aclfile").is_some_and(|file| !file.is_empty());
                let has_config = info.get("config_file").is_some_and(|file| !file.is_empty());
                Ok((has_file || !has_config).then_some(!has_file))
            }
            Err(error) if is_denied(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the user of `who`; the server cuts its connections.
    ///
    /// # Errors
    /// Those of the link.
    pub async fn delete(&self, who: &str) -> Result<ExpelOutcome, LinkError> {
        let deleted = self.forget(who).await?;
        if deleted == ExpelOutcome::Deleted {
            self.keep().await;
        }
        Ok(deleted)
    }

    async fn forget(&self, who: &str) -> Result<ExpelOutcome, LinkError> {
        let mut command = cmd("ACL");
        command.arg("DELUSER").arg(node_user(self.prefix, self.mesh, who));
        match self.link.call(&command).await {
            Ok(answer) => {
                let deleted = redis::from_redis_value::<u64>(answer).is_ok_and(|deleted| deleted > 0);
                Ok(if deleted { ExpelOutcome::Deleted } else { ExpelOutcome::Absent })
            }
            Err(error) if is_denied(&error) => Ok(ExpelOutcome::Denied),
            Err(error) => Err(error),
        }
    }

    /// Sets what the user of `who` may, and its password; whether it outlives the server. `None`: this daemon may not.
    async fn set(
        &self,
        who: &str,
        password: &str,
        writable: &WritableKinds,
    ) -> Result<Option<bool>, LinkError> {
        let mut command = cmd("ACL");
        command
            .arg("SETUSER")
            .arg(node_user(self.prefix, self.mesh, who))
            .arg("reset")
            .arg("on")
            .arg(password);
        command.arg(self.rights(writable).words());
        match self.link.call(&command).await {
            Ok(_) => Ok(Some(self.keep().await)),
            Err(error) if is_denied(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rights<'a>(&self, writable: &'a WritableKinds) -> UserRights<'a> {
        let prefix = format!("{{{}:{}}}:", self.prefix, self.mesh);
        UserRights { prefix, writable, selects: self.database != 0 }
    }

    async fn find(&self, who: &str) -> Result<FoundUser, LinkError> {
        let mut command = cmd("ACL");
        command.arg("GETUSER").arg(node_user(self.prefix, self.mesh, who));
        match self.link.call(&command).await {
            Ok(Value::Nil) => Ok(FoundUser::Absent),
            Ok(answer) => Ok(FoundUser::Present(ServerUser::described(answer))),
            Err(error) if is_denied(&error) => Ok(FoundUser::Denied),
            Err(error) => Err(error),
        }
    }

    /// Has the server remember its users across a restart: in its file of users, else in its configuration; whether it does.
    /// One that has neither, or lets this daemon do neither, forgets them.
    async fn keep(&self) -> bool {
        let part = |first: &str, second: &str| -> Cmd {
            let mut command = cmd(first);
            command.arg(second);
            command
        };
        self.link.call(&part("ACL", "SAVE")).await.is_ok()
            || self.link.call(&part("CONFIG", "REWRITE")).await.is_ok()
    }

    async fn info(&self) -> Result<Info, LinkError> {
        let text = self.link.call(&cmd("INFO")).await?;
        Ok(Info::new(redis::from_redis_value::<String>(text).unwrap_or_default()))
    }
}

impl ServerUser {
    fn described(answer: Value) -> Self {
        let mut fields = redis::from_redis_value::<HashMap<String, Value>>(answer).unwrap_or_default();
        let passwords = fields.remove("passwords").map(redis::from_redis_value::<Vec<String>>);
        let mut words = |name: &str| -> Vec<String> {
            let text = fields.remove(name).map(redis::from_redis_value::<String>).and_then(Result::ok);
            text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let (keys, commands) = (words("keys"), words("commands"));
        let selectors = fields.remove("selectors");
        let has_selectors = matches!(selectors, Some(Value::Array(selectors)) if !selectors.is_empty());
        Self {
            passwords: passwords.and_then(Result::ok).unwrap_or_default(),
            allowed: GrantedRights { keys, commands, has_selectors },
        }
    }
}

/// No node is called so.
const NOBODY: &str = "";

fn is_alone(info: &Info) -> bool {
    !info.in_cluster() && info.number("connected_slaves") == Some(0)
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
