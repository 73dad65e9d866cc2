//! What the command line understands, and what its help says.

use super::args::Cli;
use clap::{CommandFactory, Parser};

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

/// The help of a command and of everything below it, at a width that does not depend on the terminal.
fn help(command: &mut clap::Command, path: &str, text: &mut String) {
    let path = format!("{path} {}", command.get_name());
    text.push_str(&format!("# {}\n\n{}\n", path.trim(), command.render_long_help()));
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        help(inner, &path, text);
    }
}

#[test]
fn the_help_reads_well() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut text = String::new();
    help(&mut command, "", &mut text);
    // The variables' values are those of whoever runs the test.
    insta::assert_snapshot!(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn mistakes_are_usage_errors() {
    for line in [
        "hostler",
        "hostler machine create",
        "hostler machine create -t micro --memory lots",
        "hostler machine create -t micro --label nothing",
        "hostler machine run web",
        "hostler serve --listen here",
        "hostler volume grow 1 -- -5G",
        "hostler machine frobnicate",
        "hostler pool create ci -t micro",
        "hostler pool resize ci many",
        "hostler checkout",
        "hostler checkout ci=0",
        "hostler checkout ci --deadline 5m",
        "hostler tag web",
    ] {
        assert!(parse(line).is_err_and(|error| error.exit_code() == 2), "{line}");
    }
}
