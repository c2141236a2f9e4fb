//! pgbench's scripts: the registry's own statements, with pgbench's variables for their parameters.

use std::fmt::Write as _;

use token_registry::store::STATEMENTS;

use crate::Failure;
use crate::names::{
    ADDED_BY_PGBENCH, CLIENT, CONSUMED_PURPOSE, ISSUED_BY_PGBENCH, ISSUED_PURPOSE, SECRETS_OF_PGBENCH,
    SESSIONS, SESSIONS_PER_USER, USERS, jti_expression,
};

/// What pgbench is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    Check,
    Rotate,
    Add,
    Issue,
    Consume,
    /// Delete the old row and insert its successor, in one transaction.
    Seed,
}

impl Script {
    pub fn text(self) -> Result<String, Failure> {
        let random = format!(
            "\\set i random(0, :sessions - 1)\n\\set user {USERS} + :i / {SESSIONS_PER_USER}\n\\set session {SESSIONS} + :i\n"
        );
        // A number that no other client and no other run has. Client numbers are below 1,000.
        let unique = "(:run * 1000 + :client_id) * 1000000000 + :turn";
        let turn = "\\set turn :turn + 1\n";
        Ok(match self {
            Self::Check => random + &statement("session/check.sql", &[":user", ":session"])?,
            Self::Rotate => {
                let new = [":user", ":session", ":jti", ":new_jti", ":grace", ":retry", ":idle", ":told"];
                let rotate = statement("session/rotate.sql", &[&new[..], &["null"; CLIENT.len()]].concat())?;
                let limits = "\\set grace 30\n\\set retry 86400\n\\set idle 1209600\n\\set told false\n";
                format!("{}{limits}{rotate}{turn}", odd_session_and_jtis())
            }
            Self::Add => {
                let limits = "\\set enabled true\n\\set lifetime 2592000\n\\set idle 1209600\n\\set grace 30\n\\set limit 1001\n";
                let new = [":user", ":session", ":jti", ":enabled", ":lifetime", ":idle", ":grace", "null"]
                    .into_iter();
                let client = CLIENT.map(|(column, _)| format!(":{column}"));
                let all: Vec<_> = new.chain(client.iter().map(String::as_str)).collect();
                let add = statement("session/add.sql", &all)?;
                let count = statement("session/count_live.sql", &[":user", ":limit"])?;
                format!(
                    "{random}{limits}\\set session {ADDED_BY_PGBENCH} + {unique}\n\\set jti :session\n{add}{count}{turn}"
                )
            }
            Self::Issue => {
                let new = [
                    ":user",
                    ":issued_purpose",
                    ":is_code",
                    ":digest",
                    ":digest",
                    "null",
                    ":lifetime",
                    ":attempts",
                ];
                let client = CLIENT.map(|(column, _)| format!(":{column}"));
                let all: Vec<_> = new.into_iter().chain(client.iter().map(String::as_str)).collect();
                let mut script = format!(
                    "{random}\\set digest {ISSUED_BY_PGBENCH} + {unique}\n\
                     \\set is_code false\n\\set keep false\n\\set lifetime 3600\n\\set attempts 0\n\
                     \\startpipeline\nbegin isolation level read committed;\n"
                );
                script += &statement("user/lock_shared.sql", &[":user"])?;
                script += &statement("generic/lock_state_for_issue.sql", &[":user", ":issued_purpose"])?;
                script += &statement("generic/find_request.sql", &[":user", ":issued_purpose", "null"])?;
                script += "\\endpipeline\n\\startpipeline\n";
                script +=
                    &statement("generic/replace.sql", &[":user", ":issued_purpose", ":keep", ":digest"])?;
                script += &statement("generic/insert.sql", &all)?;
                script + "commit;\n\\endpipeline\n" + turn
            }
            Self::Consume => {
                // A server presents every digest that the value may be kept under: here, two.
                let digests = "array[:digest, :other]::bytea[]";
                let consume =
                    statement("generic/consume_secret.sql", &[digests, ":consumed_purpose", "null", "null"])?;
                format!(
                    "\\set digest {SECRETS_OF_PGBENCH} + :first + :turn * :clients + :client_id\n\
                     \\set other {ISSUED_BY_PGBENCH} + :turn\n{consume}{turn}"
                )
            }
            Self::Seed => {
                let columns = CLIENT.map(|(column, _)| column).join(", ");
                let values = CLIENT.map(|(column, _)| format!(":{column}")).join(", ");
                format!(
                    "{}\\set owner :i / {SESSIONS_PER_USER}\n\\set enabled true\n\
                     begin;\n\
                     delete from seed_token where jti = :jti and user_id = :owner;\n\
                     insert into seed_token (created, jti, enabled, session, user_id, {columns}) \
                     values (now(), :new_jti, :enabled, :session, :owner, {values});\n\
                     commit;\n{turn}",
                    odd_session_and_jtis()
                )
            }
        })
    }

