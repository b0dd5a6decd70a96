//! Users of one host: the control socket, the file of tokens, and whom the audit trail names.

use omnirelay_wire::tls::nobody;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{Daemon, Place, clean, omnirelayd, run, until};

/// A user that owns nothing, and its group.
const NOBODY: u32 = 65534;

/// A folder that the daemon's user alone may write to, and everybody may pass through.
fn folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("no UTF-8")?.to_owned())
}

/// A daemon that leads nothing: its elections would be in the trail as well.
fn place(arguments: &[&str]) -> Result<Place> {
    Place::new(&[&["--node-id", "a", "--set", "mesh.leadership.enabled=false"], arguments].concat())
}

/// How a command of the program ended, and all that it printed.
struct Ended {
    code: Option<i32>,
    output: String,
    complaint: String,
}

impl Ended {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.output).with_context(|| self.complaint.clone())
    }
}

/// The program as a user calls it, without anything of this user's around it.
struct Caller {
    program: PathBuf,
    user: Option<u32>,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Caller {
    fn at(address: &str) -> Self {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_omnirelay"));
        let arguments = vec!["--addr".to_owned(), address.to_owned()];
        Self { program, user: None, arguments, variables: Vec::new() }
    }

    /// As another user, for whom the program is put where it may be run.
    fn of(mut self, user: u32, folder: &Path) -> Result<Self> {
        let program = folder.join("omnirelay");
        if !program.exists() {
            std::fs::copy(&self.program, &program)?;
        }
        (self.program, self.user) = (program, Some(user));
        Ok(self)
    }

    fn with(mut self, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        self.arguments.extend(arguments.iter().map(|text| (*text).to_owned()));
        self.variables
            .extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    fn run(&self, line: &str) -> Result<Ended> {
        let mut command = clean(self.program.to_str().context("no UTF-8")?);
        command.args(&self.arguments).args(line.split(' ')).envs(self.variables.iter().cloned());
        command.env("HOME", "/nonexistent").env_remove("XDG_CONFIG_HOME").current_dir("/");
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut tries = 0..500;
        let output = loop {
            match command.output() {
                // Another test that began a process just then has the copy open for writing, until that runs its program.
                Err(error)
                    if error.kind() == std::io::ErrorKind::ExecutableFileBusy && tries.next().is_some() =>
                {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                other => break other?,
            }
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (output, complaint, code) = (text(output.stdout), text(output.stderr), output.status.code());
        Ok(Ended { code, output, complaint })
    }
}

/// Who did what, the newest first.
fn actors(caller: &Caller) -> Result<Vec<String>> {
    let trail = caller.run("audit list -o json")?.json()?;
    let records = trail["records"].as_array().context("no records")?;
    Ok(records.iter().map(|record| record["actor"].as_str().unwrap_or_default().to_owned()).collect())
}

fn own_uid() -> Result<u32> {
    Ok(std::fs::metadata("/proc/self")?.uid())
}

/// What the socket calls this test's user.
fn own_principal() -> Result<String> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let uid = own_uid()?.to_string();
    let row = users.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()));
    Ok(format!("uid:{}", row.and_then(|row| row.split(':').next()).unwrap_or(&uid)))
}

/// A gRPC call with an empty message over a connection of this kind; the answer's bytes.
async fn grpc(client: &reqwest::Client, base: &str, method: &str, token: Option<&str>) -> Result<Vec<u8>> {
    let mut request = client.post(format!("{base}/{method}")).header("content-type", "application/grpc");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = request.header("te", "trailers").body(vec![0; 5]).send().await?;
    ensure!(response.version() == reqwest::Version::HTTP_2, "{:?}", response.version());
    Ok(response.bytes().await?.to_vec())
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn the_socket_speaks_all_that_the_port_speaks_and_knows_its_user() -> Result<()> {
    let folder = folder()?;
    let socket = folder.path().join("control.sock");
    let place = place(&["--control-socket", &text(&socket)?, "--set", "security.loopback=proof"])?;
    let daemon = place.start()?;
    assert_eq!(std::fs::metadata(&socket)?.mode() & 0o777, 0o600, "for its user alone");
    let me = own_principal()?;

    let http1 = reqwest::Client::builder()
        .tls_backend_preconfigured(nobody())
        .unix_socket(socket.clone())
        .http1_only()
        .build()?;
    let http2 = reqwest::Client::builder()
        .tls_backend_preconfigured(nobody())
        .unix_socket(socket.clone())
        .http2_prior_knowledge()
        .build()?;
    for client in [&http1, &http2] {
        let node: Value = serde_json::from_slice(
            &client.get("http://localhost/control/node").send().await?.bytes().await?,
        )?;
        assert_eq!((&node["principal"], &node["letIn"]), (&json!(me), &json!("nobody")));
        let events = client.get("http://localhost/control/peers").header("accept", "text/event-stream");
        let mut events = events.send().await?;
        let mut seen = Vec::new();
        while !holds(&seen, "event: synced") {
            seen.extend(events.chunk().await?.context("the stream ended")?);
        }
    }
    let node = "omnirelay.mesh.control.v1.NodeService/Get";
    assert!(holds(&grpc(&http2, "http://localhost", node, None).await?, &me), "gRPC");

    let caller = Caller::at(&format!("unix:{}", socket.display()));
    let cordoned = caller.run("mesh peers cordon a --reason disk")?;
    assert_eq!(cordoned.code, Some(0), "{}", cordoned.complaint);
    let watched = caller.run("mesh peers list --watch --until cordoned==true --timeout 20s")?;
    assert_eq!(watched.code, Some(0), "{}", watched.complaint);
    assert_eq!(actors(&caller)?[0], me);
    let found = caller.run("mesh check -o json")?.output;
    assert!(found.contains("nobody comes in without proof"), "{found}");

    daemon.signal("TERM")?;
    assert!(daemon.wait()?.success());
    assert!(!socket.exists(), "a clean stop leaves no socket");
    let gone = caller.run("mesh peers list")?;
    assert_eq!(gone.code, Some(6), "{}", gone.complaint);
    assert!(gone.complaint.contains("there is no such socket"), "{}", gone.complaint);
    Ok(())
}

#[tokio::test]
async fn another_user_comes_in_only_where_the_mode_lets_it_and_under_its_own_name() -> Result<()> {
    if own_uid()? != 0 {
        // Only root can act as somebody else; whoever else runs this has seen its own name above.
        return Ok(());
    }
    let folder = folder()?;
    let socket = folder.path().join("control.sock");
    let arguments = ["--control-socket", &text(&socket)?, "--set", "security.loopback=proof"];
    let other = || Caller::at(&format!("unix:{}", socket.display())).of(NOBODY, folder.path());
    {
        let place = place(&arguments)?;
        let _daemon = place.start()?;
        let refused = other()?.run("mesh peers list")?;
        assert_eq!(refused.code, Some(6), "{}", refused.complaint);
        assert!(refused.complaint.contains("this user may not open it"), "{}", refused.complaint);
    }
    let group = ["--set", "control.socketMode=0660", "--set", "control.socketGroup=65534"];
    let place = place(&[&arguments[..], &group].concat())?;
    let _daemon = place.start()?;
    let cordoned = other()?.run("mesh peers cordon a --reason disk")?;
    assert_eq!(cordoned.code, Some(0), "{}", cordoned.complaint);
    let mine = Caller::at(&format!("unix:{}", socket.display()));
    assert_eq!(mine.run("mesh peers uncordon a")?.code, Some(0));
    assert_eq!(actors(&mine)?[..2], ["uid:root", "uid:nobody"]);
    Ok(())
}

#[tokio::test]
async fn a_socket_of_a_dead_daemon_is_replaced_and_one_in_use_is_not() -> Result<()> {
    let folder = folder()?;
    let socket = text(&folder.path().join("control.sock"))?;
    let place = place(&["--control-socket", &socket])?;
    place.start()?.kill()?;
    assert!(Path::new(&socket).exists(), "it was killed");
    let _daemon = place.start()?;
    let other = tempfile::tempdir()?;
    let data = text(&other.path().join("data"))?;
    let second = ["--data-dir", &data, "--control-listen", "127.0.0.1:0", "--control-socket", &socket];
    let (code, _, complaint) = run(&second)?;
    assert_eq!(code, Some(1));
    assert!(complaint.contains(&socket) && complaint.contains("in use"), "{complaint}");
    let caller = Caller::at(&format!("unix:{socket}"));
    assert_eq!(caller.run("mesh peers list")?.code, Some(0), "the first one is still there");
    Ok(())
}

/// The token that the daemon of this place has made.
fn made_token(place: &Place) -> Result<String> {
    let file = std::fs::read_to_string(place.data_dir().join("control-token"))?;
    Ok(file.split_whitespace().nth(1).context("no token")?.to_owned())
}

async fn status(daemon: &Daemon, path: &str, token: Option<&str>) -> Result<(u16, Value)> {
    let mut request =
        reqwest::Client::builder().tls_backend_preconfigured(nobody()).build()?.get(daemon.url(path));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    Ok((status, serde_json::from_slice(&response.bytes().await?).unwrap_or_default()))
}

#[tokio::test]
async fn where_loopback_is_no_proof_a_token_is_asked_for() -> Result<()> {
    let place = place(&["--set", "security.loopback=proof", "--set", "log.filter=debug"])?;
    let daemon = place.start()?;
    let token = made_token(&place)?;
    let (code, fault) = status(&daemon, "/control/node", None).await?;
    assert_eq!((code, &fault["reason"]), (401, &json!("PROOF_NEEDED")), "{fault}");
    assert!(fault["hint"].to_string().contains("--token-file"), "{fault}");
    let (code, fault) = status(&daemon, "/control/node", Some(&"0".repeat(64))).await?;
    assert_eq!((code, &fault["reason"]), (401, &json!("TOKEN_UNKNOWN")), "{fault}");
    assert!(!fault.to_string().contains(&"0".repeat(64)), "{fault}");
    let (code, node) = status(&daemon, "/control/node", Some(&token)).await?;
    assert_eq!((code, &node["principal"]), (200, &json!("token:control")));
    assert_eq!(status(&daemon, "/healthz", None).await?.0, 200, "probes need no proof");

    let http2 =
        reqwest::Client::builder().tls_backend_preconfigured(nobody()).http2_prior_knowledge().build()?;
    let method = "omnirelay.mesh.control.v1.NodeService/Get";
    assert!(holds(&grpc(&http2, &daemon.url(""), method, Some(&token)).await?, "token:control"));
    assert!(!holds(&grpc(&http2, &daemon.url(""), method, None).await?, "embedded"));

    let bare = Caller::at(&daemon.url("")).run("mesh peers list")?;
    assert_eq!(bare.code, Some(9), "{}", bare.complaint);
    let file = text(&place.data_dir().join("control-token"))?;
    for caller in [
        Caller::at(&daemon.url("")).with(&["--token-file", &file], &[]),
        Caller::at(&daemon.url("")).with(&[], &[("OMNIRELAY_TOKEN_FILE", &file)]),
    ] {
        let listed = caller.with(&["-vvv"], &[]).run("mesh peers list")?;
        assert_eq!(listed.code, Some(0), "{}", listed.complaint);
        assert!(!listed.complaint.contains(&token), "{}", listed.complaint);
    }
    let caller = Caller::at(&daemon.url("")).with(&["--token-file", &file], &[]);
    assert_eq!(caller.run("mesh peers cordon a --reason disk")?.code, Some(0));
    let watched = caller.run("mesh peers list --watch --until cordoned==true --timeout 20s")?;
    assert_eq!(watched.code, Some(0), "{}", watched.complaint);
    assert_eq!(actors(&caller)?[0], "token:control");
    assert!(!place.log().contains(&token), "a token was logged");
    Ok(())
}

#[tokio::test]
async fn a_token_of_few_scopes_can_do_little_and_ends_when_it_is_taken_away() -> Result<()> {
    let folder = folder()?;
    let file = folder.path().join("tokens");
    let write = |text: &str| -> Result<()> {
        std::fs::write(&file, text)?;
        Ok(std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?)
    };
    let (first, second) = ("1".repeat(40), "2".repeat(40));
    write(&format!("watcher {first} mesh.read\n"))?;
    let place = place(&["--set", "security.loopback=proof", "--token-file", &text(&file)?])?;
    let daemon = place.start()?;
    let caller = Caller::at(&daemon.url("")).with(&["--token-file", &text(&file)?], &[]);
    assert_eq!(caller.run("mesh peers list")?.code, Some(0));
    let refused = caller.run("mesh peers cordon a --reason disk")?;
    assert_eq!(refused.code, Some(5), "{}", refused.complaint);
    assert!(refused.complaint.contains("token:watcher"), "{}", refused.complaint);

    write(&format!("ops {second}\n"))?;
    daemon.signal("HUP")?;
    let open = async || Ok(status(&daemon, "/control/node", Some(&second)).await?.0 == 200);
    until("the new token holds", open).await?;
    assert_eq!(status(&daemon, "/control/node", Some(&first)).await?.0, 401);
    Ok(())
}

#[tokio::test]
async fn a_token_is_taken_away_whatever_else_is_wrong() -> Result<()> {
    let folder = folder()?;
    let (file, config) = (folder.path().join("tokens"), folder.path().join("omnirelayd.yaml"));
    let (first, second) = ("1".repeat(40), "2".repeat(40));
    std::fs::write(&file, format!("ops {first}\nleaver {second}\n"))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let wrong = [("unknown key", "log:\n  colour: red\n"), ("bad filter", "log:\n  filter: 'a=b=c'\n")];
    for (what, text_of_config) in wrong {
        std::fs::write(&file, format!("ops {first}\nleaver {second}\n"))?;
        std::fs::write(&config, "log:\n  filter: info\n")?;
        let arguments = ["--config", &text(&config)?, "--token-file", &text(&file)?];
        let place = place(&[&arguments[..], &["--set", "security.loopback=proof"]].concat())?;
        let daemon = place.start()?;
        assert_eq!(status(&daemon, "/control/node", Some(&second)).await?.0, 200, "{what}");
        std::fs::write(&file, format!("ops {first}\n"))?;
        std::fs::write(&config, text_of_config)?;
        daemon.signal("HUP")?;
        until(what, async || Ok(place.log().contains("the old one stays"))).await?;
        let (code, _) = status(&daemon, "/control/node", Some(&second)).await?;
        assert_eq!(code, 401, "{what}: the token still holds");
        assert_eq!(status(&daemon, "/control/node", Some(&first)).await?.0, 200, "{what}");
    }
    Ok(())
}

#[test]
fn a_token_file_that_others_may_read_is_refused_with_what_to_do() -> Result<()> {
    let folder = folder()?;
    let (file, data) = (folder.path().join("tokens"), text(&folder.path().join("data"))?);
    std::fs::write(&file, format!("ops {}\n", "1".repeat(40)))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let arguments = ["--data-dir", &data, "--control-listen", "127.0.0.1:0", "--token-file"];
    let output = omnirelayd().args(arguments).arg(&file).stderr(Stdio::piped()).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("mode 0644") && complaint.contains("chmod 600"), "{complaint}");
    assert!(!complaint.contains(&"1".repeat(40)), "{complaint}");
    Ok(())
}

#[tokio::test]
async fn being_on_the_host_is_no_proof_on_the_port_of_a_relay_either() -> Result<()> {
    let folder = folder()?;
    let socket = text(&folder.path().join("control.sock"))?;
    let relay = ["--service", "relay", "--relay-listen", "127.0.0.1:0", "--relay-http-listen", "127.0.0.1:0"];
    let proof = ["--set", "security.loopback=proof", "--control-socket", &socket];
    let place = place(&[&relay[..], &proof].concat())?;
    let _daemon = place.start()?;
    let ready: Value = serde_json::from_slice(&std::fs::read(place.ready_file())?)?;
    let port = ready["nodes"][0]["relay"].as_str().context("no relay port")?;
    let caller = Caller::at(&format!("unix:{socket}"));
    let ordered = |address: &str| {
        caller.run(&format!("drones clear-context drone-1 --flight f --yes --relay-addr {address}"))
    };
    let refused = ordered(port)?;
    assert_eq!(refused.code, Some(5), "{}", refused.complaint);
    assert!(refused.complaint.contains("agent has"), "{}", refused.complaint);
    let unknown = ordered(&format!("unix:{socket}"))?;
    assert_eq!(unknown.code, Some(3), "there is no such drone: {}", unknown.complaint);
    Ok(())
}
