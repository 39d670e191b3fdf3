//! The `envgate` program: see the library's front page.

fn main() -> std::process::ExitCode {
    envgate::cli::main()
}
