//! What a server says of its store: how many commits it made, and what a commit outlasts.

use crate::target::Target;

/// A reading of a server's `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Commits since the server started.
    pub commits: u64,
    /// `PRAGMA synchronous` as SQLite answered it, or Postgres's `synchronous_commit`.
    pub synchronous: String,
    /// By what a record in the log in front of SQLite is durable; `None` where there is no such log.
    pub commit_log: Option<String>,
}

impl Reading {
    /// Reads the page of `target`; `None` from a server that has no such page.
    pub async fn of(target: &Target) -> Option<Self> {
        let answer = target.connection().get("/metrics").await.ok()?;
        Self::parse(std::str::from_utf8(&answer.body).ok()?)
    }

    fn parse(page: &str) -> Option<Self> {
        let value = |name: &str| page.lines().find_map(|line| line.strip_prefix(name));
        let commits = value("lambfold_sqs_store_commits_total ")?.trim().parse().ok()?;
        let setting = |name: &str| {
            let rest = value(&format!("lambfold_sqs_store_setting{{setting=\"{name}"))?;
            rest.split("value=\"").nth(1)?.split('"').next().map(str::to_owned)
        };
        let synchronous = setting("synchronous").unwrap_or_else(|| "?".to_owned());
        Some(Self { commits, synchronous, commit_log: setting("commit_log") })
    }

    /// A page that reads back as this: the bare reference shows one, too.
    pub fn page(&self) -> String {
        let Self { commits, synchronous, commit_log } = self;
        let settings = [("synchronous", Some(synchronous)), ("commit_log", commit_log.as_ref())];
        let lines = settings.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some(format!("lambfold_sqs_store_setting{{setting=\"{name}\",value=\"{value}\"}} 1\n"))
        });
        lines.fold(format!("lambfold_sqs_store_commits_total {commits}\n"), |page, line| page + &line)
    }
}

#[cfg(test)]
mod tests {
    use super::Reading;

    #[test]
    fn a_page_reads_back() {
        let commit_log = Some("O_DSYNC".to_owned());
        let reading = Reading { commits: 7, synchronous: "FULL".to_owned(), commit_log };
        let page = format!("# TYPE x counter\n{}# EOF\n", reading.page());
        assert_eq!(Reading::parse(&page), Some(reading));
        assert_eq!(Reading::parse("# EOF\n"), None);
    }
}
