//! Lists, asked for page by page.

use clap::value_parser;

use super::failure::Failure;

/// Most rows of one answer.
const PAGE: u32 = 500;
/// What a person is told where there are more rows than asked for.
pub(super) const MORE: &str = "There are more: raise --limit.\n";

/// How much of a list is asked for.
#[derive(clap::Args)]
pub(super) struct Limit {
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
    limit: u32,
}

impl Limit {
    /// Asks for page after page, each by its size and the token of its place, which `ask` answers with the next token.
    /// Answers the rows, and whether there are more.
    pub(super) async fn pages<T>(
        &self,
        ask: impl AsyncFn(i32, String) -> Result<(Vec<T>, String), Failure>,
    ) -> Result<(Vec<T>, bool), Failure> {
        let (mut rows, mut token, mut left) = (Vec::new(), String::new(), self.limit);
        loop {
            let size = left.min(PAGE);
            let (page, next) = ask(size.cast_signed(), token).await?;
            rows.extend(page);
            (token, left) = (next, left - size);
            if token.is_empty() || left == 0 {
                return Ok((rows, !token.is_empty()));
            }
        }
    }
}
