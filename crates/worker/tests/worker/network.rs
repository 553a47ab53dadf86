//! What functions reach under each policy. The internet is a server of this test on an address of this machine that is not
//! loopback, and a name server of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lambfold_api::control::FunctionVersion;
use lambfold_api::worker::{RetireRequest, Worker};
use lambfold_clock::{SystemClock, SystemEntropy};
use lambfold_network::{Egress, Metrics, Parts, Policy};
use serde_json::{Value, json};

use crate::support::{Rig, context, eventually, success};

/// Does what it is asked, and tells what came of it.
const PROBE: &str = r#"
import errno, hashlib, os, resource, select, socket, time

def handler(event, context):
    return [globals()[what](*rest) for what, *rest in event]

def outcome(work):
    try: return work()
    except socket.gaierror: return "unknown name"
    except TimeoutError: return "timed out"
    except OSError as error: return errno.errorcode.get(error.errno, str(error))

def tcp(host, port):
    def work():
        with socket.create_connection((host, port), 5) as peer:
            peer.sendall(b"echo 5\nhello")
            return peer.recv(5, socket.MSG_WAITALL).decode()
    return outcome(work)

def udp(host, port):
    def work():
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(5)
            peer.connect((host, port))
            peer.send(b"x" * 9000)
            return len(peer.recv(65536))
    return outcome(work)

def udp_after_refusal(host, port):
    """Each is refused on its own: what became of the first is not taken for the second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(5)
        peer.connect((host, port))
        def once():
            peer.send(b"x")
            return peer.recv(10)
        return [outcome(once) for _ in range(3)]

def resolve(name):
    return outcome(lambda: sorted({it[4][0] for it in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}))

def transfer(host, port, size):
    """There and back, at once, with a checksum."""
    def work():
        data, got, sent = os.urandom(size), hashlib.sha256(), 0
        with socket.create_connection((host, port), 5) as peer:
            peer.sendall(b"echo %d\n" % size)
            peer.setblocking(False)
            received = 0
            while received < size:
                readable, writable, _ = select.select([peer], [peer] if sent < size else [], [], 10)
                assert readable or writable, (sent, received)
                if writable: sent += peer.send(data[sent:sent + 300000])
                if readable:
                    piece = peer.recv(1 << 20)
                    assert piece, (sent, received)
                    got.update(piece); received += len(piece)
        return got.digest() == hashlib.sha256(data).digest()
    return outcome(work)

def half_closed(host, port):
    """All is said, and then heard."""
    with socket.create_connection((host, port), 5) as peer:
        peer.sendall(b"count\n" + b"x" * 100000)
        peer.shutdown(socket.SHUT_WR)
        return peer.recv(100).decode()

def many(host, port, count):
    peers = [socket.create_connection((host, port), 20) for _ in range(count)]
    for number, peer in enumerate(peers): peer.sendall(b"echo 8\n%08d" % number)
    return sum(peer.recv(8, socket.MSG_WAITALL) == b"%08d" % number for number, peer in enumerate(peers))

kept = []
def keep(host, port):
    kept.append(socket.create_connection((host, port), 5))
    kept[-1].sendall(b"hold\n")
    return len(kept)

def closed(host, port):
    """What the other side's reset looks like."""
    with socket.create_connection((host, port), 5) as peer:
        peer.sendall(b"reset\n")
        return outcome(lambda: peer.recv(1).decode())

def endpoint():
    return os.environ.get("AWS_ENDPOINT_URL")
"#;

/// Answers on one TCP and one UDP port, on every address of this machine; and to questions for names.
struct Internet {
    address: IpAddr,
    port: u16,
    /// What listens there is the platform's.
    internal: u16,
    name_server: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// Connections that were asked to hold and have not ended.
    held: Arc<AtomicUsize>,
}

/// An address of this machine that others reach it at.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("203.0.113.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip()).filter(|address| !address.is_loopback())
}

