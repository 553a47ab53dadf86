//! Connections: lost ones, ones in TLS, ones that cannot be.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::testing::own_server;

use super::*;

#[test]
fn a_store_connects_again() {
    let Some(server) = own_server() else { return };
    let schema = server.schema();
    let store = open(&schema);
    store.join("a:1").unwrap();
    let before = store.load_directory().unwrap();
    let key = lambfold_queue::MacKey { id: 1, secret: [1; 32] };
    store.change_directory(&DirectoryChange::AddMacKey(key.clone())).unwrap();
    server.restart();
    assert_eq!(
        store.load_directory().unwrap().mac_keys,
        [key],
        "reading changes nothing, and is tried again"
    );
    for attempt in 0.. {
        let key = lambfold_queue::MacKey { id: 2 + attempt, secret: [2; 32] };
        match store.change_directory(&DirectoryChange::AddMacKey(key)) {
            Ok(()) => break,
            Err(error) => assert!(attempt < 2 && matches!(error, StoreError::Driver(_)), "{error}"),
        }
    }
    // Its lease was not lost with the connection, if it still holds.
    assert!(matches!(store.renew(), Ok(()) | Err(StoreError::LeaseLost | StoreError::Driver(_))));
    store.join("a:1").unwrap();
    assert_eq!(store.load_directory().unwrap().queues, before.queues);
}

#[test]
fn a_server_is_known_by_its_certificate() {
    let Some(server) = own_server() else { return };
    let directory = server.directory().to_owned();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
    fs::write(&certificate, pair.cert.pem()).unwrap();
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    give_to_the_owner_of(&directory, &key);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let set =
        |name: &str, value: &str| server.schema().script(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    set("ssl", "on");
    set("ssl_cert_file", certificate.to_str().unwrap());
    set("ssl_key_file", key.to_str().unwrap());
    set("listen_addresses", "localhost");
    set("port", &port.to_string());
    server.restart();

    let open = |query: &str| {
        let url = format!("postgresql://lambfold@localhost:{port}/postgres?{query}");
        PostgresQueueStore::open(&Options::new(url))
    };
    let roots = format!("sslrootcert={}", certificate.to_str().unwrap().replace('/', "%2F"));
    for mode in ["require", "verify-full"] {
        let store = open(&format!("sslmode={mode}&{roots}")).unwrap();
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let encrypted = store.reader.call(async |session| session.row(sql, &[]).await).unwrap().unwrap();
        assert!(encrypted.get::<_, bool>(0));
    }
    assert!(open("sslmode=disable").is_ok());
    assert!(matches!(open("sslmode=verify-full"), Err(StoreError::Driver(_))), "nobody vouches for it");
}

/// PostgreSQL wants its key to be readable by nobody else.
fn give_to_the_owner_of(directory: &Path, key: &Path) {
    let owner = fs::metadata(directory).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    chown(key, Some(owner.uid()), Some(owner.gid())).unwrap();
}

#[test]
fn what_is_no_url_is_refused() {
    for url in ["mysql://somewhere", "host=somewhere", "postgresql://a/b?sslmode=sometimes"] {
        assert!(matches!(PostgresQueueStore::open(&Options::new(url)), Err(StoreError::Driver(_))), "{url}");
    }
    let options = Options::new("postgresql://someone:secret@somewhere/queues");
    assert!(!format!("{options:?}").contains("secret"));
}
