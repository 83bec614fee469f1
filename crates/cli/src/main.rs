//! The `flyball` command: reads arguments, calls the crates beneath, prints, and gives the exit code.
//!
//! One module a command group. Invariants: only this crate prints; data goes to standard output and everything else to
//! standard error ([`output`]); one function maps what went wrong to an exit code ([`failure::exit_code`]).
//!
//! Not here: anything that decides, records or confines.

#![forbid(unsafe_code)]

mod apply;
mod args;
mod asks;
mod attest;
mod backtest;
mod charter_dir;
mod check;
mod codes;
mod compare;
mod contracts;
mod control;
mod coverage;
mod demo;
mod detach;
mod doctor;
mod evidence;
mod export;
mod failure;
mod gateway;
mod help;
mod hook;
mod init;
mod keys;
mod library;
mod log;
mod output;
mod place;
mod prove;
mod registers;
mod replay;
mod run;
mod sessions;
mod states;
mod suggest;
mod test;
mod trace;
mod verify;
mod watch;
mod why;
mod witness;
mod workspace;

use args::{Cli, Command, ExportFormat};
use clap::Parser;
use failure::{Failure, exit_code};
use flyball_runtime::exports::Format;
use output::Output;
use place::Place;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The sandbox starts this very binary again as its launcher: that must come before anything else.
    flyball_sandbox::enter_if_launcher();
    let cli = Cli::parse();
    let out = Output::new(cli.global.json, cli.global.quiet);
    match dispatch(out, cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.report(out);
            ExitCode::from(exit_code(failure.kind))
        }
    }
}

fn dispatch(out: Output, cli: Cli) -> Result<u8, Failure> {
    let place = Place::new(cli.global.ledger);
    match cli.command {
        Command::Init { list: true, .. } => {
            init::list(out);
            Ok(())
        }
        Command::Init { dir, from, .. } => init::init(out, dir.as_deref(), from.as_deref()),
        Command::Check { charter, prove } => check::check(out, charter.as_deref(), prove),
        Command::Test(args) => test::test(out, &args),
        Command::Run(args) if args.detach => detach::detach(out, &place, &args),
        Command::Run(args) => return run::run(out, &place, &args),
        Command::Hook(args) => return hook::hook(out, &place, args),
        Command::Gateway(args) => return gateway::gateway(&place, args),
        Command::Demo => return demo::demo(out),
        Command::Watch { session } => watch::watch(out, &place, session.as_deref()),
        Command::Ps => sessions::ps(out, &place),
        Command::Show(s) => sessions::show(out, &place, &s.session),
        Command::Log(args) => log::log(out, &place, &args),
        Command::Why(step) => why::why(out, &place, &step.session.session, step.seq),
        Command::Suggest(args) => suggest::suggest(out, &place, &args),
        Command::Trace { session, seq: Some(seq), format, carried: true, .. } => {
            trace::carried(out, &place, &session.session, seq, format)
        }
        Command::Trace { session, seq, format, path, .. } => {
            trace::trace(out, &place, &session.session, seq, format, path.as_deref())
        }
        Command::At { session, seq, path: _, state: true } => replay::at(out, &place, &session.session, seq),
        Command::At { session, seq, path, state: false } => {
            workspace::at(out, &place, &session.session, seq, path.as_deref())
        }
        Command::Diff { of, from, to: Some(to), state: true, .. } => states::diff(out, &place, &of, &from, to),
        Command::Diff { of, from, to: Some(to), .. } => workspace::diff(out, &place, &of, &from, to),
        Command::Diff { of, from, to: None, state, prove } if state || !compare::are_folders(&of, &from) && !prove => {
            workspace::diff_of_two(out, &place, &of, &from, state)
        }
        Command::Diff { of, from, to: None, prove, .. } => compare::compare(out, &of, &from, prove),
        Command::Asks => asks::asks(out, &place),
        Command::Answer(args) => asks::answer(out, &place, &args),
        Command::Pause(act) => control::act(out, &place, control::Verb::Pause, &act),
        Command::Resume(act) => control::act(out, &place, control::Verb::Resume, &act),
        Command::Autonomy { act, by, level } => control::autonomy(out, &place, &act, &by, &level),
        Command::Declassify { act, by, label } => control::declassify(out, &place, &act, &by, &label),
        Command::Constrain { act, by, charter, widen } => control::constrain(out, &place, &act, &by, &charter, widen),
        Command::Quarantine(act) => control::act(out, &place, control::Verb::Quarantine, &act),
        Command::Kill(act) => control::act(out, &place, control::Verb::Kill, &act),
        Command::Rollback { act, seq } => control::rollback(out, &place, &act, seq),
        Command::Apply(act) => apply::apply(out, &place, &act),
        Command::Discard(act) => apply::discard(out, &place, &act),
        Command::Backtest(args) => backtest::backtest(out, &place, &args),
        Command::Replay { session, until: Some(until), reopen, argv, .. } => {
            return replay::fork(out, &place, &session.session, until, reopen, argv);
        }
        Command::Replay { session, level, .. } => replay::replay(out, &place, &session.session, level),
        Command::Verify(args) => verify::verify(out, &place, &args),
        Command::Export { session, output, format, without_payloads } => {
            let session = session.session.as_str();
            let events = |format| export::export(out, &place, session, &output, format);
            match format {
                ExportFormat::Bundle => evidence::export(out, &place, session, &output, !without_payloads),
                ExportFormat::Otlp => events(Format::Otlp),
                ExportFormat::Ocsf => events(Format::Ocsf),
                ExportFormat::Cloudevents => events(Format::CloudEvents),
            }
        }
        Command::Prove { step, output } => {
            evidence::prove(out, &place, &step.session.session, step.seq, output.as_deref())
        }
        Command::Forget { session, payload, reason } => {
            evidence::forget(out, &place, &session.session, &payload, &reason)
        }
        Command::Witness(args) => witness::witness(out, &place, args),
        Command::Key(args) => keys::key(out, &place, args),
        Command::Attest(args) => attest::attest(out, &place, &args),
        Command::Doctor => doctor::doctor(out, &place),
        Command::Schema { charter } => check::schema(out, charter.as_deref()),
        Command::Explain { code } => codes::explain(out, code.as_deref()),
        Command::Completions { shell } => help::completions(out, shell),
        Command::Man => help::man(out),
    }
    .map(|()| 0)
}
