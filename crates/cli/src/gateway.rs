//! `flyball gateway`: what stands between an agent and the servers that it uses.

use crate::args::Gateway;
use crate::failure::Failure;
use crate::place::Place;
use crate::run::not_covered;
use flyball_runtime::RunError;
use flyball_runtime::door::{self, McpError, McpOptions};
use std::io::BufReader;
use std::time::Duration;

/// Serves until the client or its server has ended; gives the server's exit code.
pub fn gateway(place: &Place, args: Gateway) -> Result<u8, Failure> {
    let Gateway::Mcp { name, charter, within, server } = args;
    let options = McpOptions { name, charter, within: Duration::from_secs(within), server };
    // INVARIANT: nobody else writes to standard output: it belongs to the protocol.
    let client = BufReader::with_capacity(64 * 1024, std::io::stdin());
    let code = door::mcp(&place.home()?, &options, client, Box::new(std::io::stdout())).map_err(|e| match e {
        McpError::Run(error @ RunError::Coverage { .. }) => not_covered(&error),
        e => Failure::user("FB0543", format!("the gateway could not be begun: {e}")).hint("no server was started"),
    })?;
    Ok(u8::try_from(code).unwrap_or(1))
}
