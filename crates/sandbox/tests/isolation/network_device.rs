//! The network device: what leaves a sandbox comes out at the worker, and only there.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lambfold_sandbox::{IsolationLevel, NetworkLink, RESOLVER_IPV4, SANDBOX_IPV4};
use tokio::io::unix::AsyncFd;

use crate::stage::{Kind, Stage, finish, kinds};

/// Resolves by UDP, and sends to an address of the internet.
const ASK: &str = "
import _socket as socket
print([name for _, name in socket.if_nameindex()])
print(open('/etc/resolv.conf').read().strip())
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5.0)
s.sendto(b'ping', ('203.0.113.7', 7))
print(s.recvfrom(100))
try: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
except OSError as error: print(error.errno)
try: open('/dev/net/tun')
except OSError as error: print(error.errno)
";

async fn packet(network: &AsyncFd<OwnedFd>, link: NetworkLink, protocol: u8) -> Vec<u8> {
    loop {
        let mut ready = network.readable().await.unwrap();
        let read = ready.try_io(|network| {
            let mut buffer = vec![0; 65536];
            let length = rustix::io::read(network.get_ref(), &mut buffer)?;
            let header = link.header(4).len();
            Ok(buffer[header..length].to_vec())
        });
        if let Ok(Ok(packet)) = read
            && packet[0] == 0x45
            && packet[9] == protocol
        {
            return packet;
        }
    }
}

/// The same datagram back, from where it was sent to.
fn echo(mut packet: Vec<u8>, link: NetworkLink) -> Vec<u8> {
    for at in [12..16, 20..22] {
        let length = at.len();
        for at in at {
            packet.swap(at, at + length);
        }
    }
    // None: the sum over the header is the same, over the datagram optional.
    packet[26..28].fill(0);
    [link.header(4), &packet].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_leave_through_the_device() {
    for kind in kinds() {
        eprintln!("--- {kind:?}");
        let stage = Arc::new(Stage::new(kind, |options| options.network_device = true).await);
        let has = stage.driver.capabilities().network_device;
        assert_eq!(has, kind.level >= IsolationLevel::Userns, "{:?}", stage.driver.report());
        let mut prepared = stage.prepare().await.unwrap();
        let network = prepared.take_network();
        assert_eq!(network.is_some(), has);
        let Some(network) = network else { continue };
        assert!(prepared.take_network().is_none());
        println!("{:?}: {:?}", kind, network.link);

        let listener = prepared.take_listeners().remove(0);
        let assignment =
            stage.assignment(prepared.as_ref(), &listener, &["/usr/bin/python3", "-I", "-S", "-c", ASK]);
        let running = stage.assign(prepared, assignment).await.unwrap();
        let link = network.link;
        let network = network.descriptor;
        let question = packet(&network, link, 17).await;
        assert_eq!(question[12..16], SANDBOX_IPV4.octets());
        assert_eq!(question[16..20], [203, 0, 113, 7]);
        rustix::io::write(network.get_ref(), &echo(question, link)).map_err(io::Error::from).unwrap();
        let (output, _) = finish(running).await;
        assert!(output.contains("'net0'"), "{output}");
        assert!(output.contains(&format!("nameserver {RESOLVER_IPV4}")), "{output}");
        assert!(output.contains("(b'ping', ('203.0.113.7', 7))"), "{output}");
        assert!(output.ends_with("\n97\n2\n"), "neither packets nor devices: {output}");
        stage.driver.shutdown().await;
    }
}

/// No device where none is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn no_device_without_asking() {
    let Some(kind) = kinds().into_iter().find(|kind: &Kind| kind.level >= IsolationLevel::Userns) else {
        return;
    };
    let stage = Stage::new(kind, |_| {}).await;
    assert!(!stage.driver.capabilities().network_device);
    assert!(stage.prepare().await.unwrap().take_network().is_none());
    stage.driver.shutdown().await;
}
