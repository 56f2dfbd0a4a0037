//! The text of a database's URL, before it is parsed: several hosts, a login without a host, secrets.

use url::Url;

/// The URL once for each of its hosts: `postgres://a:1,b:2/d`, or with `host=a,b` and `port=1,2`.
pub(super) fn one_host_each(source: &str) -> Vec<String> {
    let Some((scheme, rest)) = source.split_once("://") else { return vec![source.to_owned()] };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), authority),
    };
    let urls = hosts.split(',').map(|host| match host {
        "" if !login.is_empty() => with_login_as_parameters(scheme, &login, rest),
        host => format!("{scheme}://{login}{host}{rest}"),
    });
    urls.flat_map(|url| one_host_parameter_each(&url)).collect()
}

/// `postgres://user:password@/d`: a login needs no host for libpq, but for the URL standard.
fn with_login_as_parameters(scheme: &str, login: &str, rest: &str) -> String {
    let login = login.trim_end_matches('@').replace('+', "%2B").replace('&', "%26");
    let login = match login.split_once(':') {
        Some((user, password)) => format!("user={user}&password={password}"),
        None => format!("user={login}"),
    };
    let separator = if rest.contains('?') { '&' } else { '?' };
    format!("{scheme}://{rest}{separator}{login}")
}

pub(super) fn without_secrets(source: &str) -> String {
    let (start, query) = source.split_once('?').unwrap_or((source, ""));
    let start = match start
        .split_once("://")
        .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)))
    {
        Some((scheme, (login, place))) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{place}")
        }
        None => start.to_owned(),
    };
    let is_secret = |pair: &&str| {
        let pair = Url::parse(&format!("x:?{pair}")).ok();
        pair.and_then(|url| url.query_pairs().next().map(|(key, value)| is_secret(&key, &value)))
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| is_secret(pair) == Some(false)).collect();
    if kept.is_empty() { start } else { format!("{start}?{}", kept.join("&")) }
}

/// A private key can be given as text, in the place of a file's name.
fn is_secret(parameter: &str, value: &str) -> bool {
    let is_key = matches!(parameter, "sslkey" | "ssl-key");
    parameter == "password" || (is_key && value.trim().starts_with("-----BEGIN"))
}

fn one_host_parameter_each(url: &str) -> Vec<String> {
    let Some((start, query)) = url.split_once('?') else { return vec![url.to_owned()] };
    let hosts = query.split('&').find_map(|pair| pair.strip_prefix("host="));
    let count = hosts.map_or(1, |hosts| hosts.split(',').count());
    let nth = |at: usize| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((key @ ("host" | "port" | "hostaddr"), values)) => {
                let value = values.split(',').nth(at).or_else(|| values.split(',').next_back());
                format!("{key}={}", value.unwrap_or_default())
            }
            _ => pair.to_owned(),
        });
        format!("{start}?{}", pairs.collect::<Vec<_>>().join("&"))
    };
    (0..count).map(nth).collect()
}
