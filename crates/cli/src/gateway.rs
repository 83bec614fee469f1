//! `flyball gateway`: what stands between an agent and the servers that it uses.

use crate::args::Gateway;
use crate::failure::Failure;
use crate::place::Place;
use crate::run::{not_covered, sending};
use flyball_runtime::RunError;
use flyball_runtime::door::{self, McpError, McpListen, McpMany, McpOptions};
use std::io::BufReader;
use std::time::Duration;

/// Serves until the client or its server has ended; gives the server's exit code.
pub fn gateway(place: &Place, args: Gateway) -> Result<u8, Failure> {
    let Gateway::Mcp { name, charter, within, listen, servers, server, otlp } = args;
    let sending = otlp.map(sending);
    let within = Duration::from_secs(within);
    if let Some(address) = listen {
        let options = McpListen { address, charter, within, sending, name, servers: server, file: servers };
        door::mcp_listen(&place.home()?, &options, |sites| {
            for (name, url) in sites {
                eprintln!("flyball: `{name}` is served at {url}");
            }
        })
        .map_err(not_begun)?;
        return Ok(0);
    }
    // INVARIANT: nobody else writes to standard output: it belongs to the protocol.
    let client = BufReader::with_capacity(64 * 1024, std::io::stdin());
    let to_client = Box::new(std::io::stdout());
    if let Some(servers) = servers {
        door::mcp_many(&place.home()?, &McpMany { charter, within, sending, servers }, client, to_client)
            .map_err(not_begun)?;
        return Ok(0);
    }
    let options = McpOptions { name, charter, within, sending, server };
    let code = door::mcp(&place.home()?, &options, client, to_client).map_err(not_begun)?;
    Ok(u8::try_from(code).unwrap_or(1))
}

fn not_begun(error: McpError) -> Failure {
    match error {
        McpError::Run(error @ RunError::Coverage { .. }) => not_covered(&error),
        e => Failure::user("FB0543", format!("the gateway could not be begun: {e}")).hint("no server was started"),
    }
}
