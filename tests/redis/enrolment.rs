//! Hosts that join a mesh whose registry is in a Redis: two daemons, an address each.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::secured::{Ended, Joined, Secured, command, ended};
use crate::process::{PATIENCE, pause};
use crate::servers::{Authority, RedisServer};

const TLS: [&str; 4] = ["--set", "control.tls.source=mesh", "--set", "mesh.leadership.enabled=false"];

fn first(server: &RedisServer) -> Result<Secured> {
    Secured::start("a", "127.0.0.2:0", &[&TLS[..], &["--store", &server.url()]].concat())
}

fn join(mesh: &Secured, node: &str) -> std::process::Command {
    let line = format!(
        "mesh join --server {} --token-file token --node-id {node} --data-dir {node}",
        mesh.daemon.control
    );
    command(&line, mesh.folder.path())
}

fn token(mesh: &Secured, flags: &str) -> Result<()> {
    // It is written over nothing.
    let name = format!("token{}", flags.split(' ').next().unwrap_or_default());
    let _ = std::fs::remove_file(mesh.folder.path().join(name));
    let made = mesh.by("admin", &format!("token create --out token{flags}"))?;
    ensure!(made.code == Some(0), "{}", made.complaint);
    Ok(())
}

fn until(what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is()? {
        ensure!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(pause(begun));
    }
    Ok(())
}

#[test]
fn a_host_joins_with_a_token_and_is_a_node_from_then_on() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = first(&server)?;
    token(&mesh, " --role gateway --node b")?;
    let other = ended(&mut join(&mesh, "c"))?;
    ensure!(other.code == Some(5) && other.complaint.contains("called `c`"), "{}", other.complaint);
    let joined = ended(&mut join(&mesh, "b"))?;
    ensure!(joined.code == Some(0) && joined.output.contains("gateway/b"), "{}", joined.complaint);
    let again = ended(&mut join(&mesh, "b"))?;
    ensure!(again.code == Some(0) && again.output.contains("joined already"), "{}", again.complaint);
    let listen = format!("127.0.0.3:{}", mesh.daemon.control.rsplit_once(':').context("no port")?.1);
    let _b = Joined::start(&mesh, "b", &listen, &[])?;
    until("both live", || Ok(mesh.by("admin", "mesh peers list -o name")?.output == "peer/a\npeer/b\n"))?;
    // What b shows is believed, by the address that it was called from when it joined or by its name.
    let at_b = |line: &str| -> Result<Ended> {
        let admin = mesh.path("admin");
        let file = |name: &str| admin.join(name).display().to_string();
        let flags = format!(
            "--tls-ca {} --tls-cert {} --tls-key {} --tls-server-name b",
            file("bundle.pem"),
            file("chain.pem"),
            file("key.pem")
        );
        let line = format!("{line} --addr https://{listen} {flags}");
        ended(&mut command(&line, mesh.folder.path()))
    };
    until("b serves", || Ok(at_b("mesh peers list")?.code == Some(0)))?;
    // What b cannot do is done by a, which b has named, and whom the administrator shows the same certificate.
    let issued = at_b("cert issue --operator x --out x -v")?;
    let next = format!("asking https://{}", mesh.daemon.control);
    ensure!(issued.code == Some(0) && issued.complaint.contains(&next), "{}", issued.complaint);
    // A host that asks b is let in by a, which b has named.
    token(&mesh, "-c --node c")?;
    let by_b = format!(
        "mesh join --server {listen} --tls-server-name b --token-file token-c --node-id c --data-dir c"
    );
    let joined = ended(&mut command(&by_b, mesh.folder.path()))?;
    ensure!(joined.code == Some(0) && joined.output.contains("worker/c"), "{}", joined.complaint);
    ensure!(mesh.by("admin", "cert revoke --operator admin --serial 1 --yes")?.code == Some(2));
    ensure!(
        mesh.by("admin", "cert revoke --operator admin --yes --last-administrator --reason lost")?.code
            == Some(0)
    );
    until("b has heard of it", || Ok(at_b("mesh peers list")?.complaint.contains("revoked")))
}

