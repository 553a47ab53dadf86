//! A runtime of the smallest kind, for functions of `provided.al2023`: the Runtime API over one connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::Context;

/// Answers every invocation with its event, for ever.
pub fn serve() -> anyhow::Result<()> {
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API").context("inside a function only")?;
    let mut connection = BufReader::new(TcpStream::connect(&address)?);
    connection.get_ref().set_nodelay(true)?;
    loop {
        let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {address}\r\n\r\n");
        connection.get_mut().write_all(next.as_bytes())?;
        let (id, event) = answer(&mut connection)?;
        let mut response = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n",
            event.len()
        )
        .into_bytes();
        response.extend_from_slice(&event);
        connection.get_mut().write_all(&response)?;
        answer(&mut connection)?;
    }
}

/// Reads an answer: the request id in it, if there is one, and the body.
fn answer(connection: &mut BufReader<TcpStream>) -> anyhow::Result<(String, Vec<u8>)> {
    let (mut id, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        anyhow::ensure!(connection.read_line(&mut line)? > 0, "the Runtime API has gone");
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("lambda-runtime-aws-request-id") => {
                value.clone_into(&mut id);
            }
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse()?,
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((id, body))
}
