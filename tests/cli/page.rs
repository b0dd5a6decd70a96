//! The page: in Chromium before a mesh that runs, and its proxy attacked by hand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::mesh::Mesh;
use crate::process::program;
use crate::program::signal;

/// A page that `omnirelay ui` serves.
struct ServedPage {
    child: Child,
    /// With its code.
    address: String,
}

impl ServedPage {
    fn start(mesh: &Mesh, flags: &str) -> Result<Self> {
        let mut page = Self { child: mesh.program.start(&format!("ui {flags}")), address: String::new() };
        let mut address = String::new();
        BufReader::new(page.child.stdout.as_mut().context("no output")?).read_line(&mut address)?;
        ensure!(address.contains("/ui/#code="), "{address}");
        page.address = address.trim().to_owned();
        Ok(page)
    }

    /// `host:port`
    fn host(&self) -> &str {
        self.address.trim_start_matches("http://").split('/').next().unwrap_or_default()
    }

    fn code(&self) -> &str {
        self.address.split("code=").nth(1).unwrap_or_default()
    }

    /// What comes back for this request, whose lines are ended here.
    fn asked(&self, lines: &[&str]) -> Result<String> {
        raw(self.host(), lines)
    }

    /// What comes back for a path, by these headers.
    fn get(&self, path: &str, headers: &[&str]) -> Result<String> {
        let (first, host) = (format!("GET {path} HTTP/1.1"), format!("Host: {}", self.host()));
        self.asked(&[&[first.as_str(), host.as_str()], headers].concat())
    }

    /// A token for its code.
    fn token(&self) -> Result<String> {
        let answer = self.get("/ui/session", &[&format!("omnirelay-ui-code: {}", self.code())])?;
        let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap_or_default())
            .with_context(|| answer.clone())?;
        Ok(format!("Authorization: Bearer {}", body["token"].as_str().context("no token")?))
    }
}

impl Drop for ServedPage {
    fn drop(&mut self) {
        signal(&self.child, Signal::TERM);
        let _ = self.child.wait();
    }
}

fn raw(host: &str, lines: &[&str]) -> Result<String> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

/// A mesh with something on every view.
fn busy_mesh() -> Mesh {
    let mesh = Mesh::up_with("--service relay --service registry");
    for line in [
        "mesh namespaces create orders --shards 64 --self-approval --reason test",
        "mesh leaders create jobs/nightly",
        "registers create orders --node node-1 --advertise",
        "registers create invoices --node node-2 --advertise",
    ] {
        mesh.done(line);
    }
    mesh
}

/// The folder of the browser's tests, once their packages are there.
fn browser_tests() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let (installed, locked) =
        (folder.join("node_modules/.package-lock.json"), folder.join("package-lock.json"));
    let made = |path: &Path| std::fs::metadata(path).and_then(|known| known.modified()).ok();
    if made(&installed).is_none_or(|there| made(&locked).is_some_and(|locked| there < locked)) {
        let output = Command::new("npm").args(["ci", "--no-progress"]).current_dir(&folder).output();
        let output = output.context("npm of Debian's package npm; scripts/packages installs it")?;
        ensure!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(folder)
}

/// Runs these tests of the browser before a page, if they are before one, and returns what they say; `at_least` so many have to pass, and none may be left out.
fn run_in_chromium(mesh: &Mesh, page: Option<&str>, files: &[&str], at_least: usize) -> Result<String> {
    let folder = browser_tests()?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-concurrency=1", "--test-reporter=tap"]).args(files).current_dir(&folder);
    mesh.program.clean(&mut node);
    node.env("OMNIRELAY_BIN", program("omnirelay"));
    if let Some(page) = page {
        node.env("OMNIRELAY_PAGE", page);
    }
    for kept in ["PATH", "OMNIRELAY_PICTURES", "CHROMIUM", "OMNIRELAY_PAGE_EVENTS", "OMNIRELAY_PAGE_CHANGES"]
    {
        if let Some(value) = std::env::var_os(kept) {
            node.env(kept, value);
        }
    }
    let output = node.stdin(Stdio::null()).output().context("node of Debian's package nodejs")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let counted = |what: &str| {
        let line = said.lines().rev().find_map(|line| line.strip_prefix(&format!("# {what} ")));
        line.and_then(|count| count.trim().parse::<usize>().ok())
    };
    ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(counted("pass").is_some_and(|passed| passed >= at_least), "too few tests ran: {said}");
    ensure!(counted("skipped") == Some(0) && counted("todo") == Some(0), "tests were left out: {said}");
    Ok(said.into_owned())
}

