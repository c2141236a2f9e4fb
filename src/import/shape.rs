//! What the tables of a Django database look like, and whether they can be imported. All that is wrong is told at once.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::Names;
use super::error::ImportError;

/// The columns of the client, in the order that they are read in.
pub(super) const CLIENT: [&str; 12] = [
    "ip",
    "is_mobile",
    "is_tablet",
    "is_pc",
    "is_bot",
    "browser",
    "browser_version",
    "os",
    "os_version",
    "device",
    "device_brand",
    "device_model",
];

/// The tables, as they were found.
#[derive(Debug)]
pub struct Shape {
    /// Users.
    pub users: Table,
    /// The whitelist of refresh tokens.
    pub refresh: Table,
    /// One-time tokens; `None` if there is no such table.
    pub generic: Option<Table>,
    /// Keys of `rest_framework.authtoken`; `None` if there is no such table.
    pub auth: Option<Table>,
    /// The type of the users' primary key.
    pub key_type: String,
    /// What is odd but no obstacle.
    pub notes: Vec<String>,
}

/// A table, as it was found.
#[derive(Debug)]
pub struct Table {
    /// Its name, quoted.
    pub name: String,
    /// By the package's name: the column's own name and its type.
    columns: BTreeMap<&'static str, (String, String)>,
}

/// What type a column must have.
#[derive(Clone, Copy)]
enum Kind {
    Key,
    Flag,
    Text,
    Time,
    Address,
}

impl Kind {
    fn takes(self, type_name: &str) -> bool {
        let is_text = || {
            ["text", "character varying", "character"]
                .iter()
                .any(|text| type_name == *text || type_name.starts_with(&format!("{text}(")))
        };
        match self {
            Self::Key => matches!(type_name, "smallint" | "integer" | "bigint" | "uuid") || is_text(),
            Self::Flag => type_name == "boolean",
            Self::Text => is_text(),
            Self::Time => type_name == "timestamp with time zone",
            Self::Address => type_name == "inet" || is_text(),
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Key => "integers, UUIDs or texts",
            Self::Flag => "boolean",
            Self::Text => "text",
            Self::Time => "timestamp with time zone",
            Self::Address => "inet",
        }
    }
}

const USERS: &[(&str, Kind)] = &[("id", Kind::Key), ("is_active", Kind::Flag)];
const REFRESH: &[(&str, Kind)] = &[
    ("id", Kind::Key),
    ("created", Kind::Time),
    ("jti", Kind::Text),
    ("enabled", Kind::Flag),
    ("session", Kind::Text),
    ("user_id", Kind::Key),
];
const GENERIC: &[(&str, Kind)] = &[
    ("id", Kind::Key),
    ("created", Kind::Time),
    ("token", Kind::Text),
    ("purpose", Kind::Text),
    ("user_id", Kind::Key),
];

const AUTH: &[(&str, Kind)] = &[("key", Kind::Text), ("created", Kind::Time), ("user_id", Kind::Key)];

fn client_kind(name: &str) -> Kind {
    match name {
        "ip" => Kind::Address,
        _ if name.starts_with("is_") => Kind::Flag,
        _ => Kind::Text,
    }
}

impl Table {
    /// A column that must be there, of the table by its alias `t`.
    pub fn column(&self, name: &str) -> &str {
        self.columns.get(name).map_or("null", |(column, _)| column)
    }

    /// A column of the client as it is read: null where the table has none.
    pub fn client_column(&self, name: &str) -> String {
        match (self.columns.get(name), client_kind(name)) {
            (Some((column, kind)), Kind::Address) if kind == "inet" => format!("host({column})"),
            (Some((column, _)), Kind::Flag) => column.clone(),
            (Some((column, _)), _) => format!("{column}::text"),
            (None, Kind::Flag) => "null::boolean".to_owned(),
            (None, _) => "null::text".to_owned(),
        }
    }

    /// The type of the primary key.
    pub fn key_type(&self) -> &str {
        self.columns.get("id").map_or("text", |(_, kind)| kind)
    }
}

