//! Where a source is: what the user writes, parsed, and named without secrets.

use std::fmt;
use std::path::{Path, PathBuf};

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::error::{SourceError, broken_url};
use super::mysql_url::{Address, MysqlOptions, bare_ipv6};
use super::url_text::{one_host_each, without_secrets};
use crate::display::{escaped, quoted};

/// The parameters of a URL that reach PostgreSQL; any other would be ignored in silence.
const POSTGRES_PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Parameters of libpq and of providers that make no difference to a reader of rows.
const POSTGRES_IGNORED: &[&str] = &[
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "fallback_application_name",
    "client_encoding",
    "channel_binding",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "sslcompression",
    "sslsni",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "target_session_attrs",
    "load_balance_hosts",
    "pgbouncer",
    "connection_limit",
    "pool_timeout",
    "pool_max_conns",
    "statement_cache_size",
    "uselibpqcompat",
    "supa",
];

/// Those of the drivers of MySQL.
const MYSQL_IGNORED: &[&str] = &[
    "connectTimeout",
    "connect_timeout",
    "socketTimeout",
    "timeout",
    "readTimeout",
    "parseTime",
    "loc",
    "autoReconnect",
    "useUnicode",
    "characterEncoding",
    "zeroDateTimeBehavior",
    "serverTimezone",
    "allowPublicKeyRetrieval",
    "charset",
    "collation",
    "timezone",
    "time-zone",
    "connection_limit",
    "pool_timeout",
    "reconnect",
];

/// They name the certificate that signs the server's.
const ROOT_PARAMETERS: &[&str] = &["sslrootcert", "ssl-root-cert", "ssl-ca"];

/// With an `@`, they hold a login that belongs elsewhere and would be printed.
const NEVER_WITH_LOGIN: &[&str] = &["host", "hostaddr", "port", "sslmode", "ssl-mode"];

/// They name a file.
const FILE_PARAMETERS: &[&str] = &[
    "sslrootcert",
    "ssl-root-cert",
    "sslca",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
];

/// The parameters of a URL that reach MySQL and MariaDB.
const MYSQL_PARAMETERS: &[&str] = &[
    "sslmode", "ssl-mode", "sslca", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key", "socket",
];

/// Where the rows are.
#[derive(Clone, Debug)]
pub enum Location {
    /// Standard input, written `-`.
    Stdin,
    /// A CSV file.
    File(PathBuf),
    /// An SQLite database, written `sqlite:PATH`.
    Sqlite(PathBuf),
    /// A PostgreSQL server, written `postgres://…` or `postgresql://…`.
    Postgres(DatabaseUrl),
    /// A MySQL or MariaDB server, written `mysql://…` or `mariadb://…`.
    Mysql(DatabaseUrl),
}

/// The address of a database with its login. Shown (`Debug`, `Display`) without the password.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// The hosts that are tried in turn.
    pub(super) hosts: Vec<Options>,
    place: String,
    /// As it was given, without the secrets in it.
    without_secrets: String,
    /// Parameters of the URL that make no difference here.
    pub(super) ignored: Vec<String>,
}

#[derive(Clone)]
pub(super) enum Options {
    Postgres(Box<PgConnectOptions>),
    Mysql(Box<MysqlOptions>),
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.place)
    }
}