#[test]
fn the_page_shows_a_mesh_in_chromium() -> Result<()> {
    let mesh = busy_mesh();
    let page = ServedPage::start(&mesh, "")?;
    println!("{}", run_in_chromium(&mesh, Some(&page.address), &["files.test.mjs", "mesh.test.mjs"], 17)?);
    Ok(())
}

/// Thousands of peers, ten thousand shards, a thousand changes a second, proxies that cut, other origins: before a stand-in for the daemon.
#[test]
#[ignore = "two minutes: scripts/nightly page"]
fn the_page_bears_what_no_mesh_of_a_test_has() -> Result<()> {
    let mesh = Mesh::up();
    println!("{}", run_in_chromium(&mesh, None, &["stub.test.mjs"], 25)?);
    Ok(())
}

#[test]
fn nobody_gets_anything_by_the_proxy_who_was_not_given_its_address() -> Result<()> {
    let mesh = Mesh::up();
    let page = ServedPage::start(&mesh, "")?;
    let host = page.host().to_owned();
    let frame = page.get("/ui/", &[])?;
    ensure!(status(&frame) == "200" && frame.contains("<!doctype html>"), "{frame}");
    ensure!(frame.to_ascii_lowercase().contains("content-security-policy: default-src 'none'"), "{frame}");
    // Without a token, with a wrong one, or with a code that is none.
    for headers in [&[][..], &["Authorization: Bearer x"], &["omnirelay-ui-code: x"]] {
        ensure!(status(&page.get("/control/peers", headers)?) == "401", "{headers:?}");
    }
    ensure!(status(&page.get("/ui/session", &["omnirelay-ui-code: x"])?) == "401");
    let proof = page.token()?;
    let again = page.get("/ui/session", &[&format!("omnirelay-ui-code: {}", page.code())])?;
    ensure!(status(&again) == "401", "a code is good once: {again}");
    let peers = page.get("/control/peers", &[&proof])?;
    ensure!(status(&peers) == "200" && peers.contains("node-3"), "{peers}");
    ensure!(!peers.to_ascii_lowercase().contains("access-control-allow"), "{peers}");
    // By another name, from another page or port, with another verb, or to somewhere else.
    let port = host.rsplit(':').next().context("port")?.to_owned();
    for (lines, wanted) in [
        (vec!["GET /control/peers HTTP/1.1".to_owned(), "Host: evil.example".to_owned()], "403"),
        (vec!["GET /control/peers HTTP/1.1".to_owned(), format!("Host: evil.example:{port}")], "403"),
        (vec!["GET /control/peers HTTP/1.1".to_owned(), "Host: 127.0.0.1:1".to_owned()], "403"),
        (vec!["GET /ui/ HTTP/1.1".to_owned(), "Host: evil.example".to_owned()], "403"),
        (vec![format!("GET http://{host}/control/peers HTTP/1.1"), format!("Host: {host}")], "403"),
        (vec!["POST /control/peers/node-1:cordon HTTP/1.1".to_owned(), format!("Host: {host}")], "405"),
        (vec!["DELETE /control/peers/node-1 HTTP/1.1".to_owned(), format!("Host: {host}")], "405"),
        (vec!["GET /metrics HTTP/1.1".to_owned(), format!("Host: {host}")], "404"),
        (vec!["GET /ui/../control/peers HTTP/1.1".to_owned(), format!("Host: {host}")], "404"),
        (vec!["GET /control/../metrics HTTP/1.1".to_owned(), format!("Host: {host}")], "404"),
        (vec!["GET /control/%2E%2e/metrics HTTP/1.1".to_owned(), format!("Host: {host}")], "404"),
        (vec!["GET /control/..%2fmetrics HTTP/1.1".to_owned(), format!("Host: {host}")], "404"),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).chain([proof.as_str()]).collect();
        let answer = page.asked(&lines)?;
        ensure!(status(&answer) == wanted, "{lines:?}: {answer}");
    }
    for headers in [
        ["Origin: http://localhost:1", "x: y"],
        ["Origin: null", "x: y"],
        ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors"],
        ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"],
    ] {
        let answer = page.get("/control/peers", &[headers[0], headers[1], &proof])?;
        ensure!(status(&answer) == "403", "{headers:?}: {answer}");
    }
    let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
    ensure!(status(&page.get("/ui/", &link)?) == "200", "a link opens the frame");
    ensure!(status(&page.get("/control/peers", &[link[0], link[1], link[2], &proof])?) == "403");
    Ok(())
}