impl Internet {
    fn start() -> Option<Self> {
        let Some(address) = own_address() else {
            eprintln!("SKIPPED: this machine has no address but loopback");
            return None;
        };
        let internal = TcpListener::bind("0.0.0.0:0").unwrap();
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let datagrams = UdpSocket::bind(listener.local_addr().unwrap()).unwrap();
        let names = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (asked, held) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let internet = Self {
            address,
            port: listener.local_addr().unwrap().port(),
            internal: internal.local_addr().unwrap().port(),
            name_server: names.local_addr().unwrap(),
            asked: Arc::clone(&asked),
            held: Arc::clone(&held),
        };
        std::thread::spawn(move || {
            // A panic of this thread would fail no test.
            if internal.accept().is_ok() {
                eprintln!("a function has reached what is internal");
                std::process::abort();
            }
        });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let held = Arc::clone(&held);
                std::thread::Builder::new()
                    .stack_size(256 << 10)
                    .spawn(move || serve(&stream.unwrap(), &held))
                    .unwrap();
            }
        });
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
                let _ = datagrams.send_to(&buffer[..length], from);
            }
        });
        std::thread::spawn(move || {
            let mut query = [0; 4096];
            while let Ok((length, from)) = names.recv_from(&mut query) {
                let _ = names.send_to(&answer(&query[..length], address, &asked), from);
            }
        });
        Some(internet)
    }

    async fn rig(&self, policy: &str, allow: &[String]) -> Rig {
        let parts = Parts {
            policy: Policy::parse(policy, allow.iter().map(String::as_str)).unwrap(),
            protected: vec![format!("0.0.0.0:{}", self.internal)],
            name_servers: vec![self.name_server],
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            metrics: Metrics::default(),
        };
        Rig::with_network(Arc::new(Egress::new(parts).await)).await
    }

    fn at(&self, probe: &str) -> Value {
        json!([probe, self.address.to_string(), self.port])
    }
}

fn serve(mut stream: &std::net::TcpStream, held: &AtomicUsize) {
    let mut command = Vec::new();
    let mut one = [0];
    while stream.read_exact(&mut one).is_ok() && one[0] != b'\n' {
        command.push(one[0]);
    }
    match String::from_utf8(command).unwrap().split_whitespace().collect::<Vec<_>>()[..] {
        ["echo", size] => {
            let mut rest = stream.take(size.parse().unwrap());
            let _ = std::io::copy(&mut rest, &mut { stream });
        }
        ["count"] => {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            let _ = stream.write_all(rest.len().to_string().as_bytes());
        }
        ["hold"] => {
            held.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut one);
            held.fetch_sub(1, Ordering::SeqCst);
        }
        ["reset"] => {
            rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO)).unwrap();
        }
        _ => {}
    }
}

/// Of `*.test`: this machine's address, or an internal one; no address of IPv6; and of nothing else.
fn answer(query: &[u8], own: IpAddr, asked: &Mutex<Vec<String>>) -> Vec<u8> {
    let (mut name, mut at) = (String::new(), 12);
    while query[at] != 0 {
        let label = &query[at + 1..=at + usize::from(query[at])];
        name = format!("{name}{}.", String::from_utf8_lossy(label));
        at += label.len() + 1;
    }
    let is_ipv4 = query[at + 1..at + 3] == [0, 1];
    asked.lock().unwrap().push(name.clone());
    let address = match name.as_str() {
        "loopback.test." => Some([127, 0, 0, 1].into()),
        "metadata.test." => Some([169, 254, 169, 254].into()),
        _ if name.ends_with(".test.") => Some(own),
        _ => None,
    };
    let answers = u8::from(address.is_some() && is_ipv4);
    let code = if address.is_some() { 0 } else { 3 };
    let mut response = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]].concat();
    response.extend_from_slice(&query[12..at + 5]);
    if let (Some(IpAddr::V4(address)), 1) = (address, answers) {
        response.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        response.extend_from_slice(&address.octets());
    }
    response
}

async fn probe(rig: &Rig, function: &FunctionVersion, probes: Value) -> Value {
    let (_, answer) = rig.cold(function, &probes.to_string()).await;
    success(&answer)
}

/// What is denied under every policy that has a network, whatever is listed.
fn denied(internet: &Internet) -> Vec<Value> {
    let mut all = vec![json!(["tcp", internet.address.to_string(), internet.internal])];
    for address in [
        "169.254.169.254",
        "169.254.170.2",
        "fd00:ec2::254",
        "fe80::1%net0",
        "100.100.100.200",
        "0.1.2.3",
        "224.0.0.1",
    ] {
        all.push(json!(["tcp", address, 80]));
        all.push(json!(["udp", address, 53]));
    }
    all.push(json!(["tcp", "64:ff9b::7f00:1", internet.port]));
    all
}