/// Two daemons, one of which has joined.
fn both(mesh: &Secured) -> Result<Joined> {
    token(mesh, " --node b")?;
    let joined = ended(&mut join(mesh, "b"))?;
    ensure!(joined.code == Some(0), "{}", joined.complaint);
    let listen = format!("127.0.0.3:{}", mesh.daemon.control.rsplit_once(':').context("no port")?.1);
    let b = Joined::start(mesh, "b", &listen, &[])?;
    until("both live", || Ok(mesh.by("admin", "mesh peers list -o name")?.output == "peer/a\npeer/b\n"))?;
    Ok(b)
}

fn status_of_b(mesh: &Secured) -> Result<String> {
    Ok(mesh.by("admin", "mesh peers list -o json")?.output)
}

#[test]
fn a_node_that_is_put_out_writes_nothing_though_its_daemon_goes_on() -> Result<()> {
    const USER: &str = "omnirelay_default_b";
    let server = RedisServer::start(&[])?;
    let mesh = first(&server)?;
    let mut b = both(&mesh)?;
    let of_user = || -> Result<usize> {
        let clients = server.cli::<String>(&["CLIENT", "LIST"])?;
        Ok(clients.lines().filter(|client| client.contains(&format!("user={USER} "))).count())
    };
    ensure!(of_user()? > 0, "b does not use credentials of its own");
    // Another node that is called so is of another cluster, for which no issuer of this one vouches.
    token(&mesh, "-other --cluster other --node b")?;
    let line = format!(
        "mesh join --server {} --token-file token-other --node-id b --data-dir other",
        mesh.daemon.control
    );
    let joined = ended(&mut command(&line, mesh.folder.path()))?;
    ensure!(joined.code != Some(0) && joined.complaint.contains("another cluster"), "{}", joined.complaint);
    ensure!(of_user()? > 0, "b was cut off");
    let others = server.cli_as::<String>("omnirelay_default_b:wrong@", &["GET", "secret"]);
    ensure!(others.is_err(), "its user takes any password");
    let dry = mesh.by("admin", "mesh revoke b --dry-run")?;
    ensure!(dry.code == Some(0) && of_user()? > 0, "{}", dry.complaint);
    let revoked = mesh.by("admin", "mesh revoke b --yes --reason stolen")?;
    let told = &revoked.output;
    ensure!(revoked.code == Some(0) && told.contains("credentials of the store were deleted"), "{told}");
    ensure!(told.contains("its session was ended"), "{told}");
    ensure!(
        !server.cli::<Vec<String>>(&["ACL", "USERS"])?.iter().any(|user| user == USER),
        "it is there still"
    );
    ensure!(of_user()? == 0, "its connections go on");
    until("b is judged", || {
        Ok({
            let peers: serde_json::Value = serde_json::from_str(&status_of_b(&mesh)?)?;
            let peer =
                peers["peers"].as_array().context("no peers")?.iter().find(|peer| peer["nodeId"] == "b");
            peer.is_some_and(|peer| peer["status"] != "alive")
        })
    })?;
    ensure!(b.0.try_wait()?.is_none(), "its daemon is to go on");
    let refused = server.cli::<Vec<redis::Value>>(&["ACL", "LOG"])?;
    ensure!(!refused.is_empty(), "its daemon does not even try");
    ensure!(of_user()? == 0);
    let check = mesh.by("admin", "mesh check --category identity")?;
    ensure!(!check.output.contains("knows the credentials"), "{}", check.output);
    let denied = mesh.by("admin", "cert issue --node b --out b2")?;
    ensure!(denied.code == Some(5), "{}", denied.complaint);
    Ok(())
}

