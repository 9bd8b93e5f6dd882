//! The page in the browser: the picture with its boxes, what the models say, how the pipeline does.
//!
//! Browsers ask for the frame after the one they have, and get the newest when there is one. So a
//! browser that is slow gets fewer frames, and one that stops reading none: nothing is made for it
//! and nothing waits. For other programs there is a motion JPEG stream as well.
//!
//! A page of another site must not see what the camera sees. Where the server is bound to the
//! loopback interface it answers only to names of this machine, so that no name that an attacker
//! points here reaches it; changes are taken from its own page alone; and no answer may be embedded
//! elsewhere.

mod packet;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bunjae_data::{Channels, Picture};
use futures_util::stream::unfold;
use thiserror::Error;
use tokio::sync::watch;

use crate::control::Control;
use crate::frame::{ModelName, Seen};
use crate::overlay::draw;
use crate::sink::Sink;
use packet::{Described, Packet};

/// The page itself, with its style and its program.
const HTML: &str = include_str!("page.html");

/// How long a browser is left without an answer where there is no new frame.
const WAIT: Duration = Duration::from_secs(10);

/// A browser that has not asked for so long has gone.
const INTEREST: Duration = Duration::from_secs(2);

/// The quality of the picture on the page, of 100.
const QUALITY: u8 = 80;

/// More streams and waiting browsers at a time are sent away.
const MOST_CLIENTS: usize = 32;

/// What the system may hold of a stream for a client that reads slowly, in bytes: a frame or two.
const SEND_BUFFER: u32 = 128 << 10;

/// The end of a part of the stream.
const BOUNDARY: &str = "bunjae-frame";

/// Why there is no page.
#[derive(Debug, Error)]
pub enum PageError {
    /// Another program serves there.
    #[error("port {} of {} is in use", .0.port(), .0.ip())]
    InUse(SocketAddr),
    /// The system does not allow it.
    #[error("cannot serve at {at}: {source}")]
    Bind {
        /// Where.
        at: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Serves the page. Frames that it is shown appear there.
pub struct Page {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends the server when it is dropped.
    ends: Option<tokio::sync::oneshot::Sender<()>>,
    server: Option<thread::JoinHandle<()>>,
    drawn: Picture,
}

/// What the answers are made of.
struct Shared {
    control: Control,
    described: Described,
    loopback: bool,
    /// The newest frame, for browsers.
    frames: watch::Sender<Option<Arc<Packet>>>,
    /// The newest frame with boxes drawn in, for streams.
    stream: watch::Sender<Option<Bytes>>,
    clients: AtomicUsize,
    /// When a browser last asked for a frame: where none does, no frame is encoded.
    asked: Mutex<Option<Instant>>,
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a browser has asked lately. Between two frames it is busy showing the first.
    fn is_watched(&self) -> bool {
        let lately = self.asked().is_some_and(|asked| asked.elapsed() < INTEREST);
        lately || self.frames.receiver_count() > 0
    }
}

impl Page {
    /// Starts to serve at an address, port 0 standing for any that is free.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn serve(
        at: SocketAddr,
        control: &Control,
        models: &[Arc<ModelName>],
    ) -> Result<Page, PageError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => PageError::InUse(at),
            _ => PageError::Bind { at, source },
        };
        let listener = TcpListener::bind(at).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // A browser may choose one before the first frame.
        control.set_models(models.len());
        let shared = Arc::new(Shared {
            control: control.clone(),
            described: Described::new(models),
            loopback: address.ip().is_loopback(),
            frames: watch::Sender::new(None),
            stream: watch::Sender::new(None),
            clients: AtomicUsize::new(0),
            asked: Mutex::new(None),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let (ends, ended) = tokio::sync::oneshot::channel();
        let router = router(shared.clone());
        let server = thread::Builder::new().name("page".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let listener = listener.tap_io(|stream| {
                    // Without it the client only is further behind.
                    let _ =
                        socket2::SockRef::from(&*stream).set_send_buffer_size(SEND_BUFFER as usize);
                    let _ = stream.set_nodelay(true);
                });
                tokio::select! {
                    // Only ends with the process.
                    _ = axum::serve(listener, router).into_future() => {}
                    _ = ended => {}
                }
            });
        });
        let server = server.map_err(failed)?;
        let drawn = Picture::filled(1, 1, Channels::Rgb, [0; 3]);
        Ok(Page { address, shared, ends: Some(ends), server: Some(server), drawn })
    }

    /// Where the page is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.ends.take());
        if let Some(server) = self.server.take() {
            // A panic there was reported by the thread itself.
            let _ = server.join();
        }
    }
}

