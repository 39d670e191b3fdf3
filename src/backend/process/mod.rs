//! STUB
#![allow(missing_docs)]
use crate::{
    backend::Endpoint,
    env::{Env, EnvDigest},
};
use std::{future::Future, sync::Arc, time::Duration};
#[derive(Debug, Clone)]
pub struct Rev;
#[derive(Debug)]
pub struct ProcessBackend;
#[derive(Debug)]
pub struct Process;
#[derive(Debug)]
pub struct ProcessHost;
#[derive(Debug)]
pub struct Order {
    pub instance: u64,
    pub generation: u64,
    pub env: Arc<Env>,
    pub digest: EnvDigest,
    pub rev: Option<Rev>,
}
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("x")]
    TimedOut,
    #[error("y")]
    Other,
}
pub enum Health {
    Well,
    Unwell,
    Silent,
}
impl ProcessHost {
    pub async fn watchdog_gone(&self) {
        std::future::pending().await
    }
    pub fn kill_all(&self) {}
}
impl ProcessBackend {
    pub fn name(&self) -> &str {
        ""
    }
    pub async fn start(&self, _h: &ProcessHost, _o: Order) -> Result<Process, StartError> {
        Err(StartError::TimedOut)
    }
    pub fn stop_grace(&self) -> Duration {
        Duration::ZERO
    }
    pub fn health_interval(&self) -> Option<Duration> {
        None
    }
}
impl Process {
    pub fn endpoint(&self) -> Endpoint {
        unreachable!()
    }
    pub fn pid(&self) -> u32 {
        0
    }
    pub async fn exited(&self) -> String {
        String::new()
    }
    pub fn rss(&self) -> Option<u64> {
        None
    }
    pub async fn probe_health(&self) -> Health {
        Health::Well
    }
    pub async fn stop(self, _g: Duration, _k: impl Future<Output = ()>) {}
}

impl ProcessBackend {
    pub fn code(
        &self,
        code: Option<http::HeaderValue>,
    ) -> (Option<http::HeaderValue>, Option<Rev>) {
        (code, None)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ProcessConfig;
impl ProcessBackend {
    pub fn new(_n: &str, _c: ProcessConfig, _h: Option<Duration>, _x: &super::Context) -> Self {
        Self
    }
}