/// The join says by what key it seals from then on.
#[test]
fn a_host_that_was_set_up_anew_leaves_the_trail_sound() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = first(&server)?;
    let b = both(&mesh)?;
    let verified = || mesh.by("admin", "audit verify -o json");
    let chains_of_b = || -> Result<usize> {
        let report: serde_json::Value = serde_json::from_str(&verified()?.output)?;
        let of_b = report["nodes"].as_array().into_iter().flatten().find(|node| node["nodeId"] == "b");
        Ok(of_b.and_then(|node| node["chains"].as_array()).map_or(0, Vec::len))
    };
    until("what b did is sealed", || Ok(chains_of_b()? == 1))?;
    // Nor does what b has done in its last second, which nobody seals.
    let last =
        format!("mesh peers cordon b --reason last --addr unix:{}", mesh.path("b/control.sock").display());
    ensure!(ended(&mut command(&last, mesh.folder.path()))?.code == Some(0));
    drop(b);
    std::fs::remove_dir_all(mesh.path("b"))?;
    token(&mesh, " --node b --replace")?;
    let joined = ended(&mut join(&mesh, "b"))?;
    ensure!(joined.code == Some(0), "{}", joined.complaint);
    let listen = format!("127.0.0.3:{}", mesh.daemon.control.rsplit_once(':').context("no port")?.1);
    let _b = Joined::start(&mesh, "b", &listen, &[])?;
    // It seals what it does; that it is back is nothing new to the others.
    let at_b = format!("--addr unix:{}", mesh.path("b/control.sock").display());
    until("b does something", || {
        let line = format!("mesh peers cordon b --reason sealed {at_b}");
        Ok(ended(&mut command(&line, mesh.folder.path()))?.code == Some(0))
    })?;
    until("what b did since is sealed", || Ok(chains_of_b()? == 2))?;
    let sound = mesh.by("admin", "audit verify")?;
    ensure!(sound.code == Some(0), "{} {}", sound.output, sound.complaint);
    // Nor does another root leave it unsound to a daemon that has seen nothing of what was before.
    let by_admin = |line: &str| -> Result<Ended> {
        let done = mesh.by("admin", line)?;
        ensure!(done.code == Some(0), "{line}: {} {}", done.output, done.complaint);
        Ok(done)
    };
    let shown: serde_json::Value = serde_json::from_str(&by_admin("cert ca show -o json")?.output)?;
    let before = shown["authority"]["roots"][0]["fingerprint"].as_str().context("no root")?.to_owned();
    by_admin("cert ca rotate --root --yes")?;
    by_admin("cert renew admin")?;
    by_admin(&format!("cert ca retire {before} --force --yes"))?;
    token(&mesh, " --node c")?;
    let joined = ended(&mut join(&mesh, "c"))?;
    ensure!(joined.code == Some(0), "{}", joined.complaint);
    let listen = listen.replace("127.0.0.3", "127.0.0.4");
    let _c = Joined::start(&mesh, "c", &listen, &[])?;
    // Not at its socket: whoever is on its host does not read the trail.
    let at_c = format!(
        "audit verify -o json --addr https://{listen} --tls-server-name c --tls-ca admin/bundle.pem --tls-cert admin/chain.pem \
         --tls-key admin/key.pem"
    );
    let mut told = String::new();
    until("c has checked the trail", || {
        let verified = ended(&mut command(&at_c, mesh.folder.path()))?;
        told = verified.output + &verified.complaint;
        Ok(verified.code == Some(0) || told.contains("unknown_key"))
    })
    .with_context(|| "what c said last")?;
    ensure!(!told.contains("unknown_key"), "{told}");
    Ok(())
}

/// The user whose daemon it is, as `omnirelay` is of the packages.
const DAEMON_USER: u32 = 65_534;

/// All files in a folder, and in those in it.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        found.extend(if path.is_dir() { files_in(&path)? } else { vec![path] });
    }
    Ok(found)
}