impl Sink for Page {
    fn name(&self) -> String {
        "page".to_owned()
    }

    fn show(&mut self, seen: &Arc<Seen>) -> Result<(), String> {
        let error = |error: io::Error| error.to_string();
        if self.shared.is_watched() {
            let live = self.shared.control.live();
            let packet = Packet::new(seen, &live, QUALITY).map_err(error)?;
            self.shared.frames.send_replace(Some(Arc::new(packet)));
        }
        if self.shared.stream.receiver_count() > 0 {
            draw(seen, &mut self.drawn);
            let part = packet::part(&self.drawn, QUALITY, BOUNDARY).map_err(error)?;
            self.shared.stream.send_replace(Some(part));
        }
        Ok(())
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/about", get(about))
        .route("/frame/{after}", get(frame))
        .route("/stream.mjpg", get(stream))
        .route("/model/{index}", post(model))
        .layer(from_fn_with_state(shared.clone(), guard))
        .with_state(shared)
}

/// Whether a `Host` header names this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.to_ascii_lowercase();
    let number = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    number || name == "localhost" || name.ends_with(".localhost")
}

/// Why a request is not answered, where it should not be.
fn refusal(request: &Request, loopback: bool) -> Option<&'static str> {
    let header = |name: &HeaderName| request.headers().get(name)?.to_str().ok();
    let host = header(&HOST).unwrap_or_default();
    if loopback && !is_local(host) {
        return Some("this page answers to localhost only\n");
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let own = header(&ORIGIN).is_none_or(|origin| origin == format!("http://{host}"));
    (changes && !own).then_some("another page may not change anything here\n")
}

/// Sends away who should not see or change anything, and says what browsers may do with answers.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if let Some(refusal) = refusal(&request, shared.loopback) {
        return (StatusCode::FORBIDDEN, refusal).into_response();
    }
    let mut response = next.run(request).await;
    let policy = "default-src 'none'; img-src blob: 'self'; connect-src 'self'; \
                  script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let own_only = HeaderName::from_static("cross-origin-resource-policy");
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, policy),
        (own_only, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn page() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], HTML)
}

async fn about(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], shared.described.json(&shared.control))
}

/// Counts a client as long as it is there.
struct Client(Arc<Shared>);

impl Client {
    fn new(shared: &Arc<Shared>) -> Option<Client> {
        let before = shared.clients.fetch_add(1, Ordering::Relaxed);
        let client = Client(shared.clone());
        (before < MOST_CLIENTS).then_some(client)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "too many browsers at a time\n").into_response()
}

/// The newest frame after one that the browser has, as soon as there is one.
async fn frame(State(shared): State<Arc<Shared>>, Path(after): Path<i64>) -> Response {
    let Some(_client) = Client::new(&shared) else { return busy() };
    *shared.asked() = Some(Instant::now());
    let mut frames = shared.frames.subscribe();
    let newer = frames.wait_for(|packet| {
        packet.as_ref().is_some_and(|packet| packet.number > after && packet.is_fresh())
    });
    let newer = tokio::time::timeout(WAIT, newer).await;
    *shared.asked() = Some(Instant::now());
    match newer {
        Ok(Ok(packet)) => {
            let Some(packet) = packet.as_ref() else { return no_frame() };
            let age = format!("{:.1}", packet.age().as_secs_f64() * 1e3);
            let headers = [
                (CONTENT_TYPE, "application/octet-stream".to_owned()),
                (HeaderName::from_static("age-ms"), age),
            ];
            (headers, packet.bytes.clone()).into_response()
        }
        _ => no_frame(),
    }
}

fn no_frame() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Motion JPEG without end, the newest frame whenever the client has taken the one before.
async fn stream(State(shared): State<Arc<Shared>>) -> Response {
    let Some(client) = Client::new(&shared) else { return busy() };
    let frames = shared.stream.subscribe();
    let parts = unfold((frames, client), |(mut frames, client)| async move {
        frames.changed().await.ok()?;
        let part = frames.borrow_and_update().clone()?;
        Some((Ok::<_, io::Error>(part), (frames, client)))
    });
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    ([(CONTENT_TYPE, kind)], Body::from_stream(parts)).into_response()
}

/// Chooses a model.
async fn model(State(shared): State<Arc<Shared>>, Path(index): Path<usize>) -> Response {
    match shared.control.select(index) {
        true => StatusCode::NO_CONTENT.into_response(),
        false => (StatusCode::NOT_FOUND, "there is no such model\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:8080",
            "[::1]",
            "a.localhost:1",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "example.com:8080",
            "192.168.0.2:8080",
            "localhost.example.com",
            "[::2]:80",
            "127.0.0.1.example.com",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
