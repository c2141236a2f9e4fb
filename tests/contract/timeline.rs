//! A history for people: one line a call, in the order in which they were sent.

use std::fmt::Write as _;

use super::history::{Event, NEVER};
use super::words::{
    Answer, Call, Counts, KeyModel, KeyRow, Name, Names, SessionRow, TokenRow, Value, Wanted, Which,
};

/// Writes a history down. Times are milliseconds from its beginning.
pub fn timeline(history: &[Event], names: &Names) -> String {
    let start = history.iter().map(|event| event.began).min().unwrap_or_default();
    let words = Words(names);
    let calls: Vec<_> = history.iter().map(|event| words.call(&event.call)).collect();
    let width = calls.iter().map(String::len).max().unwrap_or_default();
    let mut text = String::new();
    for (event, call) in history.iter().zip(calls) {
        let ended = match event.ended {
            NEVER => "        ?".to_owned(),
            ended => format!("{:9.3}", milliseconds(ended - start)),
        };
        let answer = event.answer.as_ref().map_or_else(|| "outcome unknown".to_owned(), |a| words.answer(a));
        let began = milliseconds(event.began - start);
        let _ = writeln!(text, "{began:9.3} to {ended} ms  caller {:<3} {call:width$}  {answer}", event.who);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

struct Words<'a>(&'a Names);

impl Words<'_> {
    fn name(&self, name: Name) -> &str {
        self.0.text(name)
    }

    fn call(&self, call: &Call) -> String {
        match call {
            Call::Add { session, jti, enabled, strict, version } => {
                let mut text = format!("Add session {session} with jti {}", self.name(*jti));
                if !enabled {
                    text += ", switched off";
                }
                if *strict {
                    text += ", without grace";
                }
                if let Some(version) = version {
                    let _ = write!(text, ", credential version {}", self.name(*version));
                }
                text
            }
            Call::Rotate { session, jti, new_jti: None } => {
                format!("Rotate session {session}: {} to a new one", self.name(*jti))
            }
            Call::Rotate { session, jti, new_jti: Some(new) } => {
                format!("Rotate session {session}: {} to {}", self.name(*jti), self.name(*new))
            }
            Call::CheckToken { session, jti } => {
                format!("Check jti {} of session {session}", self.name(*jti))
            }
            Call::CheckSession { session } => format!("Check session {session}"),
            Call::GetSession { session } => format!("Get session {session}"),
            Call::ListSessions => "List sessions".to_owned(),
            Call::SetEnabled { session, enabled } => {
                format!("Switch session {session} {}", if *enabled { "on" } else { "off" })
            }
            Call::RevokeSession { session, .. } => format!("Revoke session {session}"),
            Call::RevokeSessions { except: None, .. } => "Revoke all sessions".to_owned(),
            Call::RevokeSessions { except: Some(spared), .. } => format!("Revoke all sessions but {spared}"),
            Call::Issue { purpose, wanted, keep_existing, request, .. } => {
                let wanted = match wanted {
                    Wanted::Secret => "a secret".to_owned(),
                    Wanted::Digits => "a code".to_owned(),
                    Wanted::Own(value) => self.value(*value),
                };
                let beside = if *keep_existing { " beside the others" } else { "" };
                let request = request.map_or_else(String::new, |request| format!(", request {request}"));
                format!("Issue {wanted} for purpose {purpose}{beside}{request}")
            }
            Call::Consume { purpose, value, challenge, id, .. } => {
                let challenge =
                    challenge.map_or_else(String::new, |c| format!(", challenge {}", self.name(c)));
                let id = id.map_or_else(String::new, |id| format!(", consumption id {id}"));
                format!("Consume {} for purpose {purpose}{challenge}{id}", self.value(*value))
            }
            Call::CheckSecret { purpose, value } => {
                format!("Check {} for purpose {purpose}", self.value(*value))
            }
            Call::ListTokens { purpose } => format!("List one-time tokens for purpose {purpose}"),
            Call::RevokeTokens { purpose: None } => "Revoke all one-time tokens".to_owned(),
            Call::RevokeTokens { purpose: Some(purpose) } => {
                format!("Revoke one-time tokens for purpose {purpose}")
            }
            Call::CreateKey { model, name, replace, request } => {
                let model = match model {
                    KeyModel::Drf => "of 40 digits",
                    KeyModel::Prefixed => "with a prefix",
                };
                let replacing = if *replace { " in the place of the others" } else { "" };
                let request = request.map_or_else(String::new, |request| format!(", request {request}"));
                format!("Create an API key {model} called {name}{replacing}{request}")
            }
            Call::Authenticate { key } => format!("Authenticate by {}", self.name(*key)),
            Call::GetKey { prefix: None } => "Get the API key of 40 digits".to_owned(),
            Call::GetKey { prefix: Some(prefix) } => format!("Get API key {}", self.name(*prefix)),
            Call::ListKeys => "List API keys".to_owned(),
            Call::DeleteKey { prefix: None } => "Delete the API keys of 40 digits".to_owned(),
            Call::DeleteKey { prefix: Some(prefix) } => format!("Delete API key {}", self.name(*prefix)),
            Call::CreateUser => "Create the user".to_owned(),
            Call::GetUser => "Get the user".to_owned(),
            Call::SetActive { active: true } => "Reinstate the user".to_owned(),
            Call::SetActive { active: false } => "Suspend the user".to_owned(),
            Call::RevokeCredentials { except, keep, keep_keys, request } => {
                let spared = except.map_or_else(String::new, |spared| format!(" but session {spared}"));
                let kept = keep.map_or_else(String::new, |kept| format!(" but purpose {kept}"));
                let request = request.map_or_else(String::new, |request| format!(", request {request}"));
                let keys = if *keep_keys { "" } else { ", API keys too" };
                format!("Revoke credentials{spared}{kept}{keys}{request}")
            }
            Call::DeleteUser => "Delete the user".to_owned(),
        }
    }

    fn answer(&self, answer: &Answer) -> String {
        match answer {
            Answer::Refused(reason, why) => {
                let reason = reason.as_str_name().trim_start_matches("ERROR_REASON_");
                match why.as_str_name().trim_start_matches("REVOCATION_REASON_") {
                    "UNSPECIFIED" => reason.to_owned(),
                    why => format!("{reason} ({why})"),
                }
            }
            Answer::Session(row) | Answer::Asked(_, Some(row)) => self.session(row),
            Answer::Rotated(outcome, row) => {
                let outcome = outcome.as_str_name().trim_start_matches("ROTATION_OUTCOME_");
                format!("{outcome}: {}", self.session(row))
            }
            Answer::Asked(state, None) | Answer::Authenticated(state, None) | Answer::State(state) => {
                state_word(*state).to_owned()
            }
            Answer::Sessions(rows) => {
                let rows = rows.iter().map(|(number, row)| format!("{number}: {}", self.session(row)));
                format!("[{}]", rows.collect::<Vec<_>>().join("; "))
            }
            Answer::Count(count) => format!("{count} ended"),
            Answer::Issued(row, value) => format!("{} as {}", self.value(*value), self.token(row)),
            Answer::Claimed(row) => self.token(row),
            Answer::Tokens(rows) => {
                format!("[{}]", rows.iter().map(|row| self.token(row)).collect::<Vec<_>>().join("; "))
            }
            Answer::Key(row) | Answer::Authenticated(_, Some(row)) => self.key(row),
            Answer::KeyMade(row, made) => format!("{} as {}", self.name(*made), self.key(row)),
            Answer::Keys(rows) => {
                format!("[{}]", rows.iter().map(|row| self.key(row)).collect::<Vec<_>>().join("; "))
            }
            Answer::User { active, version } => self.user(*active, *version),
            Answer::Counted { active, version, counts } => {
                format!("{}, {}", self.user(*active, *version), counted(*counts))
            }
            Answer::Deleted(counts) => format!("deleted: {}", counted(*counts)),
            Answer::Wrong(text) => format!("WRONG: {text}"),
        }
    }

    fn session(&self, row: &SessionRow) -> String {
        let mut text = format!(
            "{} {}, {} rotations, {} graces",
            state_word(row.state),
            self.name(row.jti),
            row.rotations,
            row.graces
        );
        let reason = row.reason.as_str_name().trim_start_matches("REVOCATION_REASON_");
        if reason != "UNSPECIFIED" {
            let _ = write!(text, ", {reason}");
        }
        text
    }

    fn token(&self, row: &TokenRow) -> String {
        let challenge = self.name(row.challenge);
        format!("{} {challenge}, {} of {} attempts", state_word(row.state), row.attempts, row.max_attempts)
    }

    fn key(&self, row: &KeyRow) -> String {
        format!("{} {}, called {}", state_word(row.state), self.name(row.prefix), row.name)
    }

    fn value(&self, value: Value) -> String {
        let kind = if value.is_code { "code" } else { "secret" };
        match value.which {
            Which::Made(name) => format!("{kind} {}", self.name(name)),
            Which::Own(n) => format!("own {kind} {n}"),
        }
    }

    fn user(&self, active: bool, version: Name) -> String {
        format!("{}, version {}", if active { "active" } else { "suspended" }, self.name(version))
    }
}

fn state_word(state: super::words::TokenState) -> &'static str {
    state.as_str_name().trim_start_matches("TOKEN_STATE_")
}

fn counted(counts: Counts) -> String {
    let Counts { sessions, tokens, keys } = counts;
    format!("{sessions} sessions, {tokens} one-time tokens, {keys} API keys")
}
