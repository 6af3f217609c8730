//! The sidecar's own log: events to stderr, as text or JSON, filtered by `AVROGATE_LOG`.

use ::tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
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

const DEFAULT: Level = Level::INFO;

/// Writes events from now on, for the whole process.
///
/// # Errors
/// Where the process has a subscriber already.
pub fn init(format: Format) -> Result<(), TryInitError> {
    let wanted = std::env::var(VARIABLE).ok();
    let (filter, is_readable) = filter(wanted.as_deref());
    let events = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let subscriber = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => {
            let on_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            subscriber.with(events.with_ansi(on_terminal)).try_init()?;
        }
        Format::Json => subscriber.with(events.json().flatten_event(true)).try_init()?,
    }
    if !is_readable {
        tracing::warn!(wanted, "{VARIABLE} cannot be read; {DEFAULT} is written");
    }
    Ok(())
}

/// The filter, and whether it is the wanted one. One that cannot be read is the default: a sidecar starts with a wrong
/// log level rather than not at all.
fn filter(wanted: Option<&str>) -> (Targets, bool) {
    let default = || Targets::new().with_default(DEFAULT);
    match wanted.map(str::parse) {
        Some(Ok(filter)) => (filter, true),
        Some(Err(_)) => (default(), false),
        None => (default(), true),
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
