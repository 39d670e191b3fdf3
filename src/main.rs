//! The `envgate` program: see the library's front page.

/// Calls allocate and free on one thread, and bodies come and go: the system's allocator gives
/// their pages back to the kernel and faults them in again, call by call (bench/NOTES.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    envgate::cli::main()
}
