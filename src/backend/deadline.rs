//! Until when a call may take, with a timer that isn't armed anew for each call.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    task::coop::unconstrained,
    time::{Sleep, sleep_until},
};

/// The time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// A timer for one deadline after another, for one task. It is moved only where it must ring
/// earlier or has rung too early: calls that follow one another all end long before their deadlines,
/// and hardly ever touch it.
#[derive(Debug, Default)]
pub struct Alarm(Mutex<Option<Armed>>);

#[derive(Debug)]
struct Armed {
    timer: Pin<Box<Sleep>>,
    /// Whom it wakes.
    task: Waker,
}

impl Alarm {
    /// Ready once `deadline` has passed.
    pub fn poll(&self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(deadline);
        let mut armed = self.0.lock();
        let armed = armed.get_or_insert_with(|| Armed {
            timer: Box::pin(sleep_until(deadline)),
            task: Waker::noop().clone(),
        });
        let timer = &mut armed.timer;
        let wakes_in_time = deadline >= timer.deadline() && !timer.is_elapsed();
        if wakes_in_time && armed.task.will_wake(cx.waker()) {
            return Poll::Pending;
        }
        armed.task.clone_from(cx.waker());
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        // Without a budget: a poll that runs out of it would leave the timer without a waker.
        while pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
            if tokio::time::Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Until when a call may take, and what tells its task so.
#[derive(Debug, Clone)]
pub struct Deadline {
    began: Instant,
    at: Instant,
    alarm: Arc<Alarm>,
}

impl Deadline {
    /// A deadline so long after `began`, which is about now. `alarm` rings then; it is the task's own.
    #[must_use]
    pub fn new(began: Instant, time: Duration, alarm: &Arc<Alarm>) -> Self {
        Self {
            began,
            at: began + time,
            alarm: Arc::clone(alarm),
        }
    }

    /// When it was set.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// When it is.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// Ready once it has passed.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(cx, self.at)
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        tokio::time::Instant::now().into_std() >= self.at
    }

    /// Waits for a future, which is dropped when the time is over.
    ///
    /// # Errors
    /// [`Elapsed`].
    pub async fn limit<F: Future>(&self, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(cx).map(|()| Err(Elapsed)),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_deadline_counts_whatever_came_before_it() {
        let alarm = Arc::new(Alarm::default());
        let began = tokio::time::Instant::now();
        for (seconds, so_far) in [(60, 60), (5, 65), (30, 95)] {
            let now = tokio::time::Instant::now().into_std();
            let deadline = Deadline::new(now, Duration::from_secs(seconds), &alarm);
            assert_eq!(deadline.limit(async { 7 }).await, Ok(7));
            assert!(!deadline.has_passed());
            assert_eq!(deadline.limit(pending::<()>()).await, Err(Elapsed));
            assert!(deadline.has_passed());
            let passed = began.elapsed();
            assert!(passed >= Duration::from_secs(so_far), "{passed:?}");
            assert!(passed < Duration::from_secs(so_far + 1), "{passed:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_in_time_leaves_an_alarm_that_harms_no_later_one() {
        let alarm = Arc::new(Alarm::default());
        let wait = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        let limit = |seconds| {
            let now = tokio::time::Instant::now().into_std();
            Deadline::new(now, Duration::from_secs(seconds), &alarm)
        };
        assert_eq!(limit(10).limit(wait(4)).await, Ok(()));
        // The alarm of the first rings meanwhile.
        assert_eq!(limit(20).limit(wait(15)).await, Ok(()));
        assert_eq!(limit(20).limit(wait(21)).await, Err(Elapsed));
    }
}
