//! A gateway by Pingora that passes every call to one upstream.
//!
//! `passing PORT UPSTREAM-PORT THREADS`

use async_trait::async_trait;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

struct Passing {
    upstream: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Passing {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _context: &mut (),
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.clone()))
    }
}

fn main() {
    let numbers: Vec<u16> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().expect("a number"))
        .collect();
    let [port, upstream, threads] = numbers[..] else {
        panic!("usage: passing PORT UPSTREAM-PORT THREADS");
    };
    let configuration = ServerConf {
        threads: threads.into(),
        // A runtime for each thread: with stealing between them it costs the same.
        work_stealing: false,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let passing = Passing {
        upstream: HttpPeer::new(("127.0.0.1", upstream), false, String::new()),
    };
    let mut service = http_proxy_service(&server.configuration, passing);
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run_forever();
}
