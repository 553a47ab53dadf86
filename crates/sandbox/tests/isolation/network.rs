//! The way from the worker to what listens in a sandbox.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::stage::on_each;

const SERVER: &str = "import socket
server = socket.socket()
server.bind((socket.gethostbyname('localhost'), 0))
server.listen()
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b'inside')
    connection.close()";

#[tokio::test]
async fn the_worker_connects_from_within() {
    on_each(async |stage| {
        let mut running = stage.start(&["/usr/bin/env", "python3", "-c", SERVER]).await;
        let mut output = BufReader::new(running.take_output().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).await.unwrap();
        let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("{:?}: {line}", stage.kind));
        let network = running.network();
        for _ in 0..3 {
            let mut text = String::new();
            network.connect(port).await.unwrap().read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "inside", "{:?}", stage.kind);
        }
        if stage.driver.capabilities().own_network {
            assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "{:?}", stage.kind);
        }
        assert!(network.connect(1).await.is_err());
        running.kill();
        running.wait().await;
        assert!(network.connect(port).await.is_err());
    })
    .await;
}