impl Location {
    /// The file that is read; that which standard input comes from, if it is one.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Stdin => Some("/dev/stdin".into()),
            Self::File(path) | Self::Sqlite(path) => Some(path.clone()),
            Self::Postgres(_) | Self::Mysql(_) => None,
        }
    }

    /// Understands what a user names as the source. Of a database, this also reads what the
    /// environment says of it (`PGHOST`, `PGPASSWORD`, `~/.pgpass`, `MYSQL_PWD` and so on).
    ///
    /// # Errors
    /// A [`super::SourceErrorKind::Usage`] for an unknown or broken URL; it repeats no password.
    pub fn parse(source: &str) -> Result<Self, SourceError> {
        if source.is_empty() {
            return Err(usage("The source is an empty text. Name a file, `-` or a database."));
        }
        if source == "-" {
            return Ok(Self::Stdin);
        }
        if let Some(path) = source.strip_prefix("sqlite:") {
            return sqlite_path(path).map(Self::Sqlite);
        }
        let scheme = source.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match scheme.as_str() {
            "postgres" | "postgresql" if source.contains(':') => {
                DatabaseUrl::postgres(source).map(Self::Postgres)
            }
            "mysql" | "mariadb" if source.contains(':') => {
                DatabaseUrl::mysql(source).map(Self::Mysql)
            }
            other if source.contains("://") => Err(SourceError::Usage(format!(
                "A source of kind {} is not known. Known are a file, `-`, `sqlite:PATH`, \
                 `postgres://…` and `mysql://…`.",
                quoted(&format!("{other}://"))
            ))),
            _ => Ok(Self::File(PathBuf::from(source))),
        }
    }

    /// What messages, reports and the store call it; the same whatever the working directory.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => escaped(&lasting_path(path).to_string_lossy()).into_owned(),
            Self::Sqlite(path) => {
                format!("sqlite:{}", escaped(&lasting_path(path).to_string_lossy()))
            }
            Self::Postgres(url) | Self::Mysql(url) => url.place.clone(),
        }
    }
}

impl DatabaseUrl {
    /// The address of a PostgreSQL server, `postgres://…`.
    ///
    /// # Errors
    /// It is not one, or broken; the message repeats no password.
    pub fn of_postgres(url: &str) -> Result<Self, SourceError> {
        match Location::parse(url) {
            Ok(Location::Postgres(url)) => Ok(url),
            Err(error) if url.contains("://") => Err(error),
            _ => Err(usage("Name a PostgreSQL server: postgres://user@host/database.")),
        }
    }

    /// The user that logs in.
    pub fn user(&self) -> String {
        match self.hosts.first() {
            Some(Options::Postgres(options)) => options.get_username().to_owned(),
            Some(Options::Mysql(_)) | None => String::new(),
        }
    }

    /// The URL as it was given, without the password, to be kept and to be typed again.
    pub fn without_secrets(&self) -> &str {
        &self.without_secrets
    }

    fn postgres(source: &str) -> Result<Self, SourceError> {
        let (mut hosts, mut addresses, mut login, mut ignored) =
            (Vec::new(), Vec::new(), (String::new(), String::new()), Vec::new());
        for source in one_host_each(source) {
            let parsed = parse_url(&source, POSTGRES_PARAMETERS, POSTGRES_IGNORED)?;
            let options = postgres_options(&parsed.url)?;
            addresses.push(match options.get_socket() {
                Some(socket) => format!("[{}]:{}", socket.display(), options.get_port()),
                None => address(options.get_host(), options.get_port()),
            });
            let user = options.get_username();
            login = (user.to_owned(), options.get_database().unwrap_or(user).to_owned());
            ignored = parsed.ignored;
            hosts.push(Options::Postgres(Box::new(options.disable_statement_logging())));
        }
        let place = format!("postgres://{}@{}/{}", login.0, addresses.join(","), login.1);
        Ok(Self {
            hosts,
            place: escaped(&place).into_owned(),
            without_secrets: without_secrets(source),
            ignored,
        })
    }

    fn mysql(source: &str) -> Result<Self, SourceError> {
        let (mut hosts, mut addresses, mut login, mut ignored) =
            (Vec::new(), Vec::new(), (String::new(), String::new()), Vec::new());
        for source in one_host_each(source) {
            let parsed = parse_url(&source, MYSQL_PARAMETERS, MYSQL_IGNORED)?;
            let options = MysqlOptions::of_url(&parsed.url)?;
            addresses.push(match &options.address {
                Address::Socket(path) => format!("[{path}]"),
                Address::Host { name, port } => address(name, *port),
            });
            login = (options.user.clone(), options.database.clone());
            ignored = parsed.ignored;
            hosts.push(Options::Mysql(Box::new(options)));
        }
        let place = format!("mysql://{}@{}/{}", login.0, addresses.join(","), login.1);
        Ok(Self {
            hosts,
            place: escaped(&place).into_owned(),
            without_secrets: without_secrets(source),
            ignored,
        })
    }
}

