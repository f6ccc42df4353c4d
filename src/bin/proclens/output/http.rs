//! An HTTP server for one page. No request can hold up another one: every connection has a thread and a
//! deadline, and a new connection ends the oldest one where too many are open.

use crate::output::failure::{Failure, Result, reason};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// A request must arrive within this time, and its response be read within this time after it is ready.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest request line with all headers.
const LONGEST_HEAD: usize = 8 << 10;
/// Open connections. One more ends the oldest.
const MOST_CONNECTIONS: usize = 16;
/// Connections with a thread: those that are open, and those that were ended and have not noticed yet.
const MOST_THREADS: usize = 64;

/// A request for the page.
pub struct Request {
    /// The header `Accept`, in lower case.
    pub accept: String,
}

/// The response to a request.
pub struct Response {
    /// 200, or 500 with the reason as text.
    pub status: u16,
    pub content_type: &'static str,
    pub text: String,
}

pub const PLAIN: &str = "text/plain; charset=utf-8";

/// Opens the socket.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => "choose another port with --listen",
            ErrorKind::PermissionDenied => "choose a port above 1023 with --listen",
            _ => "choose an address of this machine with --listen",
        };
        Failure::new(format_args!("{address}: {}", reason(&error)), remedy)
    })
}

/// Serves what `page` returns at `path`, for ever. No request reaches the file system.
pub fn serve(
    listener: &TcpListener,
    path: &'static str,
    page: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> ! {
    let page = Arc::new(page);
    let open = Arc::new(Open::default());
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // No descriptor is left, or the client has gone already.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let connection = Open::add(&open, stream);
        let page = Arc::clone(&page);
        // Without a thread the connection is closed: it is dropped with the closure.
        let _ = thread::Builder::new().spawn(move || {
            // A failure means that the client has gone or is too slow. Only the client suffers.
            let _ = respond(&connection.stream, path, &*page);
        });
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Open {
    streams: Mutex<Vec<Arc<TcpStream>>>,
}

/// A connection in [`Open`]; it is removed when this is dropped.
struct Connection {
    stream: Arc<TcpStream>,
    open: Arc<Open>,
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<TcpStream>>> {
        self.streams
            .lock()
            .unwrap_or_else(|error| error.into_inner())
    }

    fn add(open: &Arc<Open>, stream: TcpStream) -> Connection {
        let stream = Arc::new(stream);
        let mut streams = open.lock();
        // Most of them were ended: their threads notice it at once, or after the reading they wait for.
        while streams.len() >= MOST_THREADS {
            drop(streams);
            thread::sleep(Duration::from_millis(5));
            streams = open.lock();
        }
        if let Some(oldest) = streams.len().checked_sub(MOST_CONNECTIONS) {
            // The thread of that connection fails at its next read or write, and removes it.
            let _ = streams[oldest].shutdown(Shutdown::Both);
        }
        streams.push(Arc::clone(&stream));
        drop(streams);
        Connection {
            stream,
            open: Arc::clone(open),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open
            .lock()
            .retain(|stream| !Arc::ptr_eq(stream, &self.stream));
    }
}

fn respond(stream: &TcpStream, path: &str, page: &impl Fn(&Request) -> Response) -> io::Result<()> {
    let stream = &mut Timed {
        stream,
        end: Instant::now() + DEADLINE,
    };
    let plain = |status, text: &str| Response {
        status,
        content_type: PLAIN,
        text: text.to_owned(),
    };
    let (mut head_only, mut with_body) = (false, false);
    let response = match read_head(stream)? {
        Head::Broken => plain(400, "this is no HTTP request\n"),
        Head::TooLong => plain(431, "the request is too long\n"),
        Head::Complete {
            method,
            target,
            accept,
            body,
        } => {
            (head_only, with_body) = (method == "HEAD", body);
            match method.as_str() {
                "GET" | "HEAD" if path_of(&target) == path => page(&Request { accept }),
                "GET" | "HEAD" => plain(404, &format!("the page is {path}\n")),
                _ => plain(405, "GET only\n"),
            }
        }
    };
    let reason = match response.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    };
    let allow = if response.status == 405 {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let mut text = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        response.status,
        response.content_type,
        response.text.len()
    );
    if !head_only {
        text.push_str(&response.text);
    }
    stream.end = Instant::now() + DEADLINE;
    stream.write_all(text.as_bytes())?;
    stream.stream.shutdown(Shutdown::Write)?;
    if with_body || response.status != 200 {
        // A close before the client's last byte is read would discard the response before the client reads it.
        stream.end = stream.end.min(Instant::now() + Duration::from_secs(1));
        io::copy(&mut stream.take(1 << 20), &mut io::sink())?;
    }
    Ok(())
}

/// The path of a request's target: `/metrics?x=1`, or the same after `http://host`, which RFC 9112 lets any
/// client send and demands that a server accept.
fn path_of(target: &str) -> &str {
    let path = match target.split_at_checked("http://".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => {
            rest.find('/').map_or("", |start| &rest[start..])
        }
        _ => target,
    };
    path.split('?').next().unwrap_or_default()
}

/// The beginning of a request.
enum Head {
    Complete {
        method: String,
        target: String,
        accept: String,
        /// More follows.
        body: bool,
    },
    TooLong,
    Broken,
}

fn read_head(stream: &mut impl Read) -> io::Result<Head> {
    let mut text = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&chunk[..length]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&text) {
            Ok(httparse::Status::Complete(end)) => {
                let accept = request.headers.iter();
                let accept = accept
                    .filter(|header| header.name.eq_ignore_ascii_case("accept"))
                    .map(|header| String::from_utf8_lossy(header.value).to_lowercase())
                    .collect::<Vec<_>>()
                    .join(",");
                let body = request.headers.iter().any(|header| {
                    let name = header.name.to_ascii_lowercase();
                    name == "content-length" || name == "transfer-encoding"
                });
                return Ok(Head::Complete {
                    method: request.method.unwrap_or_default().to_owned(),
                    target: request.path.unwrap_or_default().to_owned(),
                    accept,
                    body: body || text.len() > end,
                });
            }
            Ok(httparse::Status::Partial) if text.len() >= LONGEST_HEAD => {
                return Ok(Head::TooLong);
            }
            Ok(httparse::Status::Partial) => {}
            Err(httparse::Error::TooManyHeaders) => return Ok(Head::TooLong),
            Err(_) => return Ok(Head::Broken),
        }
    }
}

