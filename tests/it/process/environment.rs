//! What variables a worker has, and how it proves them.

use super::*;

#[tokio::test]
async fn a_worker_has_its_variables_and_no_other() {
    let env = "A=1\nB= two words \nPATH=/tmp\nLD_PRELOAD=/x\nMINE=x\n";
    let config = "cwd = \"FILES\"\nlisten = \"inherit\"\nenv = { MINE = \"{socket}\" }\ninherit = [\"PATH\", \"NOT SET HERE\"]";
    let bench = Bench::python("inherit", config, env);
    let first = bench.start().await.unwrap();
    assert_is_exact(&first);
    let spare = bench.prepare();
    assert_eq!(environ(spare), BTreeMap::new());
    let second = bench.start().await.unwrap();
    assert_eq!(second.pid(), spare);
    assert_is_exact(&second);
}

fn assert_is_exact(process: &Process) {
    let environ = environ(process.pid());
    let Address::Unix(socket) = process.address() else {
        panic!("another endpoint")
    };
    let expected = BTreeMap::from([
        ("A".to_owned(), "1".to_owned()),
        ("B".to_owned(), "two words".to_owned()),
        ("MINE".to_owned(), socket.to_str().unwrap().to_owned()),
        ("PATH".to_owned(), std::env::var("PATH").unwrap()),
        ("LISTEN_PID".to_owned(), process.pid().to_string()),
        ("LISTEN_FDS".to_owned(), "1".to_owned()),
        ("ENVGATE_PROOF".to_owned(), NONCE.to_owned()),
        (
            "ENVGATE_BASE".to_owned(),
            "PATH,LISTEN_PID,LISTEN_FDS,LISTEN_FDNAMES".to_owned(),
        ),
    ]);
    assert_eq!(environ, expected);
    assert_eq!(NONCE.len(), 64);
}

/// Starts are spawned, and processes kept in tables that other threads read.
#[test]
fn starts_and_processes_go_between_threads() {
    fn is_sent<T: Send>(_: impl FnOnce(&'static Bench) -> T) {}
    fn is_shared<T: Send + Sync>() {}
    is_sent(Bench::start);
    is_shared::<Process>();
    is_shared::<ProcessBackend>();
}

#[tokio::test]
async fn a_proof_must_be_the_right_one() {
    let bench = Bench::python("inherit", "", "PROOF=00");
    let error = bench.start().await.unwrap_err();
    assert!(matches!(error, StartError::WrongEnv), "{error}");

    // The proof as a worker computes it.
    let proving = WORKER.replace(
        "status =",
        r#"import hmac
        raw = open("/proc/self/environ", "rb").read().rstrip(b"\0").split(b"\0")
        pairs = dict(entry.split(b"=", 1) for entry in raw)
        out = pairs[b"ENVGATE_BASE"].split(b",")
        text = b"".join(k + b"=" + pairs[k] + b"\n" for k in sorted(pairs)
            if k not in out and not k.startswith(b"ENVGATE_"))
        os.environ["PROOF"] = hmac.new(pairs[b"ENVGATE_PROOF"], text, "sha256").hexdigest()
        status ="#,
    );
    let env = "A=1\nB=two\nA-B=3\n";
    let bench = Bench::new(&["PYTHON", "WORKER", "inherit"], &proving, "", env, LONG);
    let process = bench.start().await.unwrap();
    let environ = environ(process.pid());
    let variables = environ
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    assert_eq!(env_proof(NONCE, variables).len(), 64);
}

#[tokio::test]
async fn the_largest_env_starts_and_a_larger_one_is_refused_before() {
    let value = "x".repeat(64 * 1024 - "AA=\0".len() - 8);
    let largest: String = (0..16).map(|i| format!("A{i:x}={value}\n")).collect();
    let bench = Bench::python("inherit", IN_FILES, &largest);
    let process = bench.start().await.unwrap();
    assert_eq!(environ(process.pid())["Af"], value);
    let spare = bench.prepare();
    let process = bench.start().await.unwrap();
    assert_eq!(process.pid(), spare);
    assert_eq!(environ(spare)["Af"], value);
    let bench = Bench::python("inherit", "", &(largest + "B=1"));
    let error = bench.start().await.unwrap_err();
    assert!(matches!(error, StartError::Env(_)), "{error}");
}

#[tokio::test]
async fn a_command_with_a_code_needs_one() {
    let bench = Bench::new(&["run", "{rev}"], "", "code = '(.*)'", "", LONG);
    let error = bench.start().await.unwrap_err();
    assert!(matches!(error, StartError::NoRev), "{error}");
}
