//! `docs/gaps.md` and the operation table say the same.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use lambfold_api::Operation;

const BEGIN: &str =
    "<!-- planned operations: written by `TEST_WRITE=1 cargo test -p lambfold-tests --test coverage` -->\n";
const END: &str = "<!-- end of planned operations -->\n";

#[test]
fn the_gaps_page_lists_every_planned_operation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gaps.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the section");
    let (listed, after) = rest.split_once(END).expect("the section ends");
    let wanted = section();
    if std::env::var_os("TEST_WRITE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
    } else {
        assert_eq!(listed, wanted, "docs/gaps.md is out of date");
    }
}

fn section() -> String {
    let tables = [
        lambfold_api::logs::LOGS_OPERATIONS,
        lambfold_api::sqs::SQS_OPERATIONS,
        lambfold_api::lambda::LAMBDA_OPERATIONS,
        lambfold_api::lambda::LAMBDA_INVOKE_OPERATIONS,
    ];
    let mut services: BTreeMap<&str, (usize, Vec<&Operation>)> = BTreeMap::new();
    for operation in tables.into_iter().flatten() {
        let (all, planned) = services.entry(operation.service).or_default();
        *all += 1;
        if operation.planned {
            planned.push(operation);
        }
    }
    let mut text = String::new();
    for (service, (all, planned)) in services {
        let names: Vec<_> = planned.iter().map(|operation| operation.name).collect();
        let here = all - planned.len();
        write!(
            text,
            "\n**{service}**: {here} of {all} operations are there. Not yet: {}.\n",
            names.join(", ")
        )
        .expect("strings take writes");
    }
    text.push('\n');
    text
}