/// A connection on which nothing takes longer than until `end`.
struct Timed<'s> {
    stream: &'s TcpStream,
    end: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        (&mut &*self.stream).read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        (&mut &*self.stream).write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &[u8]) -> Head {
        read_head(&mut io::Cursor::new(text)).unwrap()
    }

    #[test]
    fn targets() {
        for target in [
            "/metrics",
            "/metrics?x=1",
            "http://h:1/metrics",
            "HTTP://h/metrics?x",
        ] {
            assert_eq!(path_of(target), "/metrics", "{target}");
        }
        for target in ["*", "http://h", "http://h/x/metrics", "ftp://h/metrics"] {
            assert_ne!(path_of(target), "/metrics", "{target}");
        }
    }

    #[test]
    fn heads() {
        let Head::Complete {
            method,
            target,
            accept,
            body,
        } = head(b"GET /metrics HTTP/1.1\r\nHost: x\r\nACCEPT: Text/Plain\r\naccept: */*\r\n\r\n")
        else {
            panic!("not complete");
        };
        assert_eq!((method.as_str(), target.as_str()), ("GET", "/metrics"));
        assert_eq!(accept, "text/plain,*/*");
        assert!(!body);
        assert!(matches!(head(b"\x16\x03\x01\x02\0\x01"), Head::Broken));
        let long = [b"GET /".as_slice(), &[b'a'; 2 * LONGEST_HEAD]].concat();
        assert!(matches!(head(&long), Head::TooLong));
        let many = [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(65)].concat();
        assert!(matches!(head(&many), Head::TooLong));
        assert!(read_head(&mut io::Cursor::new(b"GET / HTTP/1.1\r\n")).is_err());
    }
}
