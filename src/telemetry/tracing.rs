//! The sidecar's own log: events to stderr, as text or JSON, filtered by `AVROGATE_LOG`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For a person; coloured on a terminal.
    #[default]
    Text,
    /// For a machine: one object a line.
    Json,
}

/// The variable that says what is written, such as `debug` or `avrogate::proxy=trace,info`.
pub const VARIABLE: &str = "AVROGATE_LOG";

const DEFAULT: &str = "info";

/// Writes events from now on, for the whole process.
///
/// # Errors
/// Where the process has a subscriber already.
pub fn init(format: Format) -> Result<(), TryInitError> {
    let wanted = std::env::var(VARIABLE).ok();
    let (filter, is_readable) = filter(wanted.as_deref());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => {
            let on_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(on_terminal).finish().try_init()?;
        }
        Format::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    if !is_readable {
        tracing::warn!(wanted, "{VARIABLE} cannot be read; {DEFAULT} is written");
    }
    Ok(())
}

/// The filter, and whether it is the wanted one. One that cannot be read is the default: a sidecar starts with a wrong
/// log level rather than not at all.
fn filter(wanted: Option<&str>) -> (EnvFilter, bool) {
    match wanted.map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, true),
        Some(Err(_)) => (EnvFilter::new(DEFAULT), false),
        None => (EnvFilter::new(DEFAULT), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_the_default() {
        for (given, wanted, is_readable) in [
            (None, "info", true),
            (Some("debug"), "debug", true),
            (Some("avrogate::proxy=trace,warn"), "avrogate::proxy=trace,warn", true),
            (Some("avrogate=loud"), "info", false),
        ] {
            let (filter, readable) = filter(given);
            assert_eq!((filter.to_string().as_str(), readable), (wanted, is_readable));
        }
    }
}
