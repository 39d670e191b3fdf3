//! `envgate instances`: what a running gateway's instances are up to.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::{
    admin::{Admin, AdminArgs, block_on},
    args::OutputFormat,
    output::{Style, aligned, print, shown},
};
use crate::control::Row;

const EXAMPLES: &str = "\
Without --all only instances that have a process or had one are listed; with it every env that is
hot, at backends with workers of their own too.

Examples:
  envgate instances
  envgate instances --all --admin unix:/run/envgate/admin.sock
  envgate instances --output json | jq '.[] | select(.state == \"failed\")'";

/// `envgate instances`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct InstancesArgs {
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Also list what never had a process: every env that is hot.
    #[arg(long)]
    pub all: bool,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Lists a running gateway's instances.
///
/// # Errors
///
/// There is no gateway, or it doesn't tell.
pub fn run(args: &InstancesArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.admin)?;
    let rows: Vec<Row> = block_on(async { Ok(admin.get(path(args.all)).await?) })?;
    let text = match args.output {
        OutputFormat::Text => text(&rows, args.all, Style::of_stdout()),
        OutputFormat::Json => format!("{:#}\n", serde_json::to_value(&rows)?),
    };
    print(text.as_bytes())
}

/// What lists the instances.
pub(super) const fn path(all: bool) -> &'static str {
    match all {
        true => "/api/v1/instances?all=true",
        false => "/api/v1/instances",
    }
}

fn text(rows: &[Row], all: bool, style: Style) -> String {
    if rows.is_empty() {
        let text = match all {
            true => "No env is hot: no call came within the last ten minutes.\n",
            false => {
                "No instance has a process or had one lately. Envs at backends with workers of \
                 their own have none; --all lists them too.\n"
            }
        };
        return text.to_owned();
    }
    let head = [
        "ID",
        "BACKEND",
        "DIGEST",
        "STATE",
        "GEN",
        "PID",
        "AGE",
        "CALLS",
        "RUNNING",
        "QUEUED",
        "MEMORY",
        "LAST ERROR",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| line(row, style)));
    let table = aligned(&lines);
    let (head, body) = table.split_once('\n').unwrap_or_default();
    format!("{}\n{body}", style.bold(head))
}

fn line(row: &Row, style: Style) -> [String; 12] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let error = row.last_error.as_deref().unwrap_or_default();
    [
        row.id.to_string(),
        or_none(row.backend.as_deref().map(shown)),
        or_none(row.digest.as_deref().map(shown)),
        row.state.as_str().to_owned(),
        row.generation.to_string(),
        or_none(row.pid.map(|pid| pid.to_string())),
        or_none(
            row.age_seconds
                .map(|age| human_age(Duration::from_secs(age))),
        ),
        row.calls.to_string(),
        row.in_flight.to_string(),
        row.queue.to_string(),
        or_none(
            row.rss_bytes
                .map(|bytes| ByteSize::b(bytes).display().iec().to_string()),
        ),
        style.warning(&shown(error)),
    ]
}

/// The two largest units of a duration.
pub(super) fn human_age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RowState;

    fn row() -> Row {
        Row {
            id: 3,
            digest: Some("2913c3455e08".to_owned()),
            backend: Some("games".to_owned()),
            state: RowState::Ready,
            generation: 2,
            pid: Some(4711),
            age_seconds: Some(125),
            calls: 17,
            in_flight: 2,
            queue: 0,
            rss_bytes: Some(45 << 20),
            last_error: Some("it ended by itself: status\u{1b}[2J 1".to_owned()),
        }
    }

    #[test]
    fn the_table_is_aligned_and_escapes_what_a_terminal_would_obey() {
        let bare = Row {
            id: 12,
            digest: None,
            backend: None,
            state: RowState::Absent,
            pid: None,
            age_seconds: None,
            rss_bytes: None,
            last_error: None,
            ..row()
        };
        insta::assert_snapshot!(text(&[row(), bare], true, Style::PLAIN), @r"
        ID  BACKEND  DIGEST        STATE   GEN  PID   AGE    CALLS  RUNNING  QUEUED  MEMORY    LAST ERROR
        3   games    2913c3455e08  ready   2    4711  2m 5s  17     2        0       45.0 MiB  it ended by itself: status\u{1b}[2J 1
        12  -        -             absent  2    -     -      17     2        0       -
        ");
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert!(text(&[], false, Style::PLAIN).contains("--all"));
        assert!(!text(&[], true, Style::PLAIN).contains("--all"));
    }

    #[test]
    fn an_age_has_two_units() {
        let age = |seconds| human_age(Duration::from_secs(seconds));
        assert_eq!(age(0), "0s");
        assert_eq!(age(59), "59s");
        assert_eq!(age(61), "1m 1s");
        assert_eq!(age(3600 + 120), "1h 2m");
        assert_eq!(age(2 * 86_400 + 3 * 3600 + 59), "2d 3h");
    }
}
