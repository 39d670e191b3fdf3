//! `envgate explain --nearest`: how a hot env differs from the hot env nearest to it.

use crate::{
    commands::{
        admin::{Admin, AdminArgs, block_on},
        args::OutputFormat,
        output::{Style, aligned, print, shown},
    },
    control::Nearest,
};

/// Asks a running gateway and prints what it says.
pub(super) fn run(digest: &str, args: &AdminArgs, output: OutputFormat) -> anyhow::Result<()> {
    let admin = Admin::new(args)?;
    let path = format!("/api/v1/explain?digest={digest}");
    let nearest: Nearest = block_on(async { Ok(admin.get(&path).await?) })?;
    let text = match output {
        OutputFormat::Text => text(&nearest, Style::of_stdout()),
        OutputFormat::Json => format!("{:#}\n", serde_json::to_value(&nearest)?),
    };
    print(text.as_bytes())
}

fn text(answer: &Nearest, style: Style) -> String {
    let Some(nearest) = &answer.nearest else {
        return format!(
            "{} is the only env that is hot at its backend\n",
            shown(&answer.digest)
        );
    };
    let differences = [
        (&answer.changed, "another value"),
        (&answer.only_here, "only in this env"),
        (&answer.only_there, "only in the nearest"),
    ];
    let count: usize = differences.iter().map(|(names, _)| names.len()).sum();
    let facts = [
        ("env", shown(&answer.digest)),
        (
            "nearest",
            match count {
                1 => format!("{} (1 variable differs)", shown(nearest)),
                count => format!("{} ({count} variables differ)", shown(nearest)),
            },
        ),
    ];
    let facts = facts.map(|(name, value)| [name.to_owned(), value]);
    let mut rows = vec![["NAME", "DIFFERENCE"].map(str::to_owned)];
    for (names, what) in differences {
        rows.extend(names.iter().map(|name| [shown(name), what.to_owned()]));
    }
    let table = aligned(&rows);
    let (head, body) = table.split_once('\n').unwrap_or_default();
    format!("{}\n{}\n{body}", aligned(&facts), style.bold(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_and_nothing_else() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let answer = Nearest {
            digest: "2913c3455e08".to_owned(),
            nearest: Some("6ff5c9f33f7f".to_owned()),
            only_here: names(&["API_KEY"]),
            only_there: Vec::new(),
            changed: names(&["ENV_TYPE", "B\u{7}ELL"]),
        };
        insta::assert_snapshot!(text(&answer, Style::PLAIN), @r"
        env      2913c3455e08
        nearest  6ff5c9f33f7f (3 variables differ)

        NAME       DIFFERENCE
        ENV_TYPE   another value
        B\u{7}ELL  another value
        API_KEY    only in this env
        ");
        let alone = Nearest {
            nearest: None,
            ..answer
        };
        assert_eq!(
            text(&alone, Style::PLAIN),
            "2913c3455e08 is the only env that is hot at its backend\n"
        );
    }
}
