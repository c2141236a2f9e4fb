//! `completions`: what a shell loads to complete this program's commands and flags.

use clap_complete::Shell;

use super::output::print;

#[derive(clap::Args)]
#[command(after_help = "\
For bash, in ~/.bashrc:
    source <(token-registry completions bash)
For zsh, a file in a directory of $fpath:
    token-registry completions zsh > ~/.zfunc/_token-registry
For fish:
    token-registry completions fish > ~/.config/fish/completions/token-registry.fish")]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

pub(super) fn run(command: &Completions, program: &mut clap::Command) {
    let mut script = Vec::new();
    // clap_complete's bash scripts stop at the first subcommand of a program with a hyphen in its name
    // (https://github.com/clap-rs/clap/issues/6421), so bash's is made for another name and bound to ours.
    let name = if command.shell == Shell::Bash { "token_registry" } else { "token-registry" };
    clap_complete::generate(command.shell, program, name, &mut script);
    let script = String::from_utf8_lossy(&script);
    print(&script.replace("-o default token_registry", "-o default token-registry"));
}
