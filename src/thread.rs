//! Threads with a runtime of their own.

use std::{future::Future, io, sync::mpsc::sync_channel, thread::JoinHandle};

/// Starts a thread that runs a future on a runtime of its own.
///
/// The runtime is made there, not handed over: a runtime that is dropped where another one runs, as
/// happens when the thread can't be had, panics.
///
/// # Errors
/// The system gives it no thread or no runtime.
pub fn start<F>(
    name: &str,
    future: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    let (tell, told) = sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    // Who waits for it takes it, or is gone.
                    drop(tell.send(Err(error)));
                    return;
                }
            };
            drop(tell.send(Ok(())));
            runtime.block_on(future());
        })?;
    told.recv()
        .unwrap_or(Err(io::ErrorKind::BrokenPipe.into()))?;
    Ok(thread)
}