    /// Statements that undo what a run did, where the next one needs that; they answer how many rotations there were.
    pub fn undo(self) -> Option<String> {
        let odd = format!("(session::bigint - {SESSIONS}) % 2 = 1");
        let first_jti =
            format!("({})::text", jti_expression("0", &format!("(session::bigint - {SESSIONS})")));
        match self {
            Self::Rotate => Some(format!(
                "with done as (select user_id, session, rotations from sessions where rotations > 0 and {odd} for update),
                      undone as (update sessions s set jti = ({jti})::text, previous_jti = null, rotations = 0
                                 from done where s.user_id = done.user_id and s.session = done.session)
                 select coalesce(sum(rotations), 0)::bigint from done",
                jti = jti_expression("0", &format!("(s.session::bigint - {SESSIONS})")),
            )),
            Self::Seed => Some(format!(
                "with done as (update seed_token set jti = {first_jti} where jti <> {first_jti} returning 1)
                 select count(*) from done"
            )),
            _ => None,
        }
    }
}

/// The variables that all scripts may use: those that are text can't be set in a script.
pub fn variables() -> Vec<String> {
    let purposes = [("issued_purpose", ISSUED_PURPOSE), ("consumed_purpose", CONSUMED_PURPOSE)];
    CLIENT.iter().chain(&purposes).map(|(name, value)| format!("{name}={value}")).collect()
}

/// Draws an odd session. Each client has a slice of them, and goes through it in random order again and again, so that
/// it knows each session's jti.
fn odd_session_and_jtis() -> String {
    format!(
        "\\set slice :sessions / 2 / :clients\n\
         \\set i 2 * (:client_id * :slice + permute(:turn % :slice, :slice)) + 1\n\
         \\set user {USERS} + :i / {SESSIONS_PER_USER}\n\
         \\set session {SESSIONS} + :i\n\
         \\set jti {jti}\n\
         \\set new_jti {new_jti}\n",
        jti = jti_expression(":turn / :slice", ":i"),
        new_jti = jti_expression(":turn / :slice + 1", ":i"),
    )
}

/// A statement of the registry with these arguments: pgbench's variables, or expressions that stand in their place.
///
/// pgbench makes a parameter of each occurrence of a variable. So that it sends no more of them than a server does,
/// only the first occurrence is the variable; the others name the parameter by the number that it gets.
fn statement(name: &str, arguments: &[&str]) -> Result<String, Failure> {
    let statement = STATEMENTS.iter().find(|statement| statement.name == name);
    let sql = statement.ok_or_else(|| format!("there is no statement {name} any more"))?.sql();
    let sql: Vec<_> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let sql = sql.join("\n");
    let mut numbers = vec![None; arguments.len()];
    let mut count = 0;
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(digits);
        let place = number.parse::<usize>()? - 1;
        let argument = arguments.get(place).ok_or_else(|| format!("{name} has a parameter ${number} now"))?;
        match (argument.starts_with(':'), numbers[place]) {
            (true, Some(number)) => write!(text, "${number}")?,
            (true, None) => {
                count += 1;
                numbers[place] = Some(count);
                text += argument;
            }
            (false, _) => {
                count += argument.replace("::", "").matches(':').count();
                text += argument;
            }
        }
        text += rest;
    }
    Ok(text + ";\n")
}
