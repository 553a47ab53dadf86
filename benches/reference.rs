//! The bare durable reference: HTTP in, one row a request, grouped commits at `synchronous=FULL`, HTTP out. No
//! signature, no JSON, no validation, no digest: what is left is what the machine charges for durability.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rusqlite::Connection;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::durability::Reading;

type Waiting = (Bytes, oneshot::Sender<()>);

/// What `/metrics` tells.
#[derive(Debug)]
struct Told {
    commits: AtomicU64,
    synchronous: String,
}

/// Serves on `listener` until the process ends, committing into `directory`.
pub async fn serve(listener: TcpListener, directory: &Path) -> anyhow::Result<()> {
    let connection = Connection::open(directory.join("reference.sqlite"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection
        .execute_batch("create table if not exists body (seq integer primary key, bytes blob not null)")?;
    let (queue, waiting) = sync_channel::<Waiting>(4096);
    let level: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    let synchronous = if level == 2 { "FULL".to_owned() } else { level.to_string() };
    let told = Arc::new(Told { commits: AtomicU64::new(0), synchronous });
    let counted = told.clone();
    std::thread::spawn(move || commit_groups(connection, &waiting, &counted.commits));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (queue, told) = (queue.clone(), told.clone());
        let service = service_fn(move |request| answer(request, queue.clone(), told.clone()));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(
    request: Request<Incoming>,
    queue: SyncSender<Waiting>,
    told: Arc<Told>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let refused = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Ok(response)
    };
    if *request.method() == Method::GET {
        let commits = told.commits.load(Ordering::Relaxed);
        let page = Reading { commits, synchronous: told.synchronous.clone(), commit_log: None }.page();
        return Ok(Response::new(Full::from(page)));
    }
    let Ok(body) = request.into_body().collect().await else { return refused(StatusCode::BAD_REQUEST) };
    let (done, committed) = oneshot::channel();
    if queue.try_send((body.to_bytes(), done)).is_err() || committed.await.is_err() {
        return refused(StatusCode::SERVICE_UNAVAILABLE);
    }
    Ok(Response::new(Full::from("{}")))
}

/// Commits what waits, then answers it; a group forms while the one before is being written.
fn commit_groups(mut connection: Connection, waiting: &Receiver<Waiting>, commits: &AtomicU64) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        group.extend(waiting.try_iter().take(511));
        if let Err(error) = commit(&mut connection, &group) {
            eprintln!("the reference cannot commit: {error}");
            return;
        }
        commits.fetch_add(1, Ordering::Relaxed);
        for (_, done) in group {
            // A client that left needs no answer.
            let _ = done.send(());
        }
    }
}

fn commit(connection: &mut Connection, group: &[Waiting]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare_cached("insert into body (bytes) values (?1)")?;
        for (body, _) in group {
            insert.execute([body.as_ref()])?;
        }
    }
    transaction.commit()
}
