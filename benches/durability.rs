//! What a server says of its store: how many commits it made, and what a commit outlasts.

use crate::target::Target;

/// A reading of a server's `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Commits since the server started.
    pub commits: u64,
    /// `PRAGMA synchronous` as SQLite answered it, or Postgres's `synchronous_commit`.
    pub synchronous: String,
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
        let setting = value("lambfold_sqs_store_setting{setting=\"synchronous");
        let synchronous = setting.and_then(|rest| rest.split("value=\"").nth(1)?.split('"').next());
        Some(Self { commits, synchronous: synchronous.unwrap_or("?").to_owned() })
    }

    /// A page that reads back as this: the bare reference shows one, too.
    pub fn page(&self) -> String {
        let Self { commits, synchronous } = self;
        format!(
            "lambfold_sqs_store_commits_total {commits}\n\
             lambfold_sqs_store_setting{{setting=\"synchronous\",value=\"{synchronous}\"}} 1\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Reading;

    #[test]
    fn a_page_reads_back() {
        let reading = Reading { commits: 7, synchronous: "FULL".to_owned() };
        let page = format!("# TYPE x counter\n{}# EOF\n", reading.page());
        assert_eq!(Reading::parse(&page), Some(reading));
        assert_eq!(Reading::parse("# EOF\n"), None);
    }
}
