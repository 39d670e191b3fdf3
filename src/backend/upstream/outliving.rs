//! A call that is waited for when its caller has left.
//!
//! A C# worker goes on with a call whose connection was closed, and nobody would know until when. So
//! only the way to it is closed (a FIN, on which workers that can cancel do so) and the other stays
//! open: the call has ended when the answer comes, when the worker closes, or at the call's own
//! deadline, after which nothing is known: a worker that never answers would be lost for good.
//! Nobody reads the answer.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::JoinSet};

use crate::backend::link::Witness;

/// The connection on which a call is under way, from its first byte on.
#[derive(Debug, Default, Clone)]
pub(super) struct UnderWay(Option<Arc<Mutex<Option<Arc<Witness>>>>>);

impl UnderWay {
    /// One that is noted.
    pub(super) fn noted() -> Self {
        Self(Some(Arc::default()))
    }

    pub(super) fn begin(&self, witness: &Arc<Witness>) {
        if let Some(noted) = &self.0 {
            *noted.lock() = Some(Arc::clone(witness));
        }
    }

    pub(super) fn end(&self) {
        if let Some(noted) = &self.0 {
            *noted.lock() = None;
        }
    }

    fn connection(&self) -> Option<Arc<Witness>> {
        self.0.as_ref()?.lock().take()
    }
}

/// The calls that go on without their callers.
#[derive(Debug, Default)]
pub(super) struct Left(Mutex<JoinSet<()>>);

impl Left {
    /// Where the thread's runtime is going down, the call goes with it.
    fn wait_for(&self, call: impl Future<Output: Send> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut calls = self.0.lock();
        while calls.try_join_next().is_some() {}
        calls.spawn_on(async { drop(call.await) }, &runtime);
    }
}

/// A call's future. Dropped before anything of the call was written it is just that; later it goes
/// on as a task of its own.
pub(super) struct Outliving<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    call: Option<Pin<Box<F>>>,
    under_way: UnderWay,
    left: Arc<Left>,
}

impl<F> Outliving<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    pub(super) fn new(call: F, under_way: UnderWay, left: Arc<Left>) -> Self {
        Self {
            call: Some(Box::pin(call)),
            under_way,
            left,
        }
    }
}

impl<F> Future for Outliving<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(call) = &mut self.call else {
            return Poll::Pending;
        };
        let output = ready!(call.as_mut().poll(cx));
        self.call = None;
        Poll::Ready(output)
    }
}

impl<F> Drop for Outliving<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn drop(&mut self) {
        if let Some(call) = self.call.take()
            && let Some(connection) = self.under_way.connection()
        {
            connection.leave();
            self.left.wait_for(call);
        }
    }
}
