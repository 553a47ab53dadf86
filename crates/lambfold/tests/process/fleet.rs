//! What the clients of a kill test talk to: one server on SQLite, or nodes that share a Postgres database.

use std::path::{Path, PathBuf};

use lambfold_store_postgres::testing::TestServer;

use crate::kill::random;
use crate::support::{Server, free_addresses};

/// Servers that stand for each other, each at its address.
pub(crate) struct Fleet {
    directory: PathBuf,
    database: Option<String>,
    nodes: Vec<Node>,
}

struct Node {
    addresses: (String, String),
    server: Option<Server>,
}

impl Fleet {
    /// One server with everything, on SQLite.
    pub(crate) fn one(directory: &Path) -> Self {
        Self::start(directory, 1, None)
    }

    /// Queue nodes, each with a gateway of its own, on one database.
    pub(crate) fn sharing(directory: &Path, nodes: usize, database: &TestServer) -> Self {
        Self::start(directory, nodes, Some(database.url().to_owned()))
    }

    fn start(directory: &Path, nodes: usize, database: Option<String>) -> Self {
        let nodes = (0..nodes).map(|_| Node { addresses: free_addresses(), server: None }).collect();
        let mut fleet = Self { directory: directory.to_path_buf(), database, nodes };
        for number in 0..fleet.nodes.len() {
            fleet.start_node(number);
        }
        fleet
    }

    /// Where clients may connect.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.addresses.0.clone()).collect()
    }

    /// The server of a node that runs.
    pub(crate) fn server(&self, number: usize) -> &Server {
        self.nodes[number].server.as_ref().expect("it runs")
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, number: usize) {
        self.nodes[number].server.take().expect("it runs").kill();
    }

    /// Kills any node, and starts it anew.
    pub(crate) fn kill_one(&mut self) {
        let number = usize::try_from(random(self.nodes.len() as u64)).unwrap();
        self.kill(number);
        self.start_node(number);
    }

    pub(crate) fn start_node(&mut self, number: usize) {
        let data = self.directory.join(format!("data-{number}"));
        let node = &mut self.nodes[number];
        let Some(database) = &self.database else {
            node.server = Some(Server::start(&data, &node.addresses));
            return;
        };
        let socket = |name: &str| format!("unix:{}", self.directory.join(name).display());
        let nobody = socket("nobody.sock");
        let settings = [
            ("LAMBFOLD_QUEUE__DATABASE", database.as_str()),
            ("LAMBFOLD_PEERS__LISTEN", &socket(&format!("node-{number}.sock"))),
            // SQS needs none of them.
            ("LAMBFOLD_PEERS__CONTROL", &nobody),
            ("LAMBFOLD_PEERS__DISPATCHER", &nobody),
            ("LAMBFOLD_PEERS__LOGS", &nobody),
        ];
        node.server = Some(Server::serve(&data, &node.addresses, "queue,gateway", &settings));
    }

    /// SIGTERM to all; whether each exited with success.
    pub(crate) fn terminate(self) -> bool {
        self.nodes.into_iter().filter_map(|node| node.server).all(Server::terminate)
    }
}