/// As the packages have it: root joins the host, and its daemon runs as the user of the data directory, with the configuration
/// that root and this user read.
#[test]
fn root_joins_a_host_for_the_user_of_its_daemon() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("not looked at: only root can act as another user");
        return Ok(());
    }
    let server = RedisServer::start(&[])?;
    let mesh = first(&server)?;
    let (data, config) = (mesh.path("b"), mesh.path("etc").join("omnirelayd.yaml"));
    std::fs::create_dir(&data)?;
    chown(&data, Some(DAEMON_USER), Some(DAEMON_USER))?;
    std::fs::set_permissions(&data, Permissions::from_mode(0o700))?;
    std::fs::set_permissions(mesh.folder.path(), Permissions::from_mode(0o711))?;
    std::fs::create_dir(mesh.path("etc"))?;
    std::fs::write(&config, include_str!("../../packaging/omnirelayd.yaml"))?;
    token(&mesh, " --node b")?;
    let joined = ended(join(&mesh, "b").arg("--config-file").arg(&config))?;
    ensure!(joined.code == Some(0), "{}", joined.complaint);
    for path in files_in(&data)? {
        let found = std::fs::metadata(&path)?;
        ensure!(found.uid() == DAEMON_USER, "{} is of {}", path.display(), found.uid());
    }
    let found = std::fs::metadata(&config)?;
    let (uid, gid, mode) = (found.uid(), found.gid(), found.mode() & 0o777);
    ensure!((uid, gid, mode) == (0, DAEMON_USER, 0o640), "{uid} {gid} {mode:o}");
    let port = mesh.daemon.control.rsplit_once(':').context("no port")?.1;
    let log = std::fs::File::create(mesh.path("log-of-b"))?;
    let user = DAEMON_USER.to_string();
    let mut daemon = std::process::Command::new("setpriv");
    daemon.args([
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    ]);
    daemon.arg(env!("CARGO_BIN_EXE_omnirelayd")).arg("--config").arg(&config).arg("--data-dir").arg(&data);
    daemon.args(["--control-listen", &format!("127.0.0.3:{port}"), "--set", "mesh.listen=127.0.0.3:0"]);
    daemon.arg("--control-socket").arg(data.join("control.sock"));
    let _b = Joined(daemon.stdout(Stdio::null()).stderr(log).spawn()?);
    let both = || Ok(mesh.by("admin", "mesh peers list -o name")?.output == "peer/a\npeer/b\n");
    until("both live", both)
        .with_context(|| std::fs::read_to_string(mesh.path("log-of-b")).unwrap_or_default())?;
    let socket = format!("unix:{}", data.join("control.sock").display());
    let at_socket =
        ended(&mut command(&format!("mesh peers list -o name --addr {socket}"), mesh.folder.path()))?;
    ensure!(at_socket.output == "peer/a\npeer/b\n", "{}", at_socket.complaint);
    Ok(())
}

/// What it has on its own host does not say that it was put out.
#[test]
fn a_node_that_was_put_out_is_not_joined_already() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = first(&server)?;
    token(&mesh, " --node b")?;
    ensure!(ended(&mut join(&mesh, "b"))?.code == Some(0));
    let again = ended(&mut join(&mesh, "b"))?;
    ensure!(again.output.contains("joined already"), "{}", again.complaint);
    ensure!(mesh.by("admin", "mesh revoke b --yes")?.code == Some(0));
    token(&mesh, " --node b")?;
    until("the revocation is heard", || {
        let refused = ended(&mut join(&mesh, "b"))?;
        Ok(refused.code == Some(5) && !refused.output.contains("joined already"))
    })?;
    ensure!(mesh.by("admin", "cert reinstate --node b --yes")?.code == Some(0));
    let joined = ended(&mut join(&mesh, "b"))?;
    ensure!(joined.code == Some(0) && joined.output.contains("node/b joined\n"), "{}", joined.complaint);
    Ok(())
}

/// Where the daemons' user may make no others.
#[test]
fn shared_credentials_are_said_to_be_known_until_they_are_others() -> Result<()> {
    let server = RedisServer::start(&[])?;
    for password in ["one", "two"] {
        let user = ["ACL", "SETUSER", "mesh", "on", &format!(">{password}"), "~*", "&*", "+@all", "-acl"];
        server.cli::<String>(&user)?;
    }
    let url = |password: &str| format!("redis://mesh:{password}@{}", server.address());
    let mesh = Secured::start("a", "127.0.0.2:0", &[&TLS[..], &["--store", &url("one")]].concat())?;
    let b = both(&mesh)?;
    drop(b);
    let revoked = mesh.by("admin", "mesh revoke b --yes")?;
    ensure!(revoked.output.contains("change those now"), "{} {}", revoked.output, revoked.complaint);
    let check = |mesh: &Secured| mesh.by("admin", "mesh check --category identity");
    until("it is said", || Ok(check(&mesh)?.output.contains("knows the credentials")))?;
    ensure!(check(&mesh)?.code == Some(10), "{:?}", check(&mesh)?.code);
    let Secured { mut place, daemon, folder } = mesh;
    daemon.kill()?;
    let argument = place.arguments.iter_mut().find(|argument| **argument == url("one"));
    *argument.context("no store")? = url("two");
    let mesh = Secured { daemon: place.start()?, place, folder };
    until("they are others", || Ok(!check(&mesh)?.output.contains("knows the credentials")))
}

