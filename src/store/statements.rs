//! Every statement of the registry: one `.sql` file each, with the few phrases that several share written once here.

use std::sync::OnceLock;

use super::rows;

/// A statement with its phrases filled in. A test prepares each against the migrated schema.
pub struct Statement {
    /// Its file under `statements/`.
    pub name: &'static str,
    template: &'static str,
    sql: OnceLock<String>,
}

/// The phrases that statements share: `{name}` in a file stands for the text here. Filled in from first to last, so a
/// phrase may hold those below it.
const PHRASES: &[(&str, &str)] = &[
    ("{rotated}", include_str!("statements/phrases/rotated.sql")),
    ("{rotates}", include_str!("statements/phrases/rotates.sql")),
    ("{session}", rows::SESSION),
    ("{generic}", rows::GENERIC_TOKEN),
    ("{auth}", rows::AUTH_TOKEN),
    ("{presented}", rows::PRESENTED),
    ("{user}", rows::USER),
    ("{user_active}", rows::USER_ACTIVE_OF_SESSION),
    ("{client_columns}", rows::CLIENT_COLUMNS),
    ("{client_values_from_9}", rows::CLIENT_VALUES_FROM_9),
    ("{client_named_from_9}", rows::CLIENT_NAMED_FROM_9),
    ("{client_arrays_from_9}", rows::CLIENT_ARRAYS_FROM_9),
    ("{client_columns_after_ip}", rows::CLIENT_COLUMNS_AFTER_IP),
    (
        "{live}",
        "(s.revoked_at is null and s.session_expires > clock_timestamp() and s.idle_expires > clock_timestamp())",
    ),
    (
        "{within_grace}",
        // A statement that waited for the row may have started before the rotation: greatest() keeps a window of 0 shut.
        "coalesce(s.previous_jti = l.jti and s.created + least(s.rotation_grace, make_interval(secs => $5)) \
         > greatest(s.created, statement_timestamp()), false)",
    ),
    (
        "{within_retry}",
        "coalesce(s.previous_jti = l.jti and s.jti = l.new_jti and s.created \
         + greatest(make_interval(secs => $6), least(s.rotation_grace, make_interval(secs => $5))) \
         > greatest(s.created, statement_timestamp()), false)",
    ),
    ("{session_over_since}", "least(s.revoked_at, s.session_expires, s.idle_expires)"),
    ("{generic_over_since}", "least(t.consumed_at, t.revoked_at, t.expires)"),
    ("{key_over_since}", "least(t.revoked_at, t.expires)"),
    ("{valid}", "(t.revoked_at is null and (t.expires is null or t.expires > clock_timestamp()))"),
    ("{unspent}", "(t.consumed_at is null and t.revoked_at is null and t.expires > clock_timestamp())"),
    (
        "{claimable}",
        "(t.consumed_at is null and t.revoked_at is null and t.expires > clock_timestamp() \
         and (not t.is_code or t.attempts < t.max_attempts))",
    ),
];

impl Statement {
    const fn new(name: &'static str, template: &'static str) -> Self {
        Self { name, template, sql: OnceLock::new() }
    }

    /// The statement's text, as it is sent.
    pub fn sql(&self) -> &str {
        self.sql.get_or_init(|| {
            let sql = PHRASES
                .iter()
                .fold(self.template.to_owned(), |sql, (name, phrase)| sql.replace(name, phrase));
            #[cfg(feature = "planted-bugs")]
            let sql = crate::planted::sql(self.name, sql);
            sql
        })
    }
}

macro_rules! statements {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: Statement = Statement::new($file, include_str!(concat!("statements/", $file)));)*
        /// All of them.
        pub static ALL: &[&Statement] = &[$(&$name),*];
    };
}