fn postgres_options(url: &Url) -> Result<PgConnectOptions, SourceError> {
    let options = PgConnectOptions::from_url(url).map_err(|error| broken_url(&error))?;
    // A pool refuses a session that asks for settings of its own.
    let mut options = options.extra_float_digits(None);
    if let Some(host) = bare_ipv6(options.get_host()) {
        options = options.host(&host);
    }
    let names_root = url.query_pairs().any(|(key, _)| ROOT_PARAMETERS.contains(&key.as_ref()));
    if names_root && matches!(options.get_ssl_mode(), PgSslMode::Require) {
        // As libpq does: if a root is named, check it.
        options = options.ssl_mode(PgSslMode::VerifyCa);
    }
    Ok(options)
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The path by which a file can be found again: symbolic links followed. A pipe has none that
/// lasts, and what does not exist has no links to follow.
pub(super) fn lasting_path(path: &Path) -> PathBuf {
    let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if path.is_file() { path.canonicalize().unwrap_or_else(|_| absolute()) } else { absolute() }
}

fn sqlite_path(path: &str) -> Result<PathBuf, SourceError> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(usage("`sqlite:` names no file. Write `sqlite:PATH`."));
    }
    Ok(PathBuf::from(path))
}

/// A URL without the parameters that make no difference.
struct ParsedUrl {
    url: Url,
    ignored: Vec<String>,
}

/// Refuses what could be half a password: that would be printed as something else.
fn parse_url(source: &str, known: &[&str], ignorable: &[&str]) -> Result<ParsedUrl, SourceError> {
    let mut url = Url::parse(source).map_err(|error| broken_url(&error))?;
    if !source.contains("://") {
        return Err(broken_url(&"`//` is missing after the colon"));
    }
    if url.fragment().is_some() || url.path().contains('@') {
        return Err(broken_url(&"there is a `#`, or an `@` after the host"));
    }
    let (mut kept, mut ignored) = (Vec::new(), Vec::new());
    for (key, value) in url.query_pairs() {
        if NEVER_WITH_LOGIN.contains(&key.as_ref()) && value.contains('@') {
            return Err(broken_url(&format!("there is an `@` in `{key}`")));
        }
        let group = key.starts_with("options[") && known.contains(&"options");
        if ignorable.contains(&key.as_ref()) {
            ignored.push(key.into_owned());
        } else if ROOT_PARAMETERS.contains(&key.as_ref()) && value == "system" {
            // The roots of the system are the usual ones; to name them means to check all.
            kept.push(("sslmode".to_owned(), "verify-full".to_owned()));
        } else if group || known.contains(&key.as_ref()) {
            check_file(&key, &value)?;
            kept.push((key.into_owned(), value.into_owned()));
        } else {
            return Err(broken_url(&format!(
                "it has a parameter that is not known; known are {}",
                known.join(", ")
            )));
        }
    }
    if kept.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    Ok(ParsedUrl { url, ignored })
}

/// A certificate or key that is not there would be reported as an unreachable server.
fn check_file(parameter: &str, value: &str) -> Result<(), SourceError> {
    if !FILE_PARAMETERS.contains(&parameter) || value.trim().starts_with("-----BEGIN") {
        return Ok(());
    }
    std::fs::File::open(value).map(drop).map_err(|error| {
        let path = quoted(value);
        SourceError::Usage(format!(
            "{parameter} in the database URL names {path}, which cannot be read: {error}. Check the \
             path."
        ))
    })
}

