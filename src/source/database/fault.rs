//! What a server's error is about, and what to do about it.
//!
//! Pure: no clock, no I/O.

use crate::display::clause;

/// An error of a server or of the driver that speaks to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct ServerError {
    pub(in crate::source) about: About,
    /// On one line and without its own full stop.
    pub(in crate::source) message: String,
}

impl ServerError {
    pub(in crate::source) fn new(about: About, message: &str) -> Self {
        Self { about, message: clause(message) }
    }

    pub(in crate::source) fn fault(&self) -> Option<Fault> {
        match self.about {
            About::Fault(fault) => Some(fault),
            About::Tls | About::AuthPlugin | About::Connection | About::Driver => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum About {
    /// The server has answered with an error.
    Fault(Fault),
    /// The certificates of the server or of this program.
    Tls,
    /// The server demands a way to log in that the driver does not have.
    AuthPlugin,
    Connection,
    Driver,
}

/// What a server's error is about, as far as the advice differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Fault {
    Login,
    UnknownTable,
    BrokenView,
    Writes,
    /// The server went away or threw us out.
    Disconnected,
    /// A limit of the server on the time of a statement.
    Timeout,
    /// Someone else ended the statement.
    Canceled,
    Permission,
    /// The server starts, stops, or recovers.
    NotReady,
    /// The server has no connection, memory or disk left.
    Resources,
    /// A pool gives each statement another session.
    StatementPooling,
    /// A value of some row is at fault.
    Data,
    Query,
}

impl Fault {
    /// What to do about it.
    pub(in crate::source) fn advice(self) -> &'static str {
        match self {
            Self::Login => "Check the user, its rights and the password.",
            Self::UnknownTable => "Check the names in the query, and that this user may read them.",
            Self::BrokenView => "Fix the view, or read what it reads with --query.",
            Self::Writes => "A source is only read: give one SELECT statement.",
            Self::Disconnected => "Run again when the server is back.",
            Self::Timeout => {
                "A time limit of the server ended the query (PostgreSQL: statement_timeout, \
                 MariaDB: max_statement_time, MySQL: max_execution_time). Raise it for this user, \
                 or make the query faster, for example with an index."
            }
            Self::Canceled => "Someone or a conflict on the server ended the query; run again.",
            Self::Permission => "Grant this user the right to read it (GRANT SELECT).",
            Self::NotReady => "Run again in a moment, when the server lets connections in.",
            Self::Resources => {
                "The server is short of connections, memory or disk; run again later."
            }
            Self::StatementPooling => {
                "PgBouncer pools single statements here, so a --query cannot hold a semicolon. \
                 Read a view with --table, or use a pool in transaction or session mode."
            }
            Self::Data => "Change the query so that it does not fail on this value.",
            Self::Query => "Give one SELECT statement.",
        }
    }
}

/// Checks of certificates that failed, by what the TLS library says.
pub(in crate::source) fn tls_advice(message: &str) -> &'static str {
    if message.contains("CaUsedAsEndEntity") {
        "The server's certificate is a root itself. Give the server one that a root of your own has \
         signed, and name that root with sslrootcert (MySQL: ssl-ca)."
    } else if message.contains("not valid for name") {
        "The server's certificate is for another name. Use that name in the URL, or \
         sslmode=verify-ca (MySQL: ssl-mode=verify_ca) to check the root alone, or give the server a \
         certificate whose subjectAltName is the name in the URL."
    } else {
        "Check sslmode (MySQL: ssl-mode), and that sslrootcert (MySQL: ssl-ca) names the certificate \
         that signed the server's."
    }
}