/// What is found out about the tables.
struct Look<'a> {
    client: &'a Client,
    names: &'a Names,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Shape {
    /// Looks at the tables.
    ///
    /// # Errors
    /// They can't be read, or aren't those of the package: then all that is wrong.
    pub async fn read(client: &Client, names: &Names) -> Result<Self, ImportError> {
        let mut look = Look { client, names, problems: Vec::new(), notes: Vec::new() };
        let refresh_name = format!("{}refreshtokenwhitelistmodel", names.table_prefix);
        let refresh = look.table("refresh", &names.schema, &refresh_name, REFRESH, true).await?;
        if refresh.is_none() {
            let hint = look.where_it_may_be().await?;
            look.problems.push(format!("there is no table {}.{refresh_name}{hint}", names.schema));
        }
        let generic_name = format!("{}generictokenmodel", names.table_prefix);
        let generic = look.table("generic", &names.schema, &generic_name, GENERIC, true).await?;
        if generic.is_none() {
            look.notes.push(format!("there is no table {}.{generic_name}: no one-time tokens", names.schema));
        }
        let auth = look.table("auth", &names.schema, &names.auth_table, AUTH, false).await?;
        if auth.is_none() {
            look.notes.push(format!("there is no table {}.{}: no API keys", names.schema, names.auth_table));
        }
        let (schema, user_table) = look.user_table(refresh.as_ref()).await?;
        let users = look.table("user", &schema, &user_table, USERS, false).await?;
        if users.is_none() {
            look.problems.push(format!(
                "there is no table {schema}.{user_table}: name the users' table with --user-table"
            ));
        }
        let unused = names
            .columns
            .iter()
            .filter(|column| !matches!(column.table.as_str(), "user" | "refresh" | "generic" | "auth"));
        look.problems.extend(unused.map(|column| {
            format!("--column {}.{}: tables are user, refresh, generic and auth", column.table, column.name)
        }));
        match (users, refresh) {
            (Some(users), Some(refresh)) if look.problems.is_empty() => {
                let key_type = users.key_type().to_owned();
                Ok(Self { users, refresh, generic, auth, key_type, notes: look.notes })
            }
            _ => Err(ImportError::Shape(look.problems)),
        }
    }
}

impl Look<'_> {
    /// Looks at a table; `None` if it isn't there.
    async fn table(
        &mut self,
        role: &str,
        schema: &str,
        table: &str,
        wanted: &[(&'static str, Kind)],
        is_of_tokens: bool,
    ) -> Result<Option<Table>, ImportError> {
        let name = format!("{}.{}", quoted(schema), quoted(table));
        let sql = "select a.attname::text, format_type(a.atttypid, null) from pg_attribute a \
                   where a.attrelid = to_regclass($1::text) and a.attnum > 0 and not a.attisdropped";
        let rows = self.client.query(sql, &[&name]).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut found = BTreeMap::new();
        for row in &rows {
            found.insert(row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?);
        }
        let clients = if is_of_tokens { &CLIENT[..] } else { &[] };
        let optional = clients.iter().map(|name| (*name, client_kind(name), false));
        let wanted = wanted.iter().map(|(name, kind)| (*name, *kind, true)).chain(optional);
        let mut columns = BTreeMap::new();
        for (name, kind, is_needed) in wanted {
            let own = self.names.column(role, name);
            match found.remove(own) {
                Some(type_name) if kind.takes(&type_name) => {
                    // With the table's alias: `order by "id"` would mean the output of that name, a text.
                    columns.insert(name, (format!("t.{}", quoted(own)), type_name));
                }
                Some(type_name) => self.problems.push(format!(
                    "{schema}.{table}: column {own} is {type_name}, expected {}",
                    kind.wanted()
                )),
                None if is_needed => self.problems.push(format!(
                    "{schema}.{table} has no column {own}: if it has another name there, say --column {role}.{name}=NAME"
                )),
                None => self.notes.push(format!("{schema}.{table} has no column {own}: it stays unknown")),
            }
        }
        if is_of_tokens && !found.is_empty() {
            let extra: Vec<_> = found.into_keys().collect();
            self.notes
                .push(format!("{schema}.{table} has columns that aren't imported: {}", extra.join(", ")));
        }
        Ok(Some(Table { name, columns }))
    }

    /// The table of the users: named, or else the one that refresh tokens refer to.
    async fn user_table(&self, refresh: Option<&Table>) -> Result<(String, String), ImportError> {
        let default = (self.names.schema.clone(), format!("{}jauser", self.names.table_prefix));
        if let Some(named) = &self.names.user_table {
            return Ok(match named.split_once('.') {
                Some((schema, table)) => (schema.to_owned(), table.to_owned()),
                None => (self.names.schema.clone(), named.clone()),
            });
        }
        let Some(refresh) = refresh else { return Ok(default) };
        let sql = "select n.nspname::text, c.relname::text from pg_constraint k \
                   join pg_class c on c.oid = k.confrelid join pg_namespace n on n.oid = c.relnamespace \
                   join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1] \
                   where k.contype = 'f' and k.conrelid = to_regclass($1::text) and a.attname = $2::text::name";
        let column = self.names.column("refresh", "user_id");
        let found = self.client.query_opt(sql, &[&refresh.name, &column]).await?;
        found.map_or(Ok(default), |row| Ok((row.try_get(0)?, row.try_get(1)?)))
    }

    /// Where tables of the package are, if anywhere.
    async fn where_it_may_be(&self) -> Result<String, ImportError> {
        let sql = "select schemaname::text || '.' || tablename::text from pg_tables \
                   where tablename like '%refreshtokenwhitelistmodel' order by 1 limit 5";
        let mut found = Vec::new();
        for row in self.client.query(sql, &[]).await? {
            found.push(row.try_get::<_, String>(0)?);
        }
        Ok(if found.is_empty() {
            ", nor any of that name elsewhere: is --from the Django database?".to_owned()
        } else {
            format!("; there is {}: see --schema and --table-prefix", found.join(", "))
        })
    }
}

/// An identifier as SQL takes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
