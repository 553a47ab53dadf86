//! TLS on the public listeners, and who may do without.

use std::path::Path;
use std::sync::Arc;

use lambfold_api::authorize::AllowAll;
use lambfold_api::transport::{ClientTls, Identity, ServerTls};
use lambfold_gateway::{Options, PlainFrom, Tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::start_with;

/// A certificate for `localhost` that is its own authority.
fn certificate(directory: &Path) -> Identity {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let identity = Identity { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
    std::fs::write(&identity.certificate, made.cert.pem()).unwrap();
    std::fs::write(&identity.key, made.signing_key.serialize_pem()).unwrap();
    identity
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let body = r#"{"QueueName":"jobs"}"#;
    let head = "POST / HTTP/1.1\r\nHost: lambfold.example:4566\r\nConnection: close\r\n\
         Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.CreateQueue\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that is done closes; whether it says goodbye in TLS, too, is its affair.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn tls_is_spoken_and_plain_speech_is_taken_from_whom_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let identity = certificate(directory.path());
    let client = ClientTls::load(&identity.certificate, None, &["http/1.1"]).unwrap();
    for (plain, taken) in
        [(PlainFrom::Nobody, false), (PlainFrom::Loopback, true), (PlainFrom::Everybody, true)]
    {
        let server = ServerTls::load(&identity, None, &["h2", "http/1.1"]).unwrap();
        let options = Options { tls: Some(Tls { server, plain }), ..Options::default() };
        let edge = start_with(options, Arc::new(AllowAll)).await;
        let open = async || TcpStream::connect(edge.http).await.unwrap();

        let answer = ask(client.connect("localhost", open().await).await.unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("https://lambfold.example:4566/"), "a queue URL that leads back: {answer}");
        assert!(client.connect("elsewhere.example", open().await).await.is_err(), "the name is checked");

        let answer = ask(open().await).await;
        if taken {
            assert!(answer.contains("http://lambfold.example:4566/"), "{answer}");
        } else {
            assert!(
                answer.starts_with("HTTP/1.1 400 Bad Request") && answer.contains("https://"),
                "{answer}"
            );
        }
        // Neither the one nor the other hurts who comes next.
        open().await.write_all(&[0x16, 0xff, 0xff]).await.unwrap();
        let answer = ask(client.connect("localhost", open().await).await.unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        edge.stop.cancel();
        edge.running.await.unwrap();
    }
}
