//! A manager on a real socket.

use std::time::Duration;

use manager::ManagerError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::support::{Bench, Mode};

async fn curl(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("the connection stands");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the connection stands");
    answer
}

#[tokio::test]
async fn it_serves_registers_and_takes_its_registration_back() {
    let bench = Bench::idle(Mode::Up);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let key = bench.keys.managers.key("m1");
    let (served, ()) = tokio::join!(bench.manager.serve(listener, shutdown.clone()), async {
        let answer =
            curl(address, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
        let no_host = curl(address, "GET /healthz HTTP/1.0\r\n\r\n").await;
        assert!(no_host.contains(" 421 "), "{no_host}");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(entry) = bench
                .entry(&key)
                .await
                .filter(|entry| String::from_utf8_lossy(&entry.value).contains(&address.to_string()))
            {
                assert!(entry.lease.is_some());
                break;
            }
            assert!(Instant::now() < deadline, "there is no registration");
            sleep(Duration::from_millis(5)).await;
        }
        shutdown.cancel();
    });
    served.unwrap();
    assert!(bench.entry(&key).await.is_none());
    assert!(timeout(Duration::from_secs(1), TcpStream::connect(address)).await.unwrap().is_err());
}

/// It would look alive, and show lists that stay as they are for ever.
#[tokio::test]
async fn a_manager_that_loses_a_part_of_itself_ends_and_says_so() {
    let bench = Bench::idle(Mode::Mistaken);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = bench.manager.serve(listener, CancellationToken::new());
    let ended = timeout(Duration::from_secs(60), served).await;
    assert!(matches!(ended, Ok(Err(ManagerError::Died(_)))), "{ended:?}");
}
