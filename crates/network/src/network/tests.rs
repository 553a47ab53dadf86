use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lambfold_clock::{ManualClock, SystemClock, SystemEntropy};
use lambfold_sandbox::RESOLVER_IPV4;
use lambfold_types::{Clock, Timestamp};
use smoltcp::wire::TcpControl;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};
use tokio::sync::mpsc;

use super::{Client, Done, MOST_ASSOCIATIONS, Network, Opened, Server, Shared};
use crate::audit::Audit;
use crate::connections::Connections;
use crate::device::Device;
use crate::egress::{Egress, Parts};
use crate::life::Life;
use crate::names::Names;
use crate::testing::{Peer, datagram, device, ends, own_address, packet, soon};
use crate::{Metrics, Policy, packet as packets};

async fn egress(most: usize, name_servers: Vec<SocketAddr>) -> Egress {
    egress_at(Arc::new(SystemClock::new()), most, name_servers).await
}

async fn egress_at(clock: Arc<dyn Clock>, most: usize, name_servers: Vec<SocketAddr>) -> Egress {
    let parts = Parts {
        policy: Policy::Open,
        protected: Vec::new(),
        name_servers,
        clock,
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::default(),
    };
    let mut egress = Egress::new(parts).await;
    egress.connections = Connections::new(most);
    egress
}

fn client() -> Client {
    Client { function: "f".into(), environment: "e".into() }
}

fn start(egress: &Arc<Egress>) -> (Network, Arc<UnixDatagram>) {
    let (network, device) = device();
    (Network::start(network, Arc::clone(egress), client()), device)
}

#[tokio::test]
async fn a_datagram_to_one_more_takes_the_place_of_the_quietest() {
    let Some(address) = own_address() else { return };
    let echo = UdpSocket::bind((address, 0)).await.unwrap();
    let destination = echo.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = echo.recv_from(&mut buffer).await {
            echo.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    let egress = Arc::new(egress(4096, Vec::new()).await);
    let (_network, sandbox) = start(&egress);
    for number in 0..u16::try_from(MOST_ASSOCIATIONS).unwrap() + 20 {
        let ends = ends(20_000 + number, destination);
        sandbox.send(&packets::datagram(ends.source, ends.destination, b"x")).await.unwrap();
        let answer = packet(&sandbox).await;
        assert_eq!(datagram(&answer), Some((ends.source.port(), b"x".to_vec())), "number {number}");
    }
    soon(async {
        while egress.connections.open() > MOST_ASSOCIATIONS {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_pair_that_was_never_answered_goes_sooner() {
    let Some(address) = own_address() else { return };
    let (talks, silent) =
        (UdpSocket::bind((address, 0)).await.unwrap(), UdpSocket::bind((address, 0)).await.unwrap());
    let clock = ManualClock::at(Timestamp::from_millis(0));
    let egress = Arc::new(egress_at(Arc::new(clock.clone()), 4096, Vec::new()).await);
    let (_network, sandbox) = start(&egress);
    let mut buffer = [0; 64];
    for other in [&talks, &silent] {
        let ends = ends(1001, other.local_addr().unwrap());
        sandbox.send(&packets::datagram(ends.source, ends.destination, b"x")).await.unwrap();
        let (_, from) = soon(other.recv_from(&mut buffer)).await.unwrap();
        if other.local_addr().unwrap() == talks.local_addr().unwrap() {
            talks.send_to(b"y", from).await.unwrap();
            assert_eq!(datagram(&packet(&sandbox).await), Some((1001, b"y".to_vec())));
        }
    }
    let idle = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    for (seconds, open) in [(0, 2), (29, 2), (2, 1), (88, 1), (2, 0)] {
        clock.advance(Duration::from_secs(seconds));
        idle().await;
        assert_eq!(egress.connections.open(), open, "after {seconds} more seconds");
    }
}

#[tokio::test]
async fn in_a_full_table_the_quietest_of_the_richest_gives_way() {
    let Some(address) = own_address() else { return };
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let destination = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let egress = Arc::new(egress(3, Vec::new()).await);
    let (_first, rich) = start(&egress);
    let (_second, poor) = start(&egress);
    let mut all = Vec::new();
    for port in [1001, 1002, 1003] {
        let (mut peer, opening) = Peer::open(ends(port, destination));
        rich.send(&opening).await.unwrap();
        assert!(!peer.take(&packet(&rich).await).resets);
        rich.send(&peer.send(TcpControl::None, &[])).await.unwrap();
        all.push(peer);
        // Signs are told apart by milliseconds.
        let before = egress.clock.now();
        while egress.clock.now() <= before {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(egress.connections.open(), 3);

    let (mut late, opening) = Peer::open(ends(1001, destination));
    poor.send(&opening).await.unwrap();
    assert!(!late.take(&packet(&poor).await).resets);
    let told = all[0].take(&packet(&rich).await);
    assert!(told.resets && told.port == 1001, "{told:?}");
    assert_eq!(egress.connections.open(), 3);
}

#[tokio::test]
async fn a_question_for_a_name_counts_as_a_connection() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let egress = Arc::new(egress(10, vec![silent.local_addr().unwrap()]).await);
    let (_network, sandbox) = start(&egress);
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    let ends = ends(5000, (RESOLVER_IPV4, 53).into());
    sandbox.send(&packets::datagram(ends.source, ends.destination, query)).await.unwrap();
    soon(silent.recv(&mut [0; 512])).await.unwrap();
    assert_eq!(egress.connections.open(), 1);
    // The answer is that nobody knows, and then it counts no more.
    soon(packet(&sandbox)).await;
    soon(async {
        while egress.connections.open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_late_end_of_a_connection_is_not_its_successors() {
    let (network, _sandbox) = device();
    let egress = Arc::new(egress(10, Vec::new()).await);
    let audit = Audit::new(client(), false, Metrics::default(), Arc::clone(&egress.clock));
    let names = Names::default();
    let now = egress.clock.now();
    let shared = Shared { device: Arc::new(Device::new(network)), names, audit, egress };
    let mut server = Server::new(Arc::new(shared));
    let ends = ends(1001, "192.0.2.1:80".parse().unwrap());
    let (sender, receiver) = mpsc::channel(1);
    server.tcp.insert(ends, Opened { packets: sender, life: Arc::new(Life::new(now)) });
    server.forget(Ok(Done::Tcp(ends)));
    assert!(server.tcp.contains_key(&ends), "somebody takes its packets");
    drop(receiver);
    server.forget(Ok(Done::Tcp(ends)));
    assert!(server.tcp.is_empty());
}