fn assert_unreachable(outcomes: &[Value], asked: &[Value]) {
    for (outcome, asked) in outcomes.iter().zip(asked) {
        assert!(
            ["ENETUNREACH", "EACCES", "EINVAL"].contains(&outcome.as_str().unwrap_or("")),
            "{asked}: {outcome}"
        );
    }
    assert_eq!(outcomes.len(), asked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn open_reaches_the_network_and_nothing_internal() {
    let Some(internet) = Internet::start() else { return };
    let rig = internet.rig("open", &[]).await;
    let function = rig.python(PROBE).await;
    let (host, port) = (internet.address.to_string(), internet.port);
    let nobody = {
        let free = TcpListener::bind("0.0.0.0:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let outcomes = probe(
        &rig,
        &function,
        json!([
            internet.at("tcp"),
            internet.at("udp"),
            ["transfer", host, port, 20_000_000],
            internet.at("half_closed"),
            internet.at("closed"),
            ["tcp", host, nobody],
            ["udp", host, nobody],
            ["udp_after_refusal", host, nobody],
            ["tcp", host, 25],
            ["tcp", "127.0.0.1", port],
            ["resolve", "some.test"],
            ["resolve", "some.where"],
            ["tcp", "some.test", port],
            ["tcp", "loopback.test", port],
            ["tcp", "metadata.test", 80],
        ]),
    )
    .await;
    let expected = json!([
        "hello",
        9000,
        true,
        "100000",
        "ECONNRESET",
        "ECONNREFUSED",
        "ECONNREFUSED",
        ["ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED"],
        "ENETUNREACH",
        "ECONNREFUSED",
        [host],
        "unknown name",
        "hello",
        "ECONNREFUSED",
        "ENETUNREACH"
    ]);
    assert_eq!(outcomes, expected);

    let asked = denied(&internet);
    let outcomes = probe(&rig, &function, json!(asked)).await;
    assert_unreachable(outcomes.as_array().unwrap(), &asked);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allow_list_is_kept_to() {
    let Some(internet) = Internet::start() else { return };
    let (host, port) = (internet.address.to_string(), internet.port);
    let other = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let allow = [
        format!("api.test:{port}"),
        "metadata.test".into(),
        "loopback.test".into(),
        "169.254.0.0/16".into(),
        format!("{host}:{}", internet.internal),
    ];
    let rig = internet.rig("allow-list", &allow).await;
    let function = rig.python(PROBE).await;
    let outcomes = probe(
        &rig,
        &function,
        json!([
            // Not yet: nobody has said whose address it is.
            internet.at("tcp"),
            ["tcp", "api.test", port],
            internet.at("tcp"),
            ["tcp", "api.test", other],
            ["udp", "api.test", port],
            ["resolve", "secret-in-a-name.test"],
            ["tcp", "other.test", port],
            ["tcp", "loopback.test", port],
            ["tcp", "metadata.test", 80],
        ]),
    )
    .await;
    let expected = json!([
        "ENETUNREACH",
        "hello",
        "hello",
        "ENETUNREACH",
        "ENETUNREACH",
        "unknown name",
        "unknown name",
        "ECONNREFUSED",
        "ENETUNREACH"
    ]);
    assert_eq!(outcomes, expected);
    // Each environment has names of its own.
    assert_eq!(probe(&rig, &function, json!([internet.at("tcp")])).await, json!(["ENETUNREACH"]));

    let asked = denied(&internet);
    let outcomes = probe(&rig, &function, json!(asked)).await;
    assert_unreachable(outcomes.as_array().unwrap(), &asked);
    let names = internet.asked.lock().unwrap().clone();
    assert!(names.iter().all(|name| !name.contains("secret") && !name.contains("other")), "{names:?}");
    rig.stop().await;

    let rig = internet.rig("allow-list", &[format!("{host}/32:{port}")]).await;
    let function = rig.python(PROBE).await;
    let outcomes =
        probe(&rig, &function, json!([internet.at("tcp"), ["tcp", host, other], ["resolve", "api.test"]]))
            .await;
    assert_eq!(outcomes, json!(["hello", "ENETUNREACH", "unknown name"]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_there_is_no_network() {
    let Some(internet) = Internet::start() else { return };
    let rig = Rig::start().await;
    let function = rig.python(PROBE).await;
    let outcomes = probe(
        &rig,
        &function,
        json!([["endpoint"], internet.at("tcp"), internet.at("udp"), ["resolve", "some.test"]]),
    )
    .await;
    assert_eq!(outcomes, json!([null, "ENETUNREACH", "ENETUNREACH", "unknown name"]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_once_and_all_end_with_the_environment() {
    let Some(internet) = Internet::start() else { return };
    let rig = internet.rig("open", &[]).await;
    let function = rig.python(PROBE).await;
    let (host, port) = (internet.address.to_string(), internet.port);
    let (id, answer) =
        rig.cold(&function, &json!([["many", host, port, 400], internet.at("keep")]).to_string()).await;
    assert_eq!(success(&answer), json!([400, 1]));
    eventually("the connection held", || internet.held.load(Ordering::SeqCst) == 1).await;
    rig.worker.retire(&context(), RetireRequest { environment_ids: vec![id] }).await.unwrap();
    eventually("its end", || internet.held.load(Ordering::SeqCst) == 0).await;
    rig.stop().await;
}