statements! {
    SESSION_ADD = "session/add.sql";
    SESSION_ROTATE = "session/rotate.sql";
    SESSION_ADD_SET = "session/add_set.sql";
    SESSION_ROTATE_SET = "session/rotate_set.sql";
    SESSION_REVOKE_SET = "session/revoke_set.sql";
    SESSION_GET_SET = "session/get_set.sql";
    SESSION_COUNT_LIVE_SET = "session/count_live_set.sql";
    SESSION_GET = "session/get.sql";
    SESSION_GET_TAKEN = "session/get_taken.sql";
    SESSION_CHECK = "session/check.sql";
    SESSION_CHECK_BATCH = "session/check_batch.sql";
    SESSION_LIST = "session/list.sql";
    SESSION_SET_ENABLED = "session/set_enabled.sql";
    SESSION_REVOKE = "session/revoke.sql";
    SESSION_REVOKE_ALL = "session/revoke_all.sql";
    SESSION_COUNT_LIVE = "session/count_live.sql";
    SESSION_REVOKE_OLDEST = "session/revoke_oldest.sql";
    SESSION_DELETE_ALL = "session/delete_all.sql";
    USER_CREATE = "user/create.sql";
    USER_GET = "user/get.sql";
    USER_GET_WITH_COUNTS = "user/get_with_counts.sql";
    USER_LOCK_SHARED = "user/lock_shared.sql";
    USER_LOCK = "user/lock.sql";
    USER_LOCK_FOR_KEY = "user/lock_for_key.sql";
    USER_LOCK_FOR_DELETE = "user/lock_for_delete.sql";
    USER_SET_ACTIVE = "user/set_active.sql";
    USER_MOVE_CREDENTIAL_VERSION = "user/move_credential_version.sql";
    USER_FIND_CREDENTIAL_CHANGE = "user/find_credential_change.sql";
    USER_RECORD_CREDENTIAL_CHANGE = "user/record_credential_change.sql";
    USER_FORGET_CREDENTIAL_CHANGES = "user/forget_credential_changes.sql";
    USER_DELETE = "user/delete.sql";
    GENERIC_LOCK_STATE_FOR_ISSUE = "generic/lock_state_for_issue.sql";
    GENERIC_FIND_REQUEST = "generic/find_request.sql";
    GENERIC_REPLACE = "generic/replace.sql";
    GENERIC_INSERT = "generic/insert.sql";
    GENERIC_CONSUME_SECRET = "generic/consume_secret.sql";
    GENERIC_LOCK_FOR_ISSUE_SET = "generic/lock_for_issue_set.sql";
    GENERIC_REPLACE_SET = "generic/replace_set.sql";
    GENERIC_INSERT_SET = "generic/insert_set.sql";
    GENERIC_CONSUME_SECRET_SET = "generic/consume_secret_set.sql";
    GENERIC_FIND_SECRET = "generic/find_secret.sql";
    GENERIC_LOCK_STATE_FOR_GUESS = "generic/lock_state_for_guess.sql";
    GENERIC_CODES = "generic/codes.sql";
    GENERIC_CLAIM_CODE = "generic/claim_code.sql";
    GENERIC_CHARGE_CODE = "generic/charge_code.sql";
    GENERIC_SET_WINDOW = "generic/set_window.sql";
    GENERIC_LIST = "generic/list.sql";
    GENERIC_REVOKE_ALL = "generic/revoke_all.sql";
    GENERIC_DELETE_STATE = "generic/delete_state.sql";
    GENERIC_DELETE_ALL = "generic/delete_all.sql";
    AUTH_FIND = "auth/find.sql";
    AUTH_FIND_SET = "auth/find_set.sql";
    AUTH_FIND_REQUEST = "auth/find_request.sql";
    AUTH_FIND_OBSTACLES = "auth/find_obstacles.sql";
    AUTH_REPLACE = "auth/replace.sql";
    AUTH_INSERT = "auth/insert.sql";
    AUTH_GET = "auth/get.sql";
    AUTH_LIST = "auth/list.sql";
    AUTH_DELETE = "auth/delete.sql";
    AUTH_DELETE_ALL = "auth/delete_all.sql";
    AUTH_REVOKE_ALL = "auth/revoke_all.sql";
    AUTH_NOTE_USES = "auth/note_uses.sql";
    PURGE_SESSIONS = "maintenance/purge_sessions.sql";
    PURGE_GENERIC_TOKENS = "maintenance/purge_generic_tokens.sql";
    PURGE_AUTH_TOKENS = "maintenance/purge_auth_tokens.sql";
    PURGE_CREDENTIAL_CHANGES = "maintenance/purge_credential_changes.sql";
    CLAIM_TASK = "maintenance/claim_task.sql";
    FINISH_TASK = "maintenance/finish_task.sql";
    ESTIMATE_ROWS = "maintenance/estimate_rows.sql";
    COUNT_SESSIONS = "maintenance/count_sessions.sql";
    COUNT_GENERIC_TOKENS = "maintenance/count_generic_tokens.sql";
    COUNT_AUTH_TOKENS = "maintenance/count_auth_tokens.sql";
    COUNT_USERS = "maintenance/count_users.sql";
    TABLES = "maintenance/tables.sql";
    GET_STATISTICS = "maintenance/get_statistics.sql";
    PUT_STATISTICS = "maintenance/put_statistics.sql";
    SERVER_KEY = "server_key.sql";
    IMPORT_CREATE_USERS = "import/create_users.sql";
    IMPORT_USERS = "import/users.sql";
    IMPORT_SET_USERS_ACTIVE = "import/set_users_active.sql";
    IMPORT_REVOKE_SESSIONS_OF = "import/revoke_sessions_of.sql";
    IMPORT_REVOKE_GENERIC_OF = "import/revoke_generic_of.sql";
    IMPORT_SEE_USERS = "import/see_users.sql";
    IMPORT_SEEN_SESSIONS = "import/seen_sessions.sql";
    IMPORT_SESSIONS = "import/sessions.sql";
    IMPORT_ADD_SESSIONS = "import/add_sessions.sql";
    IMPORT_MOVE_SESSIONS = "import/move_sessions.sql";
    IMPORT_SEE_SESSIONS = "import/see_sessions.sql";
    IMPORT_SEEN_GENERIC = "import/seen_generic.sql";
    IMPORT_LOCK_STATES = "import/lock_states.sql";
    IMPORT_ADD_GENERIC = "import/add_generic.sql";
    IMPORT_KNOWN_USERS = "import/known_users.sql";
    IMPORT_KNOWN_SESSIONS = "import/known_sessions.sql";
    IMPORT_KNOWN_GENERIC = "import/known_generic.sql";
    IMPORT_END_SESSIONS = "import/end_sessions.sql";
    IMPORT_END_GENERIC = "import/end_generic.sql";
    IMPORT_FORGET_USER = "import/forget_user.sql";
    IMPORT_JUDGE_AUTH = "import/judge_auth.sql";
    IMPORT_ADD_AUTH = "import/add_auth.sql";
    IMPORT_KNOWN_AUTH = "import/known_auth.sql";
    IMPORT_END_AUTH = "import/end_auth.sql";
    IMPORT_LOCK = "import/lock.sql";
}