#[test]
fn every_daemon_serves_the_page_and_a_bundle_is_shown_without_one() -> Result<()> {
    let mesh = Mesh::up();
    let address = mesh.program.run("context current -o json").json()["address"].as_str().unwrap().to_owned();
    let host = address.trim_start_matches("http://").to_owned();
    let named = format!("Host: {host}");
    let at = |path: &str, more: &[&str]| {
        let first = format!("GET {path} HTTP/1.1");
        raw(&host, &[&[first.as_str(), named.as_str()], more].concat())
    };
    let below = at("/ui", &[])?;
    ensure!(status(&below) == "308" && below.contains("location: ui/"), "{below}");
    ensure!(at("/ui/", &[])?.contains("<!doctype html>"));
    ensure!(status(&at("/ui/nothing.js", &[])?) == "404");
    let script = at("/ui/main.js", &["Accept-Encoding: gzip"])?;
    ensure!(status(&script) == "200" && script.contains("content-encoding: gzip"), "{script}");
    let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
    ensure!(status(&at("/ui/", &link)?) == "200" && status(&at("/control/peers", &link)?) == "403");
    let bundle = mesh.program.home.path().join("mesh.tar.gz");
    let made = mesh.program.run(&format!("support bundle {} --all-nodes --yes", bundle.display()));
    assert_eq!(made.code, 0, "{made:?}");
    let page = ServedPage::start(&mesh, &format!("--support-bundle {}", bundle.display()))?;
    let proof = page.token()?;
    let peers = page.get("/control/peers", &[&proof])?;
    ensure!(status(&peers) == "200" && peers.contains("node-3"), "{peers}");
    let stream = page.get("/control/events", &[&proof, "Accept: text/event-stream"])?;
    ensure!(!status(&stream).starts_with('2'), "a bundle tells of nothing that comes: {stream}");
    Ok(())
}

/// A reverse proxy of nginx, with the daemon below a path.
struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Nginx {
    fn start(daemon: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let at = folder.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};"))
            .concat();
        let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guides/page.md"))?;
        let location = guide.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next());
        let location = location.context("the guide shows no location")?.replace("127.0.0.1:17420", daemon);
        let config = format!(
            "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\nevents {{}}\nhttp {{ access_log off; {temporary}\nserver {{ listen 127.0.0.1:{port};\n{location}}} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), config)?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-e").arg(folder.path().join("error.log")).arg("-c").arg(folder.path().join("nginx.conf"));
        let child =
            nginx.spawn().context("nginx of Debian's package nginx-light; scripts/packages installs it")?;
        let nginx = Self { child, folder, port };
        let begun = std::time::Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(nginx.folder.path().join("error.log")).unwrap_or_default();
            ensure!(begun.elapsed() < Duration::from_secs(20), "nginx does not listen: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        signal(&self.child, Signal::TERM);
        let _ = self.child.wait();
    }
}

/// All that the page does before a real mesh, below a path of nginx, by the lines of the guide.
#[test]
#[ignore = "half a minute: scripts/nightly page"]
fn the_page_works_behind_nginx() -> Result<()> {
    let mesh = busy_mesh();
    let address = mesh.program.run("context current -o json").json()["address"].as_str().unwrap().to_owned();
    let nginx = Nginx::start(address.trim_start_matches("http://"))?;
    let page = format!("http://127.0.0.1:{}/mesh/ui/", nginx.port);
    println!("{}", run_in_chromium(&mesh, Some(&page), &["mesh.test.mjs"], 9)?);
    Ok(())
}