/// How soon a mesh is well again after a restart of its Redis.
const WELL_WITHIN: Duration = Duration::from_secs(10);

/// The nodes that live, as `a` has them.
fn living(mesh: &Secured) -> Result<String> {
    Ok(mesh.by("admin", "mesh peers list --filter status=alive -o name")?.output)
}

/// The server has no file of users, and so forgets those of the nodes.
#[test]
fn a_restart_of_redis_locks_out_nobody_who_joined() -> Result<()> {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])?;
    let mesh = first(&server)?;
    let made = mesh.by("admin", "token create --out token --uses 2")?;
    ensure!(made.code == Some(0) && made.complaint.contains("set aclfile"), "{}", made.complaint);
    let port = mesh.daemon.control.rsplit_once(':').context("no port")?.1.to_owned();
    let mut daemons = Vec::new();
    for (node, host) in [("b", "127.0.0.3"), ("c", "127.0.0.4")] {
        let joined = ended(&mut join(&mesh, node))?;
        ensure!(joined.code == Some(0) && joined.complaint.contains("set aclfile"), "{}", joined.complaint);
        daemons.push(Joined::start(&mesh, node, &format!("{host}:{port}"), &[])?);
    }
    until("all live", || Ok(living(&mesh)? == "peer/a\npeer/b\npeer/c\n"))?;
    let users = |server: &RedisServer| -> Result<Vec<String>> {
        let users = server.cli::<Vec<String>>(&["ACL", "USERS"])?;
        Ok(users.into_iter().filter(|user| user != "default").collect())
    };
    ensure!(users(&server)? == ["omnirelay_default_b", "omnirelay_default_c"], "{:?}", users(&server)?);
    let check = mesh.by("admin", "mesh check --category registry")?;
    ensure!(check.output.contains("users are not kept"), "{}", check.output);
    // One that is put out is not made anew.
    ensure!(mesh.by("admin", "mesh revoke c --yes")?.code == Some(0));
    server.kill()?;
    server.restart()?;
    let begun = Instant::now();
    until("b lives again", || {
        Ok(users(&server)? == ["omnirelay_default_b"] && living(&mesh)? == "peer/a\npeer/b\n")
    })?;
    println!("well again after {:.1} s", begun.elapsed().as_secs_f64());
    ensure!(begun.elapsed() < WELL_WITHIN, "after {:?}", begun.elapsed());
    let made = mesh.place.log();
    ensure!(made.contains("user of the store made anew"), "{made}");
    Ok(())
}

/// A server with a file of users is asked to keep them in it, and nothing is warned of.
#[test]
fn a_server_with_a_file_of_users_keeps_those_of_the_nodes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("users.acl"), "user default on nopass ~* &* +@all\n")?;
    let file = folder.path().join("users.acl");
    let server = RedisServer::start_in(folder, &["--aclfile", &file.display().to_string()])?;
    let mesh = first(&server)?;
    let made = mesh.by("admin", "token create --out token")?;
    ensure!(made.code == Some(0) && !made.complaint.contains("aclfile"), "{}", made.complaint);
    let joined = ended(&mut join(&mesh, "b"))?;
    ensure!(joined.code == Some(0) && !joined.complaint.contains("aclfile"), "{}", joined.complaint);
    ensure!(std::fs::read_to_string(file)?.contains("user omnirelay_default_b "), "it is not kept");
    Ok(())
}

/// A mesh in another database than the first.
#[test]
fn a_host_that_joins_reaches_the_database_of_the_mesh() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let store = format!("{}/5", server.url());
    let mesh = Secured::start("a", "127.0.0.2:0", &[&TLS[..], &["--store", &store]].concat())?;
    let _b = both(&mesh)?;
    Ok(())
}

