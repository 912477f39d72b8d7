//! MariaDB's InnoDB on native AIO: it submits through libaio, and reaps with the system call itself.
//!
//! The server is killed amid transactions, and what clients were told to be committed must be there when it comes back.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Directory, LIMIT, Running, direct_works, installed, libaio_requests, preloaded, support};

const CLIENTS: usize = 6;
/// Transactions that are acknowledged before the kill, and what the clients have to do: more than they come to.
const BEFORE_KILL: usize = 1500;
const SCRIPT: usize = 20_000;

/// The big table is larger than the buffer pool, so that pages are read and written all the time.
const TABLES: &str = "
    CREATE DATABASE bank; USE bank;
    CREATE TABLE entry (client INT, number INT, payload VARBINARY(4000) NOT NULL, PRIMARY KEY (client, number),
        KEY (payload(64))) ENGINE=InnoDB;
    CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL) ENGINE=InnoDB;
    INSERT INTO account SELECT seq, 0 FROM seq_0_to_99;
    CREATE TABLE big (id INT PRIMARY KEY, version INT NOT NULL, payload VARBINARY(1000) NOT NULL) ENGINE=InnoDB;
    INSERT INTO big SELECT seq, 0, REPEAT(SHA2(CONCAT(seq, ':', 0), 256), 12) FROM seq_1_to_12000";

/// A transaction that says its number when the server has said that it is committed.
fn transfer(client: usize, number: usize) -> String {
    format!(
        "BEGIN; INSERT INTO entry VALUES ({client}, {number}, REPEAT(SHA2('{client}:{number}', 256), 40));
         UPDATE account SET balance = balance - 1 WHERE id = {client};
         UPDATE account SET balance = balance + 1 WHERE id = {client} + 50; COMMIT; SELECT {number};\n"
    )
}

/// The same that rewrites the big table.
fn rewrite(version: usize) -> String {
    format!(
        "UPDATE big SET version = {version}, payload = REPEAT(SHA2(CONCAT(id, ':', {version}), 256), 12);
         SELECT {version};\n"
    )
}

