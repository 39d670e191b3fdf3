//! Launchers that are started ahead: used once, counted by nobody, and gone with the rest.

use super::*;
use crate::harness::signal;

/// A gateway whose spares are found by the directory that they run in.
struct Spares {
    bench: Bench,
    directory: tempfile::TempDir,
}

impl Spares {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let bench = Bench::start(&Self::config(&directory, "one"));
        Self { bench, directory }
    }

    fn config(directory: &tempfile::TempDir, own: &str) -> String {
        let backend = sample(&format!(
            "cwd = {:?}\nenv = {{ OWN = {own:?} }}",
            directory.path()
        ));
        format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\n{backend}")
    }

    fn all(&self) -> Vec<u32> {
        marked(self.directory.path().to_str().expect("a path"))
    }

    /// The one that waits.
    #[track_caller]
    fn one(&self) -> u32 {
        eventually("a spare waits", || match self.all()[..] {
            [spare] => Some(spare),
            _ => None,
        })
    }

    #[track_caller]
    fn wait_none(&self) {
        eventually("no spare is left", || self.all().is_empty().then_some(()));
    }
}

#[test]
fn each_start_but_the_first_takes_the_spare() {
    let spares = Spares::start();
    assert_eq!(spares.all(), [0; 0]);
    spares.bench.pid("A=0\n");
    for number in 1..4 {
        let spare = spares.one();
        let environ = fs::read(format!("/proc/{spare}/environ")).expect("its environment");
        assert!(environ.is_empty());
        assert_eq!(spares.bench.pid(&format!("A={number}\n")), spare);
    }
    assert_eq!(spares.bench.starts("ready"), 4);
    spares.one();
    let Spares { bench, directory } = spares;
    let log = bench.finish();
    assert_eq!(marked(directory.path().to_str().expect("a path")), [0; 0]);
    assert_eq!(log.matches("an instance is ready").count(), 4, "{log}");
}

#[test]
fn a_reload_ends_the_spare_of_a_changed_backend() {
    let spares = Spares::start();
    let before = spares.bench.pid("A=1\n");
    let spare = spares.one();
    let gateway = &spares.bench.gateway;
    gateway.rewrite_config(&Spares::config(&spares.directory, "two"));
    signal(gateway.pid(), "HUP");
    spares.bench.wait_gone(before);
    spares.bench.wait_gone(spare);
    spares.wait_none();
    spares.bench.finish();
}

#[test]
fn a_spare_goes_with_a_killed_gateway() {
    let spares = Spares::start();
    spares.bench.pid("A=1\n");
    spares.one();
    signal(spares.bench.gateway.pid(), "KILL");
    spares.wait_none();
}
