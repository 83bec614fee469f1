//! What the test binary does when it is itself the program inside.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// The first argument that makes this process one of the programs below.
pub const INSIDE: &str = "--inside";

pub fn enter_if_asked() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) != Some(INSIDE) {
        return;
    }
    let wait = Duration::from_secs(3);
    match args[2].as_str() {
        "connect" => {
            let address: SocketAddr = args[3].parse().unwrap();
            match TcpStream::connect_timeout(&address, wait) {
                Ok(stream) => println!("connected to {}", stream.peer_addr().unwrap()),
                Err(error) => println!("refused: {:?}", error.raw_os_error()),
            }
        }
        "send" => {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            println!("sent: {:?}", socket.send_to(b"ping", &args[3]).map_err(|error| error.raw_os_error()));
        }
        "fork" => {
            let wanted: usize = args[3].parse().unwrap();
            let children: Vec<_> =
                (0..wanted).map_while(|_| std::process::Command::new("sleep").arg("1000").spawn().ok()).collect();
            println!("forked {}", children.len());
        }
        "abstract" => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&args[3]).unwrap();
            println!("abstract: {}", std::os::unix::net::UnixStream::connect_addr(&address).is_ok());
        }
        other => panic!("unknown program {other}"),
    }
    std::process::exit(0);
}