/// A server over the data in a directory. It is killed when dropped.
struct Server {
    running: Running,
    home: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Starts it and waits until it serves.
    fn start(mut command: Command, home: &Path, name: &str) -> Server {
        let log = home.join(name);
        let file = fs::File::create(&log).expect("a log");
        // What is relative is so to the data: the path of a socket may not be long.
        command.arg("--no-defaults").args(user());
        command.args(["--socket=socket", "--pid-file=pid", "--skip-networking"]);
        command.arg(format!("--datadir={}", data(home).display())).arg(format!("--tmpdir={}", home.display()));
        command.args(["--innodb-use-native-aio=ON", "--innodb-flush-method=O_DIRECT"]);
        // "auto" prefers io_uring; builds that have only that do not know the option.
        command.arg("--loose-innodb-linux-aio=aio");
        command.args(["--innodb-buffer-pool-size=6M", "--innodb-log-file-size=8M"]);
        command.stdin(Stdio::null()).stderr(file.try_clone().expect("a log")).stdout(file).process_group(0);
        support::die_with_us(&mut command);
        let running = Running(command.spawn().expect("mariadbd starts"));
        let mut server = Server { running, home: home.to_path_buf(), log };
        let deadline = Instant::now() + LIMIT;
        while server.sql("SELECT 1").is_err() {
            let ended = server.running.0.try_wait().expect("its status");
            assert!(ended.is_none() && Instant::now() < deadline, "mariadbd, {ended:?}: {}", server.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn log(&self) -> String {
        fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    fn client(&self) -> Command {
        let mut client = Command::new("mariadb");
        client.current_dir(data(&self.home)).args(["--no-defaults", "--user=root", "--socket=socket"]);
        client.args(["--batch", "--unbuffered", "--skip-column-names", "--skip-reconnect"]);
        client
    }

    /// The answer to some statements: rows in lines, columns apart by tabs.
    fn sql(&self, statements: &str) -> Result<String, String> {
        let mut client = self.client();
        client.arg("--execute").arg(statements);
        let ran = support::run(client, LIMIT, &self.home.join("answer")).map_err(|error| error.to_string())?;
        if ran.end == support::End::Exit(0) { Ok(ran.output) } else { Err(format!("{}: {}", ran.end, ran.output)) }
    }

    fn rows(&self, query: &str) -> Vec<Vec<String>> {
        let text = self.sql(query).unwrap_or_else(|error| panic!("{query}: {error}\n{}", self.log()));
        text.lines().map(|line| line.split('\t').map(str::to_string).collect()).collect()
    }

    fn kill(&mut self) {
        self.running.0.kill().expect("a running server");
        self.running.0.wait().expect("its end");
    }

    /// Ends it in the orderly way; its log.
    fn shut_down(mut self) -> String {
        self.sql("SHUTDOWN").unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.running.0.try_wait().expect("its status") {
                assert!(status.success(), "{status}\n{}", self.log());
                return self.log();
            }
            assert!(Instant::now() < deadline, "mariadbd does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The tables are sound, and have what was committed: of each client `acknowledged` transactions or the one more of
    /// which it could not be told any more, of the rewrites likewise.
    fn check(&self, acknowledged: &[usize], rewrites: usize) {
        for row in self.rows("CHECK TABLE bank.entry, bank.account, bank.big EXTENDED") {
            assert_eq!(row.get(2..), Some(&["status".to_string(), "OK".to_string()][..]), "{row:?}\n{}", self.log());
        }
        let transactions = self.rows(
            "SELECT client, COUNT(*), MIN(number), MAX(number),
                SUM(payload <> REPEAT(SHA2(CONCAT(client, ':', number), 256), 40)), -debit.balance, credit.balance
             FROM bank.entry JOIN bank.account debit ON debit.id = client
                JOIN bank.account credit ON credit.id = client + 50
             GROUP BY client ORDER BY client",
        );
        assert_eq!(transactions.len(), acknowledged.len(), "{transactions:?}");
        for (client, (row, &least)) in transactions.iter().zip(acknowledged).enumerate() {
            let row: Vec<usize> = row.iter().map(|field| field.parse().unwrap_or(usize::MAX)).collect();
            let count = row.get(1).copied().unwrap_or(0);
            assert!(count == least || count == least + 1, "client {client} was told of {least}, not of {row:?}");
            assert_eq!(row, [client, count, 1, count, 0, count, count], "client {client}, told of {least}");
        }
        let big = self.rows(
            "SELECT COUNT(*), SUM(payload <> REPEAT(SHA2(CONCAT(id, ':', version), 256), 12)),
                MIN(version), MAX(version) FROM bank.big",
        );
        let of = |version: usize| ["12000".to_string(), "0".into(), version.to_string(), version.to_string()];
        assert!(big == [of(rewrites)] || big == [of(rewrites + 1)], "{rewrites} rewrites were told, not {big:?}");
    }
}

/// root has to say that root is meant.
fn user() -> Option<&'static str> {
    // SAFETY: a system call without pointers.
    (unsafe { libc::geteuid() } == 0).then_some("--user=root")
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

/// A client at work; its lines are numbers of what it was told to be committed.
struct Client {
    running: Running,
    told: PathBuf,
}

impl Client {
    fn start(server: &Server, name: &str, statements: impl Iterator<Item = String>) -> Client {
        let (script, told) = (server.home.join(format!("{name}.sql")), server.home.join(format!("{name}.told")));
        fs::write(&script, statements.collect::<String>()).expect("a script");
        let mut client = server.client();
        client.arg("bank").stdin(fs::File::open(&script).expect("a script")).process_group(0);
        client.stdout(fs::File::create(&told).expect("a file")).stderr(Stdio::null());
        support::die_with_us(&mut client);
        Client { running: Running(client.spawn().expect("a client starts")), told }
    }

    /// How many were told so far: they count from 1.
    fn told(&self) -> usize {
        let text = fs::read_to_string(&self.told).expect("what it was told");
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or(""));
        let last = whole.lines().enumerate().inspect(|(index, line)| assert_eq!(*line, (index + 1).to_string())).last();
        last.map_or(0, |(index, _)| index + 1)
    }

    fn ended(&mut self) -> bool {
        self.running.0.try_wait().expect("its status").is_some()
    }
}

/// Lets clients work until they were told of enough, kills the server, and gives what they were told in the end.
fn kill_amid_transactions(mut server: Server) -> (Vec<usize>, usize) {
    let transfers = |client| (1..SCRIPT).map(move |number| transfer(client, number));
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|client| Client::start(&server, &format!("client{client}"), transfers(client))).collect();
    clients.push(Client::start(&server, "rewriter", (1..SCRIPT).map(rewrite)));
    let deadline = Instant::now() + LIMIT;
    loop {
        let told: Vec<usize> = clients.iter().map(Client::told).collect();
        let (rewrites, transfers) = told.split_last().expect("the clients");
        if *rewrites >= 2 && transfers.iter().all(|&count| count > 0) && transfers.iter().sum::<usize>() >= BEFORE_KILL
        {
            break;
        }
        assert!(Instant::now() < deadline, "slow: {told:?}\n{}", server.log());
        assert!(!clients.iter_mut().any(Client::ended), "a client ended early: {told:?}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    server.kill();
    let deadline = Instant::now() + LIMIT;
    while !clients.iter_mut().all(Client::ended) {
        assert!(Instant::now() < deadline, "a client outlives the server");
        std::thread::sleep(Duration::from_millis(10));
    }
    let rewrites = clients.pop().map_or(0, |client| client.told());
    (clients.iter().map(Client::told).collect(), rewrites)
}

pub fn mariadb_keeps_what_it_committed() {
    let Some(first) = preloaded("mariadbd", "stats") else { return };
    let Some(second) = preloaded("mariadbd", "stats") else { return };
    if !installed("mariadb") {
        return;
    }
    let directory = Directory::new("mariadb");
    let home = directory.path();
    if !direct_works(home) {
        return support::skip(&format!("no O_DIRECT in {}", home.display()));
    }
    let mut install = Command::new("mariadb-install-db");
    // --force: a machine need not know its own name.
    install
        .args(["--no-defaults", "--force", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(user());
    install.arg(format!("--datadir={}", data(home).display())).arg(format!("--tmpdir={}", home.display()));
    let ran = support::run(install, LIMIT, &home.join("install")).expect("mariadb-install-db runs");
    assert_eq!(ran.end, support::End::Exit(0), "{}", ran.output);

    let server = Server::start(first, home, "first.log");
    if ["Using io_uring", "Using liburing"].iter().any(|line| server.log().contains(line)) {
        return support::skip("this mariadbd has io_uring only");
    }
    assert!(server.log().contains("Using Linux native AIO"), "{}", server.log());
    // A killed server prints no statistics.
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.running.0.id())).expect("its maps");
    assert!(maps.contains("/libaio_rs.so\n") && maps.contains("/[aio]"), "{maps}");
    server.sql(TABLES).unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    let (acknowledged, rewrites) = kill_amid_transactions(server);

    let server = Server::start(second, home, "second.log");
    assert!(server.log().contains("Starting crash recovery"), "nothing to recover: {}", server.log());
    server.check(&acknowledged, rewrites);
    let version = rewrites + 10;
    server.sql(&format!("USE bank; {}", rewrite(version))).unwrap_or_else(|error| panic!("{error}"));
    let written = &server.rows("SHOW GLOBAL STATUS LIKE 'Innodb_pages_written'")[0][1];
    let written: u64 = written.parse().expect("a count");
    let log = server.shut_down();
    assert!(libaio_requests(&log) >= written && written > 0, "{written} pages written: {log}");

    // What the library wrote is there without it, too.
    let server = Server::start(Command::new("mariadbd"), home, "third.log");
    server.check(&acknowledged, version);
    server.shut_down();
}