/// The daemon's own user may make no others: a host is refused before its use of the token is counted.
#[test]
fn a_join_that_cannot_be_given_the_store_costs_no_use_of_the_token() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let own = "omnirelay_default_a";
    server.cli::<String>(&["ACL", "SETUSER", own, "on", ">own", "~*", "&*", "+@all", "-acl"])?;
    let store = format!("redis://{own}:own@{}", server.address());
    let mesh = Secured::start("a", "127.0.0.2:0", &[&TLS[..], &["--store", &store]].concat())?;
    token(&mesh, "")?;
    let refused = ended(&mut join(&mesh, "b"))?;
    ensure!(refused.code == Some(4) && refused.complaint.contains("+acl|setuser"), "{}", refused.complaint);
    let tokens = mesh.by("admin", "token list -o json")?.output;
    let tokens: serde_json::Value = serde_json::from_str(&tokens)?;
    ensure!(tokens["tokens"][0]["usedBy"].as_array().is_none_or(Vec::is_empty), "{tokens}");
    let nodes = mesh.by("admin", "cert list --kind node -o name")?.output;
    ensure!(nodes.lines().count() == 1, "{nodes}");
    Ok(())
}

/// Many hosts at once, each a process of its own, and one token for one of them.
#[test]
fn of_many_hosts_with_one_token_one_joins() -> Result<()> {
    const HOSTS: usize = 40;
    let server = RedisServer::start(&[])?;
    let mesh = first(&server)?;
    token(&mesh, "")?;
    let children: Result<Vec<Child>> = (0..HOSTS)
        .map(|number| {
            let mut join = join(&mesh, &format!("n{number}"));
            Ok(join.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
        })
        .collect();
    let mut joined = 0;
    for child in children? {
        let output = child.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => joined += 1,
            code => ensure!(
                code == Some(5) && complaint.contains("as often as it may be"),
                "{code:?}: {complaint}"
            ),
        }
    }
    ensure!(joined == 1, "{joined} hosts joined");
    let nodes = mesh.by("admin", "cert list --kind node -o name")?.output;
    ensure!(nodes.lines().count() == 2, "{nodes}");
    Ok(())
}

#[test]
fn a_server_of_another_mesh_is_told_nothing() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = first(&server)?;
    token(&mesh, "")?;
    let elsewhere = RedisServer::start(&[])?;
    let other = first(&elsewhere)?;
    let line =
        format!("mesh join --server {} --token-file token --node-id b --data-dir b", other.daemon.control);
    let refused = ended(&mut command(&line, mesh.folder.path()))?;
    ensure!(refused.complaint.contains("its authority is another"), "{}", refused.complaint);
    ensure!(!other.place.log().contains("join"), "{}", other.place.log());
    Ok(())
}

/// Who has signed the certificates of the store's servers comes with what the host is configured with.
#[test]
fn a_host_that_joins_believes_the_servers_of_the_store() -> Result<()> {
    let authority = Authority::new()?;
    let server = authority.server(tempfile::tempdir()?, &[])?;
    let (cert, key) = authority.client();
    let shown = [("store.tls.cert", cert), ("store.tls.key", key)];
    let shown = shown.map(|(name, path)| format!("{name}={}", path.display()));
    let ca = format!("store.tls.ca={}", authority.ca().display());
    let store = format!("rediss://127.0.0.1:{}", server.tls_port());
    let own = ["--store", &store, "--set", &ca, "--set", &shown[0], "--set", &shown[1]];
    let mesh = Secured::start("a", "127.0.0.2:0", &[&TLS[..], &own].concat())?;
    token(&mesh, " --node b")?;
    let joined = ended(&mut join(&mesh, "b"))?;
    ensure!(joined.code == Some(0) && joined.complaint.contains("store.tls.cert"), "{}", joined.complaint);
    let given = std::fs::read(mesh.path("b/store-ca.pem"))?;
    ensure!(given == std::fs::read(authority.ca())?, "b believes somebody else");
    let listen = format!("127.0.0.3:{}", mesh.daemon.control.rsplit_once(':').context("no port")?.1);
    let _b = Joined::start(&mesh, "b", &listen, &["--set", &shown[0], "--set", &shown[1]])?;
    until("both live", || Ok(mesh.by("admin", "mesh peers list -o name")?.output == "peer/a\npeer/b\n"))
}
