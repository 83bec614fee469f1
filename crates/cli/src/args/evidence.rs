//! Of what proves and judges what was done: attestations, exports, verification, witnesses, keys, backtests.

use super::Session;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `flyball attest`.
#[derive(Debug, Args)]
pub struct Attest {
    /// The session.
    #[command(flatten)]
    pub session: Session,
    /// Write it into this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Name a file of the workspace, as it stood at the session's end, by its digest; may be given often
    #[arg(long, value_name = "PATH")]
    pub artifact: Vec<PathBuf>,
    /// Hold every contract against the session once more, and run their commands on its last workspace; without it only those that
    /// nobody held against it
    #[arg(long)]
    pub again: bool,
}

/// `flyball backtest`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exact up to the first difference in a session; after it the history itself might have been another, and what is said is labelled
bounded: what was refused and would pass counts as done, all else happens as it is on record.")]
pub struct Backtest {
    /// The charter's folder [default: the nearest .flyball upwards]
    #[arg(long, value_name = "C")]
    pub charter: Option<PathBuf>,
    /// Sessions: ids, unique prefixes, names, or @ for the latest [default: all]
    #[arg(value_name = "S")]
    pub sessions: Vec<String>,
    /// All sessions that were opened at most so long ago: 30d, 12h
    #[arg(long, value_name = "AGE", conflicts_with = "sessions", value_parser = crate::backtest::parse_age)]
    pub since: Option<u64>,
    /// Write a report into this file as well: one page of HTML by itself
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What `export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// All that it takes to verify the session without its ledger
    Bundle,
    /// An OpenTelemetry trace, OTLP/JSON
    Otlp,
    /// OCSF 1.8.0 events, one a line
    Ocsf,
    /// CloudEvents 1.0, one a line
    Cloudevents,
}

/// `flyball verify`.
#[derive(Debug, Default, Args)]
pub struct Verify {
    /// A session, or a file that `export` or `attest` made; without either, the whole ledger
    #[arg(value_name = "S|FILE")]
    pub what: Option<String>,
    /// Of a file: the key that its ledger is known by (`NAME+ID+KEY`), from somebody other than who gave you the file [default: of an attestation, the ledger's at hand]
    #[arg(long, value_name = "VKEY")]
    pub key: Vec<String>,
    /// Of a file: the key of a witness that you believe (`NAME+ID+KEY`; may be given again)
    #[arg(long, value_name = "VKEY")]
    pub witness: Vec<String>,
    /// Of a file: take one of up to this many bytes
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<u64>,
}

/// `flyball witness`.
#[derive(Debug, Subcommand)]
pub enum Witness {
    /// Be a witness for other people's ledgers (C2SP tlog-witness), until stopped. It needs no ledger, and belongs on a machine and
    /// in hands that are not the ledger's
    Serve {
        /// Where to listen
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
        listen: std::net::SocketAddr,
        /// Where it keeps its key and what it saw [default: witness, in Flyball's folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The name that it signs under, at its first start [default: one made of its key]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Cosign for the ledger of this key, as `flyball key show` prints it; remembered (may be given again)
        #[arg(long, value_name = "VKEY")]
        trust: Vec<String>,
    },
    /// Ask this witness from now on, beside every session of this ledger
    Add {
        /// Where it answers, such as http://127.0.0.1:8787
        url: String,
        /// Its key, as `flyball witness serve` prints it
        #[arg(value_name = "VKEY")]
        key: String,
    },
    /// Ask this ledger's witnesses now; exits with 103 if one saw another history
    Ask,
}

/// `flyball key`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Key {
    /// Print the ledger's key, for those who verify what it signed, and every change of it
    Show,
    /// Make a new key; the one in force signs it, and is then destroyed. Sessions that run go on under the new one
    Rotate,
}