fn usage(message: &str) -> SourceError {
    SourceError::Usage(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceErrorKind;
    use proptest::prelude::*;

    #[test]
    fn each_kind_is_known_by_what_it_begins_with() {
        let kind = |source| format!("{:?}", Location::parse(source).unwrap());
        assert_eq!(kind("-"), "Stdin");
        assert_eq!(kind("a b.csv"), "File(\"a b.csv\")");
        assert_eq!(kind("./postgres.csv"), "File(\"./postgres.csv\")");
        assert_eq!(kind("sqlite:a.db"), "Sqlite(\"a.db\")");
        assert_eq!(kind("sqlite:///data/a.db"), "Sqlite(\"/data/a.db\")");
        for (source, shown) in [
            ("postgres://u:geheim@h:5433/d", "Postgres(DatabaseUrl(postgres://u@h:5433/d))"),
            ("PostgreSQL://u:geheim@h/", "Postgres(DatabaseUrl(postgres://u@h:5432/u))"),
            (
                "postgres:///d?host=/run/pg&user=u&password=geheim",
                "Postgres(DatabaseUrl(postgres://u@[/run/pg]:5432/d))",
            ),
            ("mysql://u:geheim@h/d", "Mysql(DatabaseUrl(mysql://u@h:3306/d))"),
            (
                "mariadb://u:a%40geheim@h/d?ssl-mode=required",
                "Mysql(DatabaseUrl(mysql://u@h:3306/d))",
            ),
        ] {
            assert_eq!(kind(source), shown);
        }
    }

    #[test]
    fn an_unknown_kind_is_answered_with_the_known_ones() {
        let error = Location::parse("mssql://u:geheim@h/d").unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Usage);
        let message = error.to_string();
        assert!(message.contains("`mssql://`") && message.contains("sqlite:PATH"), "{message}");
        assert!(!message.contains("geheim"), "{message}");
    }

    #[test]
    fn a_broken_url_repeats_no_password() {
        for source in [
            "postgres://u:ge#heim@h/d",
            "postgres://u:12#heim@h/d",
            "postgres://u:12/heim@h/d",
            "postgres://u:12?heim@h/d",
            "postgres://u:heim/x@h/d",
            "postgres:u:heim@h/d",
            "postgres:/u:heim@h/d",
            "mysql://u:1?heim=2@h/d",
            "mysql://u@h/d?password=heim",
            "postgres://u:heim@h/d?sslmode=odd",
            "postgres://u@h/d?sslmode=u:heim@odd",
            "postgres:///d?host=u:heim@h",
            "postgres://u:heim@h:port/d",
        ] {
            let error = Location::parse(source).expect_err(source);
            assert_eq!(error.kind(), SourceErrorKind::Usage, "{source}");
            assert!(!format!("{error} {error:?}").contains("heim"), "{source}: {error}");
        }
    }

    #[test]
    fn a_url_is_kept_without_its_secrets() {
        for (source, kept) in [
            (
                "postgres://u:geheim@h:1,i:2/d?sslmode=require",
                "postgres://u@h:1,i:2/d?sslmode=require",
            ),
            ("postgres:///d?host=/run&user=u&password=geheim", "postgres:///d?host=/run&user=u"),
            ("postgres:///d?pass%77ord=geheim", "postgres:///d"),
            ("postgres://u:geheim@/d?host=a,b", "postgres://u@/d?host=a,b"),
            ("postgres://h/d?sslkey=-----BEGIN%20geheim", "postgres://h/d"),
            ("postgres://u@h/d", "postgres://u@h/d"),
        ] {
            assert_eq!(DatabaseUrl::of_postgres(source).unwrap().without_secrets(), kept);
            DatabaseUrl::of_postgres(kept).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_password_is_ever_kept(password in "[a-z0-9#/?:@%&=\\[\\] ]{0,8}geheim[a-z0-9#/?:@%&=]{0,8}") {
            if let Ok(url) = DatabaseUrl::of_postgres(&format!("postgres://u:{password}@h:1/d")) {
                prop_assert!(!url.without_secrets().contains("geheim"), "{}", url.without_secrets());
            }
        }

        #[test]
        fn no_password_is_ever_shown(password in "[a-z0-9#/?:@%&=\\[\\] ]{0,8}geheim[a-z0-9#/?:@%&=]{0,8}") {
            for kind in ["postgres", "postgresql", "mysql", "mariadb", "oracle"] {
                let shown = format!("{:?}", Location::parse(&format!("{kind}://u:{password}@h:1/d")));
                prop_assert!(!shown.contains("geheim"), "{}", shown);
            }
        }
    }
}
