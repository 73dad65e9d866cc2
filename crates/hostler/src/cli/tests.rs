//! What the command line understands, and what its help says.

use super::args::{Cli, Command};
use super::machine::MachineCommand;
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
fn sizes_labels_and_waiting_are_understood() {
    let line = "hostler machine create -t micro --memory 1G --label a=b --label c=d=e --no-wait --timeout 2m";
    let Command::Machine(MachineCommand::Create(create)) = parse(line).unwrap().command else {
        panic!("another command")
    };
    assert_eq!(create.memory, Some(1024));
    assert_eq!(create.labels, [("a".into(), "b".into()), ("c".into(), "d=e".into())]);
    assert!(!create.wait.wanted());
    let Command::Machine(MachineCommand::Start(start)) = parse("hostler machine start a").unwrap().command else {
        panic!("another command")
    };
    assert!(start.wait.wanted());
}

#[test]
fn what_comes_after_two_dashes_is_left_alone() {
    let Command::Ssh(ssh) = parse("hostler ssh web -l me -- -L 80:a:80 ls --all").unwrap().command else {
        panic!("another command")
    };
    assert_eq!(ssh.login, "me");
    assert_eq!(ssh.arguments, ["-L", "80:a:80", "ls", "--all"]);
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
    ] {
        assert!(parse(line).is_err_and(|error| error.exit_code() == 2), "{line}");
    }
}
