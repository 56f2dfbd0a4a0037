//! Sessions on MySQL and MariaDB.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, DriverError, Error, IoError, Opts, OptsBuilder, Row, Value};
use rustls::CertificateError;

use crate::source::csv::encoding::text_of;
use crate::source::database::fault::{About, Fault, ServerError};
use crate::source::database::server::{Ended, Server, Wanted};
use crate::source::database::table::SqlKind;
use crate::source::location::Options;

pub(in crate::source) struct MySqlOrMariaDb(Conn);

impl Server for MySqlOrMariaDb {
    type Row = Row;

    const KIND: SqlKind = SqlKind { name: "MySQL/MariaDB", quote: '`' };
    const TABLES: &'static str = "\
        SELECT IF(table_schema = DATABASE(), table_name, CONCAT(table_schema, '.', table_name)) \
        FROM information_schema.tables \
        WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') \
        ORDER BY 1 LIMIT 1000";
    const PASSWORD_HELP: &'static str = "it comes from the URL or MYSQL_PWD";

    async fn connect(options: &Options) -> Result<Self, ServerError> {
        let Options::Mysql(options) = options else {
            return Err(ServerError::new(About::Driver, "the address is one of PostgreSQL"));
        };
        let opts = options.encrypted()?;
        match Conn::new(opts.clone()).await {
            // As the other clients do unless `ssl-mode` says otherwise.
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer))
                if options.may_be_unencrypted() =>
            {
                Conn::new(options.unencrypted()).await
            }
            // The driver's own way to leave the name alone does not know today's TLS library.
            Err(error) if options.may_have_another_name() => match name_of_certificate(&error) {
                Some(name) => Conn::new(with_tls_name(opts, name)).await,
                None => Err(error),
            },
            result => result,
        }
        .map(Self)
        .map_err(of_driver)
    }

    async fn begin(&mut self) -> Result<(), ServerError> {
        // The server's own minute of patience with a slow reader is short while a big plan is made.
        for statement in ["SET SESSION net_write_timeout = 3600", "START TRANSACTION READ ONLY"] {
            self.0.query_drop(statement).await.map_err(of_driver)?;
        }
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), ServerError> {
        self.0.query_drop("ROLLBACK").await.map_err(of_driver)
    }

    /// Only a single statement can be prepared.
    async fn columns(&mut self, wanted: &Wanted) -> Result<Vec<String>, ServerError> {
        let sql = match wanted {
            Wanted::Table { name, .. } => format!("SELECT * FROM {}", name.as_sql('`')),
            Wanted::Query { sql, .. } => sql.clone(),
        };
        let statement = self.0.prep(sql).await.map_err(of_driver)?;
        let columns = statement.columns().iter().map(|it| it.name_str().into_owned()).collect();
        self.0.close(statement).await.map_err(of_driver)?;
        Ok(columns)
    }

    async fn each_row(
        &mut self,
        sql: &str,
        take: &mut dyn FnMut(&Row) -> Result<(), Ended>,
    ) -> Result<(), Ended> {
        let mut rows = self.0.query_iter(sql).await.map_err(of_driver)?;
        while let Some(row) = rows.next().await.map_err(of_driver)? {
            take(&row)?;
        }
        Ok(())
    }

    fn text(row: &Row, column: usize) -> Result<String, ServerError> {
        match row.as_ref(column) {
            Some(Value::Bytes(bytes)) => Ok(text_of(bytes)),
            Some(Value::NULL) => Ok(String::new()),
            // The text protocol has no other values.
            Some(_) | None => Err(ServerError::new(About::Driver, "a value of an unknown kind")),
        }
    }

    async fn end(mut self) {
        let _ = self.0.query_drop("COMMIT").await;
        let _ = self.0.disconnect().await;
    }
}

/// The name for which the server's certificate is valid, if that is all that is wrong: the root
/// is checked before the name.
fn name_of_certificate(error: &Error) -> Option<String> {
    let Error::Io(IoError::Io(io)) = error else { return None };
    match io.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        }) => presented.iter().find_map(|name| {
            let name = name.strip_prefix("DnsName(\"")?.strip_suffix("\")")?;
            Some(name.replacen('*', "any", 1))
        }),
        _ => None,
    }
}

fn with_tls_name(opts: Opts, name: String) -> Opts {
    let tls = opts.ssl_opts().cloned();
    let tls = tls.map(|tls| tls.with_danger_tls_hostname_override(Some(name)));
    OptsBuilder::from_opts(opts).ssl_opts(tls).into()
}

fn of_driver(error: Error) -> ServerError {
    match &error {
        Error::Server(error) => ServerError::new(About::Fault(fault(error.code)), &error.message),
        Error::Io(IoError::Tls(error)) => ServerError::new(About::Tls, &error.to_string()),
        // A certificate that is not believed comes as unreadable data.
        Error::Io(IoError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
            ServerError::new(About::Tls, &io.to_string())
        }
        Error::Io(IoError::Io(io)) => ServerError::new(About::Connection, &io.to_string()),
        Error::Driver(
            error @ (DriverError::UnknownAuthPlugin { .. }
            | DriverError::MysqlOldPasswordDisabled
            | DriverError::CleartextPluginDisabled),
        ) => ServerError::new(About::AuthPlugin, &error.to_string()),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            ServerError::new(About::Tls, "the server does not offer TLS")
        }
        Error::Driver(error @ DriverError::ConnectionClosed) => {
            ServerError::new(About::Connection, &error.to_string())
        }
        Error::Driver(error) => ServerError::new(About::Driver, &error.to_string()),
        Error::Url(_) | Error::Other(_) => ServerError::new(About::Driver, &error.to_string()),
    }
}

fn fault(number: u16) -> Fault {
    match number {
        1044 | 1045 | 1698 | 1251 | 1130 => Fault::Login,
        // So is an unknown database, once we are in, and a name that no table can have.
        1146 | 1049 | 1103 => Fault::UnknownTable,
        1792 | 1290 | 1836 => Fault::Writes,
        1356 => Fault::BrokenView,
        1053 | 1077 | 1152 | 1927 | 2006 | 2013 => Fault::Disconnected,
        1969 | 3024 => Fault::Timeout,
        1317 | 1205 | 1213 => Fault::Canceled,
        1142 | 1143 | 1370 | 1227 => Fault::Permission,
        1040 | 1203 | 1226 | 1021 | 1037 | 1041 => Fault::Resources,
        1365 | 1292 | 1264 | 1366 => Fault::Data,
        _ => Fault::Query,
    }
}
