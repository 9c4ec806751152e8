//! `view`: a recording's report, served to a browser on this machine and to nobody else.
//!
//! Design constraints: other users of the machine, and pages of other sites in the same browser, can reach the port too. So the
//! page lies under a name that nobody can guess, and a request that names another host is refused: a site cannot make its
//! own name point here (DNS rebinding).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;

use super::export::ViewArgs;
use super::failure::{Exit, Failure};
use super::open::Context;
use super::report::{self, Report};

/// A request may be so long.
const MAX_REQUEST: usize = 8 * 1024;
/// So many requests are answered at once.
const MAX_CONNECTIONS: usize = 16;
/// Who says nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of chance in the page's name.
const TOKEN: usize = 16;

/// `view`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// The recording.
    #[arg(value_name = "FILE.pit")]
    pub file: std::path::PathBuf,
    /// Open it in speedscope, if that is installed here.
    #[arg(long, conflicts_with = "firefox")]
    pub speedscope: bool,
    /// Say how to open it in the Firefox Profiler, which cannot be had locally.
    #[arg(long)]
    pub firefox: bool,
    /// How to look at it; without any of these, as was asked for when it was recorded.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// A page, and where it is served.
struct Served {
    page: Vec<u8>,
    path: String,
    hosts: [String; 2],
}

/// Serves the report until it is interrupted, or hands the recording to another viewer.
pub fn view(context: &Context, args: &Show) -> anyhow::Result<Exit> {
    let file = args.file.display();
    if args.firefox {
        return Err(Failure::new(Exit::Failed, "the Firefox Profiler cannot be had locally")
            .hint(format!(
                "pitviper export {file} -o profile.firefox.json, then load that file at https://profiler.firefox.com: it stays in the browser"
            ))
            .into());
    }
    if args.speedscope {
        return speedscope(context, args);
    }
    let report = Report { file: args.file.clone(), baseline: None, output: None, view: args.view.clone() };
    let page = report::page(context, &report)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let path = format!("/{}/", token()?);
    let url = format!("http://127.0.0.1:{port}{path}");
    let served = Served { page, path, hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")] };
    writeln!(io::stdout().lock(), "{url}")?;
    if !open(&url) {
        context.say("no browser could be started: open that address in one");
    }
    context.say("Ctrl-C ends it");
    serve(&listener, &Arc::new(served));
    Ok(Exit::Done)
}

/// Opens an export in the speedscope that is installed.
fn speedscope(context: &Context, args: &Show) -> anyhow::Result<Exit> {
    let file = args.file.display();
    let missing = || {
        Failure::new(Exit::Failed, "speedscope is not installed here").hint(format!(
            "npm install --global speedscope; or: pitviper export {file} -o profile.speedscope.json, then load that file at https://www.speedscope.app: it stays in the browser"
        ))
    };
    let recording = super::export::open(context, &args.file)?;
    let options = args.view.options_or(&recording)?;
    let export = tempfile::Builder::new().prefix("pitviper-").suffix(".speedscope.json").tempfile()?;
    super::output::plan(&[export.path().to_owned()], Some("speedscope"))?
        .remove(0)
        .write(&recording, &options)?;
    match Command::new("speedscope").arg(export.path()).status() {
        Ok(status) if status.success() => Ok(Exit::Done),
        Ok(status) => Err(Failure::new(Exit::Failed, format!("speedscope ended with {status}")).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing().into()),
        Err(error) => Err(error.into()),
    }
}

/// A name that nobody can guess.
fn token() -> io::Result<String> {
    let mut bytes = [0; TOKEN];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Starts the browser that the user has chosen, or the one that the desktop knows.
fn open(url: &str) -> bool {
    let chosen = std::env::var("BROWSER").ok().filter(|name| !name.is_empty());
    let start = |program: &str| {
        let mut command = Command::new(program);
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().is_ok()
    };
    chosen.as_deref().into_iter().chain(["xdg-open"]).any(start)
}

fn serve(listener: &TcpListener, served: &Arc<Served>) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if open.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (served, open) = (Arc::clone(served), Arc::clone(&open));
        thread::spawn(move || {
            // Who hangs up early missed nothing of ours.
            let _ = answer(stream, &served);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn answer(mut stream: TcpStream, served: &Served) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part)?;
        request.extend_from_slice(part.get(..read).unwrap_or_default());
        if read == 0 || request.len() > MAX_REQUEST {
            return Ok(());
        }
    }
    let (status, page) = match judge(&String::from_utf8_lossy(&request), served) {
        true => ("200 OK", served.page.as_slice()),
        false => ("404 Not Found", &b""[..]),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n",
        page.len()
    )?;
    stream.write_all(page)
}

/// Whether a request may have the page: it knows the name, and came for this host.
fn judge(request: &str, served: &Served) -> bool {
    let mut lines = request.split("\r\n");
    let asked = lines.next().unwrap_or_default();
    let host = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    asked == format!("GET {} HTTP/1.1", served.path)
        && host.is_some_and(|host| served.hosts.iter().any(|own| own == host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, expected: bool) {
        let hosts = ["127.0.0.1:80".to_owned(), "localhost:80".to_owned()];
        let served = Served { page: Vec::new(), path: "/secret/".to_owned(), hosts };
        assert_eq!(judge(request, &served), expected, "{request}");
    }

    #[test]
    fn only_who_knows_the_name_and_asks_this_host_gets_the_page() {
        check("GET /secret/ HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", true);
        check("GET /secret/ HTTP/1.1\r\nAccept: *\r\nhost: localhost:80\r\n\r\n", true);
        check("GET /secret/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", false);
        check("GET /secret/ HTTP/1.1\r\n\r\n", false);
        check("GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", false);
        check("POST /secret/ HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", false);
        check("", false);
    }

    #[test]
    fn two_names_are_not_the_same() {
        assert_ne!(token().unwrap(), token().unwrap());
        assert_eq!(token().unwrap().len(), 2 * TOKEN);
    }
}
